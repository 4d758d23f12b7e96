"""Runs one cell: marked model -> attack over its strengths -> extraction, evidence, accuracy -> record."""

import statistics
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench.attacks import AttackContext, Attacked
from bench.cell import Cell
from bench.conditions import OthersLoad, environment
from bench.evaluate import accuracy
from bench.outcome import outcome_of, told
from bench.workshop import Marked, Workshop, marked_identity
from cwwm.carrier import Carrier
from cwwm.schemes import Claim, Extraction, Scheme
from cwwm.timing import Stopwatch
from cwwm.weights import as_weights

if TYPE_CHECKING:
    from bench.journal import Record

_EXTRACTIONS = 5  # the median of so many, or of as many as fit a second, is the extraction time
_PATIENCE = 1.0
_LAYERS = 12  # of a carrier whose statistics go into a record, the largest ones
_DIGITS = 4  # significant ones of these statistics

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
    return base | measured | {"environment": {**environment(workshop.device), "others_load": load.share()}}


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
        build=lambda name, seed: workshop.fresh(cell.model, name, seed),
    )


def _measure(cell: Cell, workshop: Workshop, advance: Advance) -> dict[str, Any]:
    marked = workshop.marked(cell)
    control = workshop.control(cell)
    context = thief_context(cell, workshop, cell.scheme.build(cell.payload).encoding)
    seen = workshop.detection(cell)
    before = _read(marked, as_weights(marked.model))
    rows = []
    others = cell.attack.attack.copies_needed(cell.attack.strengths) - 1
    targets = [marked.model, *workshop.copies(cell, others)]
    for item in cell.attack.attack.curve(targets, cell.attack.strengths, context):
        rows.append(_row(cell, marked, item, workshop))
        advance(len(rows))
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
            "null": seen["null"],
            "covertness": _largest_layers(seen["covertness"], marked.mark.carrier),
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


def _largest_layers(facts: dict[str, Any] | None, carrier: Carrier | None) -> dict[str, Any] | None:
    """Return covertness facts small enough for the record of every cell: few layers, few digits."""
    if facts is None or carrier is None:
        return None
    sizes = [layer.size for layer in carrier.layers]
    chosen = sorted(range(len(sizes)), key=lambda index: -sizes[index])[:_LAYERS]
    layers = {
        kind: [[_rounded(value) for value in facts[kind][index]] for index in chosen]
        for kind in ("marked_layers", "control_layers")
    }
    return {
        **facts,
        "ks_statistic": _rounded(facts["ks_statistic"]),
        "log10_p": _rounded(facts["log10_p"]),
        **layers,
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


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


def reproducible(record: "Record") -> "Record":
    """Return the part of a record that the same source gives again on the same machine: no timings, no date."""
    dropped = ("timing", "environment", "digest", "attempts", "format")
    kept = {key: value for key, value in record.items() if key not in dropped}
    kept["rows"] = [{k: v for k, v in row.items() if k != "timing"} for row in record.get("rows", [])]
    return kept
