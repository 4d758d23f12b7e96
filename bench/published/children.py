"""Runs the program behind one result: a suite into a folder of its own that goes on, or a study onto its page."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.published.entries import Entry
from bench.published.study_source import study_source
from bench.records.store import RecordStore
from cwwm.support.console import INTERRUPTED
from cwwm.support.files import write_atomic

_GRACE = 60.0  # seconds for a program that was told to end: its workers end, and its state is noted


@dataclass(frozen=True)
class Machines:
    """What programs are given.

    Attributes:
        runs: folder of what is under way, which git ignores.
        jobs: processes of a suite on this machine.
        engine: options of ``cwwm-bench run`` for other machines; then neither `jobs` nor a budget.
        shared: folder or URL that all machines of the engine reach, or None; each suite gets a folder below it.
    """

    runs: Path
    jobs: int = 1
    engine: Sequence[str] = field(default=())
    shared: str | None = None

    def folder(self, entry: Entry) -> Path:
        """Return where a suite's run goes on, or a study's log is."""
        return self.runs / Path(entry.result).name

    def kept(self, entry: Entry) -> Path:
        """Return the file that a study goes on from, named by its source: that of another is never gone on from."""
        return self.folder(entry) / f"{study_source(str(entry.study))}.json"

    def suite_command(self, entry: Entry, seconds: float | None) -> list[str]:
        """Return the command that runs an entry's suite for at most so many seconds."""
        machines = [*self.engine] or ["--jobs", str(self.jobs)]
        machines += ["--shared", f"{self.shared.rstrip('/')}/{self.folder(entry).name}"] if self.shared else []
        budget = ["--budget", f"{max(seconds, 1.0):.0f}s"] if seconds is not None and not self.engine else []
        out = ["--out", str(self.folder(entry))]
        return [sys.executable, "-m", "bench", "run", *entry.run_options(), *out, *machines, *budget]

    def study_command(self, entry: Entry, folder: Path) -> list[str]:
        """Return the command that writes an entry's page."""
        kept = [entry.keeps, str(self.kept(entry))] if entry.keeps else []
        page = ["-o", str(folder / entry.result)]
        return [sys.executable, "-m", f"bench.studies.{entry.study}", *entry.study_arguments(), *kept, *page]


def take_over(published: RecordStore, run: RecordStore) -> None:
    """Lay published records into the folder of a run, which goes on from those of its source and conditions."""
    if published.archive.exists():
        content = published.archive.read_bytes()
        if not run.archive.exists() or run.archive.read_bytes() != content:
            write_atomic(run.archive, content)


def finish(command: Sequence[str], log: Path, seconds: float | None) -> int | None:
    """Run a program to its end and return its exit code; None where it was told to end, its time being used up.

    What it prints goes to a log; how it goes it tells on standard error, which stays.

    Raises:
        KeyboardInterrupt: if the program was interrupted.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file) as process:
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)
    if code in (INTERRUPTED, -signal.SIGINT):
        raise KeyboardInterrupt
    return code


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a program that still runs: as an interrupt does first."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    process.kill()
