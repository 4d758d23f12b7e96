"""Progress of a run: a bar with the cell in hand on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from bench.cell import Cell
from bench.journal import Record


class RunProgress:
    """Shows how far a run is."""

    def __init__(self, total: int) -> None:
        """Prepare for `total` cells."""
        self.total, self.done, self.failed = total, 0, 0
        self._start = time.perf_counter()
        self._cell = ""
        self._bar = _bar() if sys.stderr.isatty() else None
        self._task = self._bar.add_task("", total=total, text="") if self._bar else None

    def __enter__(self) -> "RunProgress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def started(self, cell: Cell) -> None:
        """Show which cell is in hand."""
        self._cell = _name(cell.key)
        self._show(self._cell)

    def say(self, text: str) -> None:
        """Show what is being made for the cell in hand."""
        self._show(f"{self._cell}: {text}" if self._bar else text)
        if not self._bar:
            self._line(text)

    def advance(self, rows: int) -> None:
        """Show how many strengths of the cell in hand are done."""
        self._show(f"{self._cell} ({rows})")

    def finished(self, record: Record) -> None:
        """Count a cell, and show its last row."""
        self.done += 1
        self.failed += record["status"] not in ("ok", "refused", "not-applicable")
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=self.done)
        else:
            self._line(f"{_name(record['key'])}: {_outcome(record)}")

    def _show(self, text: str) -> None:
        if self._bar and self._task is not None:
            self._bar.update(self._task, text=text + (f"  [{self.failed} failed]" if self.failed else ""))

    def _line(self, text: str) -> None:
        seconds = time.perf_counter() - self._start
        print(f"[{self.done}/{self.total} {seconds:5.0f} s] {text}", file=sys.stderr, flush=True)


def _bar() -> Progress:
    return Progress(
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        transient=False,
    )


def _name(key: Mapping[str, Any]) -> str:
    return f"{key['model']} #{key['seed']} {key['scheme']} {key['payload']} bits: {key['attack']}"


def _outcome(record: Record) -> str:
    if record["status"] != "ok":
        return f"{record['status']}: {record['reason']}"
    whole = sum(row["exact"] for row in record["rows"])
    return f"message whole at {whole} of {len(record['rows'])} strengths"
