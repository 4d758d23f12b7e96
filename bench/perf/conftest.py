"""Times a fast version and its naive twin in one run and prints both with their ratio."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from pytest_benchmark.stats import Metadata
from tabulate import tabulate

from bench.support.environment import choose_device, hardware
from cwwm.support.files import write_atomic

# The naive version is timed for about this long, within these rounds.
_NAIVE_SECONDS = 0.2
_MIN_ROUNDS, _MAX_ROUNDS = 3, 200
# A call this slow is timed in a fixed number of rounds; below it the timer calibrates itself.
_SLOW_SECONDS = 0.05
_PAIRS = pytest.StashKey[list[tuple[str, "Spread", float]]]()


@dataclass(frozen=True)
class Spread:
    """Seconds of several rounds."""

    median: float
    low: float
    high: float


class BesideNaive(Protocol):
    """What the `beside_naive` fixture gives."""

    def __call__(self, name: str, *, ours: Callable[[], Any], naive: Callable[[], Any]) -> None: ...


def _chosen_device() -> torch.device:
    """Return the device that the environment variable DEVICE names: auto (the default), cpu or cuda."""
    return choose_device(os.environ.get("DEVICE", "auto"))


def pytest_report_header() -> str:
    return f"device: {_chosen_device()} (DEVICE=auto|cpu|cuda), {_hardware()}"


@pytest.fixture
def device() -> Iterator[torch.device]:
    """Give the device to time on; on the CPU with one thread, as two are slower beside other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield _chosen_device()
    torch.set_num_threads(threads)


@pytest.fixture
def beside_naive(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> BesideNaive:
    """Time `ours` and `naive`, calls without arguments, after one warm-up each; the table follows the run."""

    def time_both(name: str, *, ours: Callable[[], Any], naive: Callable[[], Any]) -> None:
        naive()
        plain = _median(benchmark, naive)
        benchmark.extra_info["naive_median_seconds"] = plain
        pairs = request.config.stash.setdefault(_PAIRS, [])
        pairs.append((name, _spread_of_ours(benchmark, ours), plain))

    return time_both


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    pairs = config.stash.get(_PAIRS, [])
    if not pairs:
        return
    rows = [
        (name, f"{ours.median * 1e3:.3f}", f"{ours.low * 1e3:.3f} to {ours.high * 1e3:.3f}", f"{naive * 1e3:.3f}",
         f"{naive / ours.median:.1f}")
        for name, ours, naive in pairs
    ]  # fmt: skip
    headers = ["case", "ours, median ms", "ours, range ms", "naive, median ms", "naive / ours"]
    table = tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
    terminalreporter.section("beside the naive version, in one run")
    terminalreporter.write_line(table)
    terminalreporter.write_line(_hardware())
    if "TABLE" in os.environ:
        title = "# Speed of the library beside the naive way, in one run"
        write_atomic(Path(os.environ["TABLE"]), f"{title}\n\n{_hardware()}.\n\n{table}\n".encode())


def _spread_of_ours(benchmark: BenchmarkFixture, ours: Callable[[], Any]) -> Spread:
    ours()
    if _seconds(benchmark, ours) > _SLOW_SECONDS:
        benchmark.pedantic(ours, rounds=5)  # type: ignore[no-untyped-call]
    else:
        benchmark(ours)
    stats: Metadata | None = benchmark.stats
    if not stats:  # pytest --benchmark-disable only calls the function
        return Spread(*[float("nan")] * 3)
    return Spread(float(stats.stats.median), float(stats.stats.min), float(stats.stats.max))


def _median(benchmark: BenchmarkFixture, function: Callable[[], Any]) -> float:
    rounds = max(_MIN_ROUNDS, min(_MAX_ROUNDS, int(_NAIVE_SECONDS / _seconds(benchmark, function))))
    return median(_seconds(benchmark, function) for _ in range(rounds))


def _seconds(benchmark: BenchmarkFixture, function: Callable[[], Any]) -> float:
    """Time one call with the timer that pytest-benchmark times ours with."""
    timer = benchmark._timer
    start = timer()
    function()
    return float(timer() - start)


def _hardware() -> str:
    return f"{hardware(_chosen_device())}, torch {torch.__version__}"
