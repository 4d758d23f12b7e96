"""Times a fast version and its naive twin in one run and prints both with their ratio."""

import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from pytest_benchmark.stats import Metadata
from tabulate import tabulate

from bench.conditions import choose_device

# The naive version is timed for about this long, within these rounds.
_NAIVE_SECONDS = 0.2
_MIN_ROUNDS, _MAX_ROUNDS = 3, 200
# A call this slow is timed in a fixed number of rounds; below it the timer calibrates itself.
_SLOW_SECONDS = 0.05
_PAIRS = pytest.StashKey[list[tuple[str, float, float]]]()


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
        pairs.append((name, _median_of_ours(benchmark, ours), plain))

    return time_both


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    pairs = config.stash.get(_PAIRS, [])
    if not pairs:
        return
    rows = [(name, ours * 1e3, naive * 1e3, naive / ours) for name, ours, naive in pairs]
    terminalreporter.section("beside the naive version, medians of one run")
    headers = ["case", "ours [ms]", "naive [ms]", "naive / ours"]
    terminalreporter.write_line(tabulate(rows, headers=headers, floatfmt=("", ".3f", ".3f", ".1f")))
    terminalreporter.write_line(_hardware())


def _median_of_ours(benchmark: BenchmarkFixture, ours: Callable[[], Any]) -> float:
    ours()
    if _seconds(benchmark, ours) > _SLOW_SECONDS:
        benchmark.pedantic(ours, rounds=5)  # type: ignore[no-untyped-call]
    else:
        benchmark(ours)
    stats: Metadata | None = benchmark.stats
    # pytest --benchmark-disable only calls the function.
    return float(stats.stats.median) if stats else float("nan")


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
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu only"
    return f"{_processor()}, torch {torch.__version__}, {device}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())
