"""Lends the trained hosts of earlier runs to a new one; marked models and records are never taken over.

A host's identity covers its recipe and the source that makes it, so that hosts of other source are not found here.
"""

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from bench.suite.cell import Cell, HostSpec
from bench.support.artifact_store import ArtefactStore
from cwwm.support.files import atomic_path

KINDS = ("host", "control", "twin")  # of `ModelFactory`, which hold no mark
UNUSED_DAYS = 30.0  # after which a lent host is dropped


def host_names(host: HostSpec) -> list[str]:
    """Return the identities under which a factory stores the unmarked models of a host."""
    return [host.identity(kind) for kind in KINDS]


def share_hosts(cells: Iterable[Cell], source: Path, target: Path) -> int:
    """Link the unmarked models of cells from one folder of artefacts into another; return how many were new there.

    Used both ways: from the shared folder before a run, and to it afterwards.
    """
    names = {name for cell in cells for name in host_names(cell.host)}
    return sum(_share(name, ArtefactStore(source), ArtefactStore(target)) for name in sorted(names))


def drop_unused_hosts(folder: Path) -> None:
    """Remove what no run asked for within `UNUSED_DAYS`: mostly hosts of older source."""
    for facts in folder.glob("*.json"):
        if time.time() - facts.stat().st_mtime > UNUSED_DAYS * 86400:
            facts.unlink()
            facts.with_suffix(".safetensors").unlink(missing_ok=True)


def _share(name: str, source: ArtefactStore, target: ArtefactStore) -> bool:
    """Link one artefact, its facts last: their presence says that it is whole."""
    tensors, facts = source.path(name), source.path(name).with_suffix(".json")
    if not (tensors.exists() and facts.exists()):
        return False
    facts.touch()
    there = target.path(name).with_suffix(".json")
    if there.exists() and there.read_bytes() == facts.read_bytes():
        return False  # else it was damaged, and made anew
    _link(tensors, target.path(name))
    _link(facts, there)
    return True


def _link(old: Path, new: Path) -> None:
    """Give a file a second name, or copy it to another file system; artefacts are only ever replaced whole."""
    with atomic_path(new) as temporary:
        temporary.unlink()
        try:
            os.link(old, temporary)
        except OSError:
            shutil.copy2(old, temporary)
