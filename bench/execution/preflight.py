"""Finds out before a run what would stop it halfway: missing data, unknown models, a folder that is read-only."""

from pathlib import Path

from bench.data import load
from bench.models.packaged import PACKAGED, packaged_weights
from bench.suite import Suite
from cwwm.support.files import atomic_path


def preflight(suite: Suite, folder: Path, *, needed: bool) -> None:
    """Find out what would stop a run; load nothing if no cell is `needed`.

    Raises:
        BadInput: for the first thing that is not there.
        EnvironmentFault: if the folder cannot be written.
    """
    for place in (folder, folder / "cells", folder / "artefacts") if needed else (folder,):
        _try_to_write(place)
    if not needed:
        return
    others = {name for entry in suite.attacks for part in entry.attack.parts for name in part.other_data}
    for model in suite.models:
        for name in others if suite.untrained else {model.data, *others}:
            load(name, size=model.size, channels=model.channels)
        if model.weights == "packaged" and model.timm in PACKAGED:
            packaged_weights(model.timm)
    for scheme in suite.schemes:
        for payload in suite.payloads_of(scheme):
            scheme.build(payload)


def _try_to_write(folder: Path) -> None:
    with atomic_path(folder / ".writable") as path:
        path.write_bytes(b"")
    (folder / ".writable").unlink()
