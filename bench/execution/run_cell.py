"""Runs one cell: what is measured becomes its record, with the identity, the status and the machine."""

from bench.execution.curve import Advance
from bench.execution.measurement import measurement_of, seen_again
from bench.execution.model_factory import ModelFactory
from bench.records.fields import KIND
from bench.records.record import MalformedRecord, Record, changed, new_record, with_attempts
from bench.records.schema import NOT_NEEDED, Json
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
    measured = measurement_of(cell.host).found(cell, factory, advance)
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


def next_record(
    cell: Cell, earlier: Record | None, factory: ModelFactory, advance: Advance = lambda rows: None
) -> Record:
    """Return the record that follows an earlier one of a cell, if there is any.

    If that is final but for its detection, only this is measured anew; else the cell is run, and the record keeps
    the earlier tries.
    """
    if earlier is None or earlier.failed:
        return with_attempts(run_cell(cell, factory, advance), earlier)
    if earlier.status == NOT_NEEDED:
        return with_attempts(run_cell(cell, factory, advance), None)
    return _renewed(earlier, cell, factory) or with_attempts(run_cell(cell, factory, advance), None)


def _renewed(record: Record, cell: Cell, factory: ModelFactory) -> Record | None:
    """Return a record with its detection measured anew, and with everything else as it was.

    None if that fails, or the marked model that is here is not the one recorded: then the cell is to be run again.
    """
    kept = record.to_json()
    seen = seen_again(cell, factory, kept["marked"]["digest"])
    if seen is None:
        return None
    sources = {**kept.get("beside", {}), "detection": beside()["detection"]}
    return changed(record, marked={**kept["marked"], **seen}, beside=sources)
