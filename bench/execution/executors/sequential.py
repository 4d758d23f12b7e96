"""The default engine: cells one after the other in this process, each recorded before the next begins."""

from collections.abc import Callable, Iterable, Iterator

from bench.execution.model_factory import ModelFactory
from bench.execution.run_cell import renewed, run_cell
from bench.execution.run_untrained import run_untrained
from bench.records.fields import Record
from bench.records.store import RecordStore, is_final, with_attempts
from bench.suite.cell import Cell


def record_of(cell: Cell, factory: ModelFactory, advance: Callable[[int], None] = lambda rows: None) -> Record:
    """Return the record of a cell, whether its host is trained or not; arguments as of `run_cell`."""
    if cell.host.untrained:
        return run_untrained(cell, factory.device, advance)
    return run_cell(cell, factory, advance)


def next_record(
    cell: Cell, earlier: Record | None, factory: ModelFactory, advance: Callable[[int], None] = lambda rows: None
) -> Record:
    """Return the record that follows an earlier one of a cell, if there is any.

    If that is final but for its detection, only this is measured anew; else the cell is run, and the record keeps
    the earlier tries.
    """
    if earlier is None or not is_final(earlier):
        return with_attempts(record_of(cell, factory, advance), earlier)
    return renewed(earlier, cell, factory) or with_attempts(record_of(cell, factory, advance), None)


def run_inline(
    cells: Iterable[Cell],
    record_store: RecordStore,
    factory: ModelFactory,
    *,
    started: Callable[[Cell], None] = lambda cell: None,
    advance: Callable[[int], None] = lambda rows: None,
) -> Iterator[Record]:
    """Run cells in order and yield each record once it is on disk; attempts before it are kept in it.

    Args:
        cells: what to run, asked for one by one; see `bench.suite.expand.pending`.
        record_store: where records go.
        factory: makes and keeps the models.
        started: told before each cell.
        advance: told after each strength how many rows of the cell are done.
    """
    for cell in cells:
        started(cell)
        earlier = record_store.read(cell.identity)
        record = next_record(cell, earlier, factory, advance)
        record_store.write(record)
        yield record
