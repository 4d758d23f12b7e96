"""Runs one cell: marked model -> attack over its strengths -> extraction, evidence, accuracy -> record."""

import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from bench.attacks import AttackContext, Attacked
from bench.cell import Cell
from bench.conditions import OthersLoad, environment
from bench.detection import detection
from bench.evaluate import accuracy
from bench.outcome import outcome_of, told
from bench.sources import detection_source, timing_source
from bench.workshop import Marked, Workshop, marked_identity
from bench.zoo import ModelSpec, build_model, find_models
from cwwm.schemes import Claim, Extraction, Scheme
from cwwm.timing import Stopwatch
from cwwm.weights import as_weights

if TYPE_CHECKING:
    from bench.journal import Record

_EXTRACTIONS = 5  # the median of so many, or of as many as fit a second, is the extraction time
_PATIENCE = 1.0

Advance = Callable[[int], None]


def run_cell(cell: Cell, workshop: Workshop, advance: Advance = lambda rows: None) -> "Record":
    """Return the record of a cell; what goes wrong inside becomes its status, with the reason.

    Args:
        cell: what to run.
        workshop: makes and keeps the models.
        advance: told after each strength how many rows are done.
    """
    load = OthersLoad()
    base: Record = {"identity": cell.identity, "key": cell.key, "recipe": recipe(cell)}
    measured = outcome_of(lambda: _measure(cell, workshop, advance), told)
    conditions = {"environment": {**environment(workshop.device), "others_load": load.share()}}
    return base | measured | {"beside": beside()} | conditions


def recipe(cell: Cell) -> dict[str, Any]:
    """Return all that a cell is made from, for the reader of its record and for `check`."""
    return {
        **cell.mark_recipe,
        "label": cell.scheme.label,
        **cell.attack_recipe,
        "attack_label": cell.attack.label,
        "strength_means": type(cell.attack.attack).strength,
    }


def thief_context(cell: Cell, workshop: Workshop, scheme: Scheme | None) -> AttackContext:
    """Return what the thief of a cell has; `scheme` is the public encoding, None where nothing is marked."""
    return AttackContext(
        data=workshop.data(cell.model),
        recipe=cell.model.recipe,
        seed=cell.derive("attack"),
        device=workshop.device,
        load=lambda name: workshop.data(cell.model, name),
        scheme=scheme,
        build=lambda name, seed: _fresh(cell.model, name, seed, workshop),
    )


def _fresh(spec: ModelSpec, name: str | None, seed: int, workshop: Workshop) -> nn.Module:
    """Return an untrained network for the data of `spec`: of its own architecture, or of timm's `name`.

    Raises:
        BadInput: for a name that timm does not know.
    """
    other = (
        spec
        if name is None
        else replace(find_models([name])[0], data=spec.data, size=spec.size, channels=spec.channels)
    )
    fresh = build_model(replace(other, weights="random"), workshop.data(spec).classes, seed)
    return fresh.to(workshop.device)


def _measure(cell: Cell, workshop: Workshop, advance: Advance) -> dict[str, Any]:
    marked = workshop.marked(cell)
    control = workshop.control(cell)
    seen = detection(cell, workshop)
    before = _read(marked, as_weights(marked.model))
    rows = attacked_rows(cell, workshop, advance)
    training, baseline = marked.facts["training"], control.facts["training"]
    return {
        "artefact": marked_identity(cell),
        "host": {"accuracy": control.facts["accuracy"], "digest": control.facts["digest"]},
        "marked": {
            "accuracy": marked.facts["accuracy"],
            "digest": marked.facts["digest"],
            "energy": marked.facts["energy"],
            "noise_floor": marked.facts["noise_floor"],
            "report": dict(marked.mark.report),
            **before[0],
            **seen,
        },
        "rows": rows,
        "timing": {
            "embed_ms": 1e3 * (marked.facts["begin_seconds"] + marked.facts["finish_seconds"]),
            "extract_ms": before[1],
            "step_ratio": _per_step(training) / _per_step(baseline),
            "peak_bytes_marked": training["peak_bytes"],
            "peak_bytes_control": baseline["peak_bytes"],
        },
    }


def attacked_rows(cell: Cell, workshop: Workshop, advance: Advance = lambda rows: None) -> list[dict[str, Any]]:
    """Return what is read and measured at each strength of the attack, as JSON values; see `run_cell`."""
    marked = workshop.marked(cell)
    context = thief_context(cell, workshop, cell.scheme.build(cell.payload).encoding)
    others = cell.attack.attack.copies_needed(cell.attack.strengths) - 1
    targets = [marked.model, *workshop.copies(cell, others)]
    rows = []
    for item in cell.attack.attack.curve(targets, cell.attack.strengths, context):
        rows.append(_row(cell, marked, item, workshop))
        advance(len(rows))
    return rows


def _per_step(training: dict[str, Any]) -> float:
    return float(training["seconds"] / training["steps"])


def _read(marked: Marked, suspect: Any) -> tuple[dict[str, Any], float]:  # noqa: ANN401
    """Return what extraction and evidence say of a suspect, and the median extraction time in ms."""
    seconds = []
    for _ in range(_EXTRACTIONS):
        with Stopwatch(torch.device("cpu")) as watch:
            extraction = marked.scheme.extract(suspect, marked.key, marked.mark)
        seconds.append(watch.seconds)
        if sum(seconds) > _PATIENCE:
            break
    claim = Claim(marked.key, marked.mark, marked.message)
    evidence = marked.scheme.evidence(extraction, claim)
    facts = {
        "applicable": extraction.applicable,
        "reason": extraction.reason,
        "exact": _exact(extraction, marked),
        "bit_error": _bit_error(extraction, marked),
        "overlap": marked.scheme.overlap(extraction, claim),
        "erased": extraction.erased,
        "log10_p": evidence.combined,
        "statistics": dict(evidence.log10_p),
        "counts": dict(evidence.details),
    }
    return facts, 1e3 * statistics.median(seconds)


def _exact(extraction: Extraction, marked: Marked) -> bool:
    return extraction.ok and bool(np.array_equal(extraction.bits, marked.message))


def _bit_error(extraction: Extraction, marked: Marked) -> float:
    """Return the share of wrong bits; a message that is known to be lost tells nothing: 1/2."""
    return float(np.mean(extraction.bits != marked.message)) if extraction.ok else 0.5


def _row(cell: Cell, marked: Marked, item: Attacked, workshop: Workshop) -> dict[str, Any]:
    task = item.task or workshop.data(cell.model)
    facts, extract_ms = _read(marked, as_weights(item.model))
    channel = cell.attack.attack.predicted(item.strength)
    cost = item.cost.to_json()
    seconds = cost.pop("seconds")
    return {
        "strength": item.strength,
        "achieved": dict(item.achieved),
        "task": task.name,
        "accuracy": asdict(accuracy(item.model, task.test)),
        **facts,
        "law": marked.scheme.survival(*channel) if channel else None,
        "cost": cost,
        "timing": {"attack_s": seconds, "extract_ms": extract_ms},
    }


def beside() -> dict[str, str]:
    """Return the digests of what is measured beside the numbers: they are in a record, and not in its identity."""
    return {"detection": detection_source(), "timing": timing_source()}


def is_stale(record: "Record") -> bool:
    """Say whether the detection in a record is not that of the source as it is."""
    found = "null" in (record.get("marked") or {})
    return found and record.get("beside", {}).get("detection") != detection_source()


def renewed(record: "Record", cell: Cell, workshop: Workshop) -> "Record | None":
    """Return a record with its detection measured anew, and with everything else as it was.

    None if that fails, or the marked model that is here is not the one recorded: then the cell is to be run again.
    """

    def measure() -> dict[str, Any]:
        return {"digest": workshop.marked(cell).facts["digest"], "seen": detection(cell, workshop)}

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
