"""Fuzzes the readers in a process of bounded memory: N=100000 python -m tests.fuzz [TARGET ...].

N is the number of inputs of all targets together, SEED the first seed. An input that is neither accepted nor
refused in one line, takes more than ten seconds or more than 1 GB stops its target; it is kept under build/fuzz.
"""

import contextlib
import faulthandler
import hashlib
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.targets import TARGETS, Target

MEMORY = 1 << 30  # bytes above what the imports take
SECONDS = 10
ROUND = 1000  # inputs of one seed
FOUND = Path("build/fuzz")


class Slow(Exception):  # noqa: N818 (what an input is)
    """An input that takes more than `SECONDS`."""


def main() -> int:
    """Run all targets, or those named; return 1 if an input was found that is answered wrong."""
    total, first = int(os.environ.get("N", "10000")), int(os.environ.get("SEED", "0"))
    names = sys.argv[1:] or list(TARGETS)
    torch.set_num_threads(1)
    _limit_memory()
    failed = 0
    for name in names:
        start, score = time.monotonic(), Score()
        try:
            fuzz(TARGETS[name], total // len(names), first, score)
        except Exception as error:
            failed += 1
            print(f"{name}: FOUND {type(error).__name__}: {error}", flush=True)
        print(f"{name}: {score}, {time.monotonic() - start:.0f} s", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory of the process: {peak / 2**20:.2f} GiB")
    return 1 if failed else 0


@dataclass
class Score:
    """How many inputs were tried and accepted, and the processor time of the longest, in seconds."""

    tried: int = 0
    accepted: int = 0
    longest: float = 0.0

    def __str__(self) -> str:
        return f"{self.tried:,} inputs, {self.accepted:,} accepted, the longest {self.longest:.2f} s"


def fuzz(target: Target, count: int, first: int, score: Score) -> None:
    """Try `count` inputs on a target, a seed for each round of them; raise what one of them raises."""
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, count, ROUND):

            @seed(first + start)
            @settings(
                max_examples=min(ROUND, count - start),
                phases=(Phase.generate,),
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(target.inputs)
            def trial(made: tuple[str, bytes]) -> None:
                began = time.process_time()
                with _kept(*made), _timed():
                    score.accepted += target.run(*made, Path(folder))
                score.tried += 1
                score.longest = max(score.longest, time.process_time() - began)

            trial()


@contextlib.contextmanager
def _kept(name: str, data: bytes) -> Iterator[None]:
    try:
        yield
    except Exception:
        FOUND.mkdir(parents=True, exist_ok=True)
        (FOUND / f"{hashlib.sha256(data).hexdigest()[:8]}-{name}").write_bytes(data)
        raise


@contextlib.contextmanager
def _timed() -> Iterator[None]:
    """Raise `Slow` after ten seconds of processor time, which a busy machine does not stretch.

    Where even that is not heard, the process ends after two minutes, with its stack.
    """
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    faulthandler.dump_traceback_later(12 * SECONDS, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()


def _raise_slow(_: int, __: FrameType | None) -> None:
    raise Slow(f"an input takes more than {SECONDS} s")


def _limit_memory() -> None:
    signal.signal(signal.SIGPROF, _raise_slow)
    used = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
    limit = int(used.split()[1]) * 1024 + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    sys.exit(main())
