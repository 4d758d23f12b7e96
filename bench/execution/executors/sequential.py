"""The default executor: cells one after the other in this process, each recorded before the next begins."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.execution.executors.base import SILENT, Watch
from bench.execution.model_factory import ModelFactory
from bench.execution.run_cell import next_record
from bench.execution.skipping import Skip, skip_none
from bench.records.record import Record
from bench.records.store import RecordStore
from bench.suite.cell import Cell


@dataclass(frozen=True)
class Sequential:
    """Runs cells in order; they are asked for one by one, so that a time budget may end them.

    Attributes:
        record_store: where records go.
        factory: makes and keeps the models.
        skip: gives the record of a cell that need not be run.
    """

    record_store: RecordStore
    factory: ModelFactory
    skip: Skip = skip_none

    def run(self, cells: Iterable[Cell], watch: Watch = SILENT) -> Iterator[Record]:
        """Run cells; see `Executor.run`. Attempts before a record are kept in it."""
        for cell in cells:
            if (record := self.skip(cell)) is None:
                watch.started(cell)
                earlier = self.record_store.read(cell.identity)
                record = next_record(cell, earlier, self.factory, watch.advance)
            self.record_store.write(record)
            yield record
