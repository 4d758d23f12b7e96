"""How far a run is: kept in a file for other shells, shown live on a terminal, as plain lines elsewhere."""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.records.fields import Amount, Count, Positive
from bench.records.record import Record
from bench.records.schema import NOT_NEEDED
from bench.suite.cell import Cell
from bench.support.plain_text import plain
from bench.support.untrusted_io import read_object
from cwwm.support.console import clock, live_view
from cwwm.support.errors import BadInput, EnvironmentFault
from cwwm.support.files import write_json

LAST = 5  # results and failures that are shown
_Line = Annotated[str, Field(max_length=200_000)]  # names a cell, and says a reason as long as a record may have
_Lines = Annotated[list[_Line], Field(max_length=LAST)]
RUNNING, ENDED, STOPPED = "running", "ended", "stopped"


@dataclass
class Progress:
    """How far a run is, as its file says it.

    Attributes:
        suite: its name. total: cells of the plan. taken: of these, those recorded before. done: run since.
        failed: of `done`. began, updated: seconds since the epoch. seconds: of running, by a steady clock.
        doing: the cell in hand, and what is made for it. cell: its identity, in a run of one process.
        last: the latest results. failures: the latest of these.
        state: RUNNING, ENDED, or STOPPED before the end. pid, machine: of the process that runs it.
    """

    suite: _Line
    total: Count
    taken: Count = 0
    done: Count = 0
    failed: Count = 0
    began: Amount = field(default_factory=time.time)
    updated: Amount = field(default_factory=time.time)
    seconds: Amount = 0.0
    doing: _Line = ""
    cell: _Line = ""
    last: _Lines = field(default_factory=list)
    failures: _Lines = field(default_factory=list)
    state: _Line = RUNNING
    pid: Positive = field(default_factory=os.getpid)
    machine: _Line = field(default_factory=socket.gethostname)

    @property
    def per_minute(self) -> float | None:
        """Return the cells run in a minute, or None before the first."""
        return 60 * self.done / self.seconds if self.done and self.seconds else None

    @property
    def left(self) -> float | None:
        """Return the seconds left at the rate so far, or None before the first cell."""
        rate = self.per_minute
        return None if rate is None else 60 * (self.total - self.taken - self.done) / rate


def progress_path(folder: Path) -> Path:
    """Return where a run into `folder` says how far it is."""
    return folder / "progress.json"


def read_progress(folder: Path) -> Progress | None:
    """Return how far the last run into a folder is, or None if there was none; a killed run counts as stopped."""
    path = progress_path(folder)
    if not path.exists() and not path.is_symlink():
        return None
    value = read_object(path, "file of progress")
    if value.keys() != {f.name for f in fields(Progress)}:
        raise BadInput(f"{path} is no file of progress of this version; delete it, it holds no results")
    try:
        progress = TypeAdapter(Progress).validate_python(value)
    except ValidationError as error:
        raise BadInput(f"{path} is damaged; delete it, it holds no results") from error
    if progress.state == RUNNING and progress.machine == socket.gethostname() and not _lives(progress.pid):
        progress.state = STOPPED
    return progress


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def progress_view(progress: Progress) -> Group:
    """Return the picture of a run: a bar, rate and time left, the cell in hand, the last results and failures."""
    finished = progress.taken + progress.done
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text(f"suite {plain(progress.suite)}", style="bold"),
        ProgressBar(total=max(1, progress.total), completed=finished, width=24),
        Text(f"{finished}/{progress.total} cells"),
        Text(_rate(progress)),
        Text(f"{progress.failed} failed" if progress.failed else "none failed", style=_mood(progress)),
        Text(plain(progress.state), style="bold" if progress.state == RUNNING else "bold yellow"),
    )
    body = Table.grid(padding=(0, 2))
    body.add_row(Text("in hand", style="dim"), Text(plain(progress.doing) or "-"))
    for name, lines in (("last", progress.last), ("failures", progress.failures)):
        for number, line in enumerate(reversed(lines)):
            body.add_row(Text("" if number else name, style="dim"), Text(plain(line)))
    return Group(head, body)


def _mood(progress: Progress) -> str:
    return "bold red" if progress.failed else "green"


def _rate(progress: Progress) -> str:
    if progress.per_minute is None or progress.left is None:
        return f"{clock(progress.seconds)} gone"
    return f"{progress.per_minute:.3g} a minute, {clock(progress.seconds)} gone, {clock(progress.left)} left"


class RunProgress:
    """Tells the file, and the terminal or standard error, how far a run is."""

    def __init__(self, folder: Path, suite: str, *, total: int, taken: int) -> None:
        """Prepare for a run into `folder` of `total` cells, `taken` of them recorded before."""
        self.progress, self.unneeded = Progress(suite, total, taken), 0
        self._path, self._start, self._cell = progress_path(folder), time.perf_counter(), ""
        self._live = live_view(self._view)

    @property
    def failed(self) -> int:
        """Return how many cells failed."""
        return self.progress.failed

    def __enter__(self) -> "RunProgress":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._save()
        if self._live:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.state, self.progress.doing = (STOPPED if error else ENDED), ""
        self.progress.cell = ""
        self._save()
        if self._live:
            self._live.stop()

    def started(self, cell: Cell) -> None:
        """Show which cell is in hand."""
        self._cell, self.progress.cell = _name(cell.key), cell.identity
        self._do(self._cell)

    def say(self, text: str) -> None:
        """Show what is being made for the cell in hand."""
        self._do(f"{self._cell}: {text}" if self._cell else text)
        if not self._live:
            self._line(text)

    def advance(self, rows: int) -> None:
        """Show how many strengths of the cell in hand are done; other shells see it with the next cell."""
        self.progress.doing = f"{self._cell} ({rows})"

    def finished(self, record: Record) -> None:
        """Count a cell, and show its last row."""
        progress, line = self.progress, f"{_name(record.key.model_dump())}: {_outcome(record)}"
        progress.done += 1
        self.unneeded += record.status == NOT_NEEDED
        progress.cell = ""
        progress.last = [*progress.last, line][-LAST:]
        if record.failed:
            progress.failed += 1
            progress.failures = [*progress.failures, line][-LAST:]
        self._save()
        if not self._live:
            self._line(line)

    def _do(self, text: str) -> None:
        self.progress.doing = text
        self._save()

    def _save(self) -> None:
        """Write the file; a run goes on without, and does not bring back a folder that was removed."""
        self._tick()
        with contextlib.suppress(EnvironmentFault):
            if self._path.parent.is_dir():
                write_json(self._path, asdict(self.progress))

    def _tick(self) -> None:
        self.progress.seconds, self.progress.updated = time.perf_counter() - self._start, time.time()

    def _view(self) -> Group:
        self._tick()
        return progress_view(self.progress)

    def _line(self, text: str) -> None:
        waiting = self.progress.total - self.progress.taken
        seconds = time.perf_counter() - self._start
        print(f"[{self.progress.done}/{waiting} {seconds:5.0f} s] {plain(text)}", file=sys.stderr, flush=True)


def _name(key: Mapping[str, Any]) -> str:
    return f"{key['model']} #{key['seed']} {key['scheme']} {key['payload']} bits: {key['attack']}"


def _outcome(record: Record) -> str:
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    recovered = [row.recovered for row in record.rows or ()]
    return f"message recovered at {sum(recovered)} of {len(recovered)} strengths"
