"""Runs one cell: marked model -> attack over its strengths -> extraction, evidence, accuracy -> record."""

import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bench.attacks import AttackContext, Attacked
from bench.data import Dataset
from bench.execution.model_factory import ModelFactory, Subjects
from bench.execution.outcome import outcome_of, told
from bench.execution.owner import OwnersReading
from bench.metrics.accuracy import accuracy
from bench.metrics.detection import detection
from bench.models.registry import ModelSpec, build_model, find_models
from bench.suite.cell import Cell, HostSpec, attack_seed
from bench.suite.sources import detection_source, is_stale, timing_source
from bench.support.environment import OthersLoad, environment
from cwwm.schemes import Scheme
from cwwm.support.timing import Stopwatch
from cwwm.weights.view import Weights, as_weights

if TYPE_CHECKING:
    from bench.records.fields import Record
    from bench.suite import AttackEntry

_EXTRACTIONS = 5  # the median of so many, or of as many as fit a second, is the extraction time
_PATIENCE = 1.0

Advance = Callable[[int], None]


def run_cell(cell: Cell, factory: ModelFactory, advance: Advance = lambda rows: None) -> "Record":
    """Return the record of a cell; what goes wrong inside becomes its status, with the reason.

    Args:
        cell: what to run.
        factory: makes and keeps the models.
        advance: told after each strength how many rows are done.
    """
    load = OthersLoad()
    base: Record = {"identity": cell.identity, "key": cell.key, "recipe": cell.recipe}
    measured = outcome_of(lambda: _measure(cell, factory, advance), told)
    conditions = {"environment": {**environment(factory.device), "others_load": load.share()}}
    return base | measured | {"beside": beside()} | conditions


def attacker_context(
    host: HostSpec, attack: "AttackEntry", factory: ModelFactory, scheme: Scheme | None
) -> AttackContext:
    """Return what an attacker has; `scheme` is the public encoding, None where nothing is marked."""
    return AttackContext(
        data=factory.data(host.model),
        recipe=host.model.recipe,
        seed=attack_seed(host, attack),
        device=factory.device,
        load=lambda name: factory.data(host.model, name),
        scheme=scheme,
        build=lambda name, seed: _fresh(host.model, name, seed, factory),
    )


def _fresh(spec: ModelSpec, name: str | None, seed: int, factory: ModelFactory) -> nn.Module:
    """Return an untrained network for the data of `spec`: of its own architecture, or of timm's `name`.

    Raises:
        BadInput: for a name that timm does not know.
    """
    other = (
        spec
        if name is None
        else replace(find_models([name])[0], data=spec.data, size=spec.size, channels=spec.channels)
    )
    fresh = build_model(replace(other, weights="random"), factory.data(spec).classes, seed)
    return fresh.to(factory.device)


def _measure(cell: Cell, factory: ModelFactory, advance: Advance) -> dict[str, Any]:
    subjects = factory.subjects(cell)
    marked = subjects.marked
    seen = detection(cell.mark, factory)
    owner = OwnersReading.of(marked, cell.mark.scheme.reader)
    before, extract_ms = _read(owner, as_weights(marked.model))
    rows = attacked_rows(cell, subjects, owner, factory, advance)
    return {
        "artefact": cell.mark.identity,
        "host": {"accuracy": subjects.control.facts["accuracy"], "digest": subjects.control.facts["digest"]},
        "marked": {
            **{fact: marked.facts[fact] for fact in ("accuracy", "digest", "energy", "noise_floor")},
            "report": dict(marked.mark.report),
            **before,
            **seen,
        },
        "rows": rows,
        "timing": _timing(subjects, extract_ms),
    }


def attacked_rows(
    cell: Cell,
    subjects: Subjects,
    owner: OwnersReading,
    factory: ModelFactory,
    advance: Advance = lambda rows: None,
) -> list[dict[str, Any]]:
    """Return what is read and measured at each strength of the attack, as JSON values; see `run_cell`."""
    marked, attack = subjects.marked, cell.attack
    context = attacker_context(cell.host, attack, factory, marked.scheme.encoding)
    rows = []
    for item in attack.attack.curve([marked.model, *subjects.copies], attack.strengths, context):
        law = attack.attack.predicted(item.strength)
        rows.append(_row(item, subjects.data, owner, marked.scheme.survival(*law) if law else None))
        advance(len(rows))
    return rows


def _timing(subjects: Subjects, extract_ms: float) -> dict[str, Any]:
    facts, training = subjects.marked.facts, subjects.marked.facts["training"]
    baseline = subjects.control.facts["training"]
    return {
        "embed_ms": 1e3 * (facts["begin_seconds"] + facts["finish_seconds"]),
        "extract_ms": extract_ms,
        "step_ratio": _per_step(training) / _per_step(baseline),
        "peak_bytes_marked": training["peak_bytes"],
        "peak_bytes_control": baseline["peak_bytes"],
    }


def _per_step(training: dict[str, Any]) -> float:
    return float(training["seconds"] / training["steps"])


def _read(owner: OwnersReading, suspect: Weights) -> tuple[dict[str, Any], float]:
    """Return what extraction and evidence say of a suspect, and the median extraction time in ms."""
    seconds = []
    for _ in range(_EXTRACTIONS):
        with Stopwatch(torch.device("cpu")) as watch:
            extraction = owner.extraction(suspect)
        seconds.append(watch.seconds)
        if sum(seconds) > _PATIENCE:
            break
    return owner.facts(extraction), 1e3 * statistics.median(seconds)


def _row(item: Attacked, data: Dataset, owner: OwnersReading, law: float | None) -> dict[str, Any]:
    task = item.task or data
    facts, extract_ms = _read(owner, as_weights(item.model))
    cost = item.cost.to_json()
    seconds = cost.pop("seconds")
    return {
        "strength": item.strength,
        "achieved": dict(item.achieved),
        "task": task.name,
        "accuracy": asdict(accuracy(item.model, task.test)),
        **facts,
        "law": law,
        "cost": cost,
        "timing": {"attack_s": seconds, "extract_ms": extract_ms},
    }


def beside() -> dict[str, str]:
    """Return the digests of what is measured beside the numbers: they are in a record, and not in its identity."""
    return {"detection": detection_source(), "timing": timing_source()}


def renewed(record: "Record", cell: Cell, factory: ModelFactory) -> "Record | None":
    """Return a record with its detection measured anew, and with everything else as it was.

    None if that fails, or the marked model that is here is not the one recorded: then the cell is to be run again.
    """

    def measure() -> dict[str, Any]:
        return {"digest": factory.marked(cell.mark).facts["digest"], "seen": detection(cell.mark, factory)}

    found = outcome_of(measure, told)
    if found.get("digest") != record["marked"]["digest"]:
        return None
    sources = {**record.get("beside", {}), "detection": detection_source()}
    return record | {"marked": {**record["marked"], **found["seen"]}, "beside": sources}


def reproducible(record: "Record") -> "Record":
    """Return the part of a record that the same source gives again on the same machine: no timings, no date."""
    dropped = ("timing", "environment", "digest", "attempts", "format", "beside")
    kept = {key: value for key, value in record.items() if key not in dropped}
    kept["rows"] = [{k: v for k, v in row.items() if k != "timing"} for row in record.get("rows", [])]
    return kept


def comparable(record: "Record", again: "Record") -> "tuple[Record, Record]":
    """Return what is to be equal in a record and in that of the same cell run again.

    Detection is, where the same source measured it.
    """
    old, new = reproducible(record), reproducible(again)
    if is_stale(record):
        for kept in (old, new):
            kept["marked"] = {k: v for k, v in kept["marked"].items() if k not in ("null", "covertness")}
    return old, new
