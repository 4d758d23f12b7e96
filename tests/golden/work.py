"""Runs the golden cells and prints their rows as JSON, and which definitions ran that no fingerprint covers.

For a process of its own: what kernels a library uses is settled when it is loaded.
"""

import importlib
import json
import pkgutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy
import torch

import bench
import cwwm
from bench.execution.measure_trained import OF_MARKED, attacked_rows
from bench.execution.model_factory import ModelFactory
from bench.execution.owner import OwnersReading
from bench.execution.run_cell import run_cell
from bench.suite.cell import Cell
from bench.suite.sources import DETECTION, TIMING, attack_roots, host_roots, mark_roots
from bench.support.artifact_store import ArtefactStore
from bench.support.environment import prepare
from bench.support.fingerprint import Fingerprints
from bench.support.modules import Modules
from bench.verification.comparison import reproducible
from tests.golden.cells import FULL, NEEDS, golden_cells

_ROOT = Path(bench.__file__).parent.parent
_LARGE = ("report", "covertness", "counts")
_NO_SOURCE = (  # what names a cell, files its record, and tells how far its work is
    *("bench.suite.sources:", "bench.support.", "bench.suite.entries:AttackEntry"),
    *(
        "bench.execution.run_cell:",
        "bench.execution.measurement:",
        "bench.verification.comparison:",
        "bench.records.",
        "cwwm.support.progress:tell",
    ),
)


def rows_of(name: str, cell: Cell, factory: ModelFactory) -> dict[str, Any]:
    """Return what a cell's rows hold but for times, and what they follow from."""
    if cell.host.untrained or name == FULL:
        record = reproducible(run_cell(cell, factory))
    else:
        subjects = factory.subjects(cell)
        kept = {part: subjects.marked.facts[part] for part in OF_MARKED}
        owner = OwnersReading.of(subjects.marked, cell.mark.scheme.reader)
        record = {"status": "ok", "marked": kept, "rows": attacked_rows(cell, subjects, owner, factory)}
    if record["status"] != "ok":
        raise RuntimeError(f"golden cell {name} is {record['status']}: {record['reason']}")
    rows = [{k: v for k, v in row.items() if k != "timing"} for row in record["rows"]]
    for row in rows:
        row["achieved"] = {k: v for k, v in row["achieved"].items() if k != "layers"}
    return {"marked": {k: v for k, v in record["marked"].items() if k not in _LARGE}, "rows": rows}


def stages(name: str, cell: Cell, factory: ModelFactory) -> Iterator[tuple[Callable[[], Any], tuple[str, ...]]]:
    """Yield the steps of a cell, the last of which gives its rows, each with the roots that must cover it."""
    spec, untrained, attack = cell.mark, cell.host.untrained, cell.attack.attack
    host = (*host_roots(cell.host.model.data, untrained=untrained), *TIMING)
    mark = (*host, *mark_roots(spec.scheme.classes, untrained=untrained))
    if not untrained:
        yield lambda: (factory.control(spec.host), factory.twin(spec.host)), host
        yield lambda: factory.marked(spec), mark
    attacks = attack_roots(cell.attack.classes, attack.other_data, untrained=untrained, reader=spec.scheme.reader)
    yield lambda: rows_of(name, cell, factory), (*mark, *attacks, *DETECTION)


def traced(work: Callable[[], Any]) -> tuple[Any, set[str]]:
    """Return what `work` returns, and the definitions of this project that ran meanwhile."""
    codes: set[CodeType] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            codes.add(frame.f_code)

    sys.setprofile(note)
    try:
        found = work()
    finally:
        sys.setprofile(None)
    return found, set(_definitions(codes))


def _definitions(codes: set[CodeType]) -> Iterator[str]:
    for code in codes:
        path = Path(code.co_filename)
        name = code.co_qualname.partition(".")[0]
        if path.is_relative_to(_ROOT) and path.relative_to(_ROOT).parts[0] in ("bench", "cwwm") and name[0] != "<":
            module = ".".join(path.relative_to(_ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield f"{module}:{name}"


def import_everything() -> None:
    """Import what cells could import late, so that what runs at an import is not taken for theirs."""
    for package in (bench, cwwm):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith(("bench.studies", "bench.perf")) and not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def main() -> None:
    """Print rows by cell, what ran uncovered, and the conditions."""
    runtime = prepare(torch.device("cpu"), 1)
    import_everything()
    prints, found, uncovered = Fingerprints(Modules()), {}, set()
    with tempfile.TemporaryDirectory() as folder:
        factory = ModelFactory(ArtefactStore(Path(folder)), torch.device("cpu"))
        for name, cell in golden_cells(runtime):
            if find_spec(NEEDS.get(name, "torch")) is None:
                continue
            for work, roots in stages(name, cell, factory):
                found[name], ran = traced(work)
                missing = sorted(ran - prints.reached(roots))
                uncovered |= {f"{name}: {one}" for one in missing if not one.startswith(_NO_SOURCE)}
    conditions = {**runtime, "numpy": numpy.__version__}
    json.dump({"conditions": conditions, "cells": found, "uncovered": sorted(uncovered)}, sys.stdout)


if __name__ == "__main__":
    main()
