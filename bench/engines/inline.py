"""The default engine: cells one after the other in this process, each recorded before the next begins."""

from collections.abc import Callable, Iterable, Iterator

from bench.cell import Cell
from bench.compatibility import UntrainedCell
from bench.compatibility.trial import run_untrained
from bench.journal import Journal, Record, with_attempts
from bench.running import run_cell
from bench.workshop import Workshop


def record_of(cell: Cell, workshop: Workshop, advance: Callable[[int], None] = lambda rows: None) -> Record:
    """Return the record of a cell, whether its host is trained or not; arguments as `bench.running.run_cell`."""
    if isinstance(cell, UntrainedCell):
        return run_untrained(cell, workshop.device, advance)
    return run_cell(cell, workshop, advance)


def run_inline(
    cells: Iterable[Cell],
    journal: Journal,
    workshop: Workshop,
    *,
    started: Callable[[Cell], None] = lambda cell: None,
    advance: Callable[[int], None] = lambda rows: None,
) -> Iterator[Record]:
    """Run cells in order and yield each record once it is on disk; attempts before it are kept in it.

    Args:
        cells: what to run, asked for one by one; see `bench.plan.pending`.
        journal: where records go.
        workshop: makes and keeps the models.
        started: told before each cell.
        advance: told after each strength how many rows of the cell are done.
    """
    for cell in cells:
        started(cell)
        earlier = journal.read(cell.identity)
        record = with_attempts(record_of(cell, workshop, advance), earlier)
        journal.write(record)
        yield record
