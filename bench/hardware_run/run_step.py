"""Runs one step within its limit of time; what it started ends with it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.hardware_run.plan import BETWEEN, LIMIT, Step
from bench.support.git import ROOT

LOGS = "logs"  # folder of what steps printed
_GRACE = 3.0  # seconds of a limit for a process that was told to end


@dataclass(frozen=True)
class Outcome:
    """What came of a step: its seconds, and its exit code, None if it was ended at its limit."""

    step: Step
    seconds: float
    code: int | None

    @property
    def failed(self) -> bool:
        """Say whether the step did not do what it should."""
        return self.code != 0

    @property
    def told(self) -> str:
        """Return the result in a few words."""
        if self.code is None:
            return f"FAILED: ended at its limit of {self.step.limit:g} s"
        return f"FAILED: exit code {self.code}" if self.code else "done"


def run_steps(
    steps: Iterable[Step],
    folder: Path,
    say: Callable[[str], None],
    *,
    began: float,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Outcome]:
    """Run steps one after the other, whatever becomes of each, and yield what came of it.

    Args:
        steps: in order.
        folder: gets a log of each below `LOGS`.
        say: told before and after each step.
        began: time of `clock` that the run began; none goes on later than its limit, less what the page takes.
        clock: in seconds.
    """
    end = began + LIMIT - BETWEEN / 2
    for step in steps:
        limit = max(0.0, min(step.limit, end - clock()))
        say(f"{step.name}: {step.about} (at most {limit:.0f} s)")
        outcome = run_step(step, folder / LOGS / f"{step.name}.txt", limit)
        say(f"{step.name}: {outcome.told}, after {outcome.seconds:.0f} s")
        yield outcome


def run_step(step: Step, log: Path, limit: float) -> Outcome:
    """Run a step in the checkout for at most `limit` seconds, what it prints written to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            step.command,
            cwd=ROOT,
            env=_environment(step.environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that all it starts can be ended
        )
        try:
            code = _waited(process, limit)
        finally:
            _end(process.pid, signal.SIGKILL)
            process.wait()
    return Outcome(step, time.monotonic() - began, code)


def _waited(process: "subprocess.Popen[bytes]", limit: float) -> int | None:
    """Return a process's exit code; None where it had to be told to end."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(max(0.0, limit - _GRACE))
    _end(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    return None


def _end(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a step: the packages of this checkout first, one thread a process."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": path, **more}
