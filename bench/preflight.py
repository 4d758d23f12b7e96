"""Finds out before a run what would stop it halfway: missing data, unknown models, a folder that is read-only."""

from pathlib import Path

from bench.data import load
from bench.suite import Suite
from bench.zoo import PACKAGED, packaged_weights
from cwwm.files import atomic_path


def preflight(suite: Suite, folder: Path, *, needed: bool) -> None:
    """Raise BadInput for the first thing that is not there; load nothing if no cell is `needed`."""
    with atomic_path(folder / ".writable") as path:
        path.write_bytes(b"")
    (folder / ".writable").unlink()
    _sweep(folder)
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


def _sweep(folder: Path) -> None:
    """Remove temporary files that a killed run left behind; this folder has one run at a time."""
    for part in folder.rglob(".*.part"):
        part.unlink(missing_ok=True)
