"""What every executor does: it runs cells, and yields each record once it is on disk."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from bench.records.record import Record
from bench.suite.cell import Cell


class Watch(Protocol):
    """Who follows a run."""

    def started(self, cell: Cell) -> None:
        """Hear which cell is in hand, where there is only one."""

    def advance(self, rows: int) -> None:
        """Hear how many rows of the cell in hand are done, if the executor knows."""

    def say(self, text: str) -> None:
        """Hear what is being made."""


class Executor(Protocol):
    """Runs cells somewhere; the records are the same wherever, but for their timings."""

    def run(self, cells: Iterable[Cell], watch: Watch) -> Iterator[Record]:
        """Run cells and yield each record once it is on disk.

        Raises:
            EnvironmentFault: if nothing can run, or a record cannot be written.
        """


class _Silent:
    def started(self, cell: Cell) -> None:
        """Tell nobody."""

    def advance(self, rows: int) -> None:
        """Tell nobody."""

    def say(self, text: str) -> None:
        """Tell nobody."""


SILENT: Watch = _Silent()
