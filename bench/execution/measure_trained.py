"""Measures one cell of trained models: mark -> attack over its strengths -> extraction, evidence, accuracy."""

import statistics
from collections.abc import Callable
from typing import Any

import torch

from bench.attacks import Attacked
from bench.data import Dataset
from bench.execution.attacker import attacker_context
from bench.execution.curve import Advance, attacked_models, curve_rows
from bench.execution.model_factory import ModelFactory, Subjects
from bench.execution.owner import OwnersReading
from bench.metrics.accuracy import accuracies
from bench.suite.cell import Cell
from cwwm.support.timing import Stopwatch
from cwwm.weights.view import Weights, as_weights

_EXTRACTIONS = 5  # the median of so many, or of as many as fit a second, is the extraction time
_PATIENCE = 1.0
OF_MARKED = (
    *("accuracy", "validation", "digest", "energy", "depth_energy", "noise_floor", "answers", "answers_floor"),
)


def measure_trained(
    cell: Cell, factory: ModelFactory, seen_by_others: Callable[[Subjects], dict[str, Any]], advance: Advance
) -> dict[str, Any]:
    """Return what is found of a cell, as JSON values.

    Args:
        cell: whose host is trained.
        factory: makes and keeps the models.
        seen_by_others: what is measured beside the results of a marked model (`bench.metrics.detection`).
        advance: told after each strength how many rows are done.

    Raises:
        BadInput: if the scheme refuses the host, or the attack the model.
    """
    subjects = factory.subjects(cell)
    marked = subjects.marked
    seen = seen_by_others(subjects)
    owner = OwnersReading.of(marked, cell.mark.scheme.reader)
    before = owner.facts(owner.extraction(as_weights(marked.model)))
    return {
        "artefact": cell.mark.identity,
        "host": {fact: subjects.control.facts[fact] for fact in ("accuracy", "validation", "digest")},
        "marked": {
            **{fact: marked.facts[fact] for fact in OF_MARKED},
            "report": dict(marked.mark.report),
            **before,
            **seen,
        },
        "rows": attacked_rows(cell, subjects, owner, factory, advance),
        "timing": _timing(subjects, _extract_ms(owner, as_weights(marked.model))),
    }


def attacked_rows(
    cell: Cell,
    subjects: Subjects,
    owner: OwnersReading,
    factory: ModelFactory,
    advance: Advance = lambda rows: None,
) -> list[dict[str, Any]]:
    """Return what is read and measured at each strength of the attack, as JSON values."""
    context = attacker_context(cell.host, cell.attack, factory, subjects.marked.scheme.encoding)

    def measured(item: Attacked) -> dict[str, Any]:
        cost = cell.attack.attack.spent(item.cost, context)
        return {**_measured(item, subjects.data, owner), "cost": cost}

    attacked = attacked_models(cell, [subjects.marked.model, *subjects.copies], context, factory)
    return curve_rows(cell, attacked, owner.law, measured, advance)


def _timing(subjects: Subjects, extract_ms: float) -> dict[str, Any]:
    facts, training = subjects.marked.facts, subjects.marked.facts["training"]
    baseline = subjects.control.facts["training"]
    return {
        "embed_ms": 1e3 * (facts["begin_seconds"] + facts["finish_seconds"]),
        "extract_ms": extract_ms,
        "step_ratio": training["seconds"] / baseline["seconds"] if training else None,
        "peak_bytes_marked": training["peak_bytes"] if training else None,
        "peak_bytes_control": baseline["peak_bytes"],
    }


def _extract_ms(owner: OwnersReading, suspect: Weights) -> float:
    """Return the median extraction time in ms."""
    seconds = []
    for _ in range(_EXTRACTIONS):
        with Stopwatch(torch.device("cpu")) as watch:
            owner.extraction(suspect)
        seconds.append(watch.seconds)
        if sum(seconds) > _PATIENCE:
            break
    return 1e3 * statistics.median(seconds)


def _measured(item: Attacked, data: Dataset, owner: OwnersReading) -> dict[str, Any]:
    """Return what is found of an attacked model beside its strength, the law and the cost."""
    task = item.task or data
    with Stopwatch(torch.device("cpu")) as watch:
        extraction = owner.extraction(as_weights(item.model))
    return {
        "achieved": dict(item.achieved),
        "task": task.name,
        **accuracies(item.model, task),
        **owner.facts(extraction),
        "timing": {"attack_s": item.cost.seconds, "extract_ms": 1e3 * watch.seconds},
    }
