"""Runs one cell: what is measured becomes its record, with the identity, the status and the machine."""

from typing import Any

from bench.execution.curve import Advance
from bench.execution.measure_trained import measure_trained
from bench.execution.measure_untrained import Steps, measure_untrained
from bench.execution.model_factory import ModelFactory, Subjects
from bench.execution.outcome import outcome_of, told
from bench.metrics.detection import detection
from bench.records.fields import KIND
from bench.records.record import MalformedRecord, Record, changed, new_record, with_attempts
from bench.records.schema import Json
from bench.suite.cell import Cell
from bench.suite.sources import beside
from bench.support.environment import OthersLoad, environment


def run_cell(cell: Cell, factory: ModelFactory, advance: Advance = lambda rows: None) -> Record:
    """Return the record of a cell; what goes wrong inside becomes its status, with the reason.

    A plugin may measure what no record can hold, such as a share above 1: then the cell has failed.

    Args:
        cell: what to run.
        factory: makes and keeps the models.
        advance: told after each strength how many rows are done.
    """
    load = OthersLoad()
    measured = _untrained(cell, factory, advance) if cell.host.untrained else _trained(cell, factory, advance)
    machine = {"environment": {**environment(factory.device), "others_load": load.share()}}
    try:
        return new_record(head(cell) | measured | machine)
    except MalformedRecord as error:
        failed = {"status": "failed", "reason": f"no record can hold its results: {error}"}
        return new_record(head(cell) | failed | machine)


def head(cell: Cell) -> Json:
    """Return what the record of a cell says whatever became of it, as JSON values."""
    kind = {"kind": KIND} if cell.host.untrained else {}
    return {"identity": cell.identity, "key": cell.key, "recipe": cell.recipe, **kind}


def _trained(cell: Cell, factory: ModelFactory, advance: Advance) -> dict[str, Any]:
    def seen(subjects: Subjects) -> dict[str, Any]:
        return detection(cell.mark, subjects, factory.store, factory.say)

    return outcome_of(lambda: measure_trained(cell, factory, seen, advance), told) | {"beside": beside()}


def _untrained(cell: Cell, factory: ModelFactory, advance: Advance) -> dict[str, Any]:
    steps = Steps(factory.device)
    return outcome_of(lambda: measure_untrained(cell, steps, advance), steps.reason)


def next_record(
    cell: Cell, earlier: Record | None, factory: ModelFactory, advance: Advance = lambda rows: None
) -> Record:
    """Return the record that follows an earlier one of a cell, if there is any.

    If that is final but for its detection, only this is measured anew; else the cell is run, and the record keeps
    the earlier tries.
    """
    if earlier is None or not earlier.is_final:
        return with_attempts(run_cell(cell, factory, advance), earlier)
    return _renewed(earlier, cell, factory) or with_attempts(run_cell(cell, factory, advance), None)


def _renewed(record: Record, cell: Cell, factory: ModelFactory) -> Record | None:
    """Return a record with its detection measured anew, and with everything else as it was.

    None if that fails, or the marked model that is here is not the one recorded: then the cell is to be run again.
    """

    def measure() -> dict[str, Any]:
        subjects = factory.subjects(cell)
        seen = detection(cell.mark, subjects, factory.store, factory.say)
        return {"digest": subjects.marked.facts["digest"], "seen": seen}

    found = outcome_of(measure, told)
    kept = record.to_json()
    if found.get("digest") != kept["marked"]["digest"]:
        return None
    sources = {**kept.get("beside", {}), "detection": beside()["detection"]}
    return changed(record, marked={**kept["marked"], **found["seen"]}, beside=sources)
