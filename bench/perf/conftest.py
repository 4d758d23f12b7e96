"""Times a call beside another in one run, its naive twin or what it cannot do without, and prints their ratio.

DEVICE (auto, cpu, cuda) says where, PROFILE (full, tiny) how large the networks are.
"""

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol, TypeVar

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from pytest_benchmark.stats import Metadata
from tabulate import tabulate
from torch import Tensor, nn

from bench.attacks.base import AttackContext
from bench.data.registry import load
from bench.models.registry import HostRecipe
from bench.perf.large_network import large_network
from bench.support.environment import choose_device, hardware
from cwwm.support.errors import BadInput
from cwwm.support.files import write_atomic
from cwwm.support.timing import synchronise
from cwwm.training import Recipe

# The other call is timed for about this long, and at most so many rounds.
_OTHER_SECONDS = 0.2
_MAX_ROUNDS = 200
# A call this slow is timed in a fixed number of rounds; below it the timer calibrates itself.
_SLOW_SECONDS = 0.05
_ROUNDS = {"full": (3, 5), "tiny": (1, 2)}  # of the other call at least, and of a slow one of ours
_PAIRS = pytest.StashKey[list["Pair"]]()
_NARROWER = {"full": 1, "tiny": 8}  # than ResNet-50: 25.5 and 0.4 million weights

Result = TypeVar("Result")


@dataclass(frozen=True)
class Spread:
    """Seconds of several rounds."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Pair:
    """Two calls that were timed: `other` is the naive twin, or the floor that `beside` names.

    Attributes:
        name: of the case.
        ours: its spread.
        other: median seconds.
        beside: what the other is; empty for the naive twin.
        moved: bytes that the other reads and writes; 0 if nobody counts them.
    """

    name: str
    ours: Spread
    other: float
    beside: str = ""
    moved: int = 0


class BesideNaive(Protocol):
    """What the `beside_naive` fixture gives."""

    def __call__(self, name: str, *, ours: Callable[[], Any], naive: Callable[[], Any]) -> None: ...


class BesideFloor(Protocol):
    """What the `beside_floor` fixture gives."""

    def __call__(
        self, name: str, *, ours: Callable[[], Any], floor: Callable[[], Any], beside: str, moved: int = 0
    ) -> None: ...


def _chosen_device() -> torch.device:
    """Return the device that the environment variable DEVICE names: auto (the default), cpu or cuda."""
    return choose_device(os.environ.get("DEVICE", "auto"))


def _chosen_profile() -> str:
    """Return the profile that the environment variable PROFILE names: full (the default) or tiny."""
    name = os.environ.get("PROFILE", "full")
    if name not in _NARROWER:
        raise BadInput(f"PROFILE is {' or '.join(_NARROWER)}, not '{name}'")
    return name


def pytest_benchmark_generate_machine_info() -> dict[str, str]:
    """Say what a reader of the results needs, and nothing else of the machine."""
    return {"hardware": _hardware(), "python": platform.python_version()}


def pytest_report_header() -> str:
    return f"device: {_chosen_device()} (DEVICE=auto|cpu|cuda), {_hardware()}"


@pytest.fixture
def device() -> Iterator[torch.device]:
    """Give the device to time on; on the CPU with one thread, as two are slower beside other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield _chosen_device()
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def profile() -> str:
    return _chosen_profile()


@pytest.fixture
def scale(profile: str, device: torch.device) -> str:
    """Return how large networks that run are to be: tiny, or as the device, cpu or cuda, has time for."""
    return profile if profile == "tiny" else device.type


@pytest.fixture(scope="module")
def weights_on_cpu(profile: str) -> nn.Module:
    return large_network(_NARROWER[profile])


@pytest.fixture
def model(weights_on_cpu: nn.Module, device: torch.device) -> nn.Module:
    return weights_on_cpu.to(device)


@pytest.fixture
def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


@pytest.fixture
def pruning(device: torch.device) -> AttackContext:
    """Return what a pruning attacker has; it asks for no recipe, nor for data."""
    recipe = HostRecipe(mark=Recipe(epochs=1))
    return AttackContext(load("digits", size=8), recipe, 0, device, lambda name: load(name, size=8))


def millions(model: nn.Module) -> str:
    """Return the number of a model's parameters in words."""
    return f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} M"


def drained(call: Callable[[], Result], device: torch.device) -> Callable[[], Result]:
    """Return `call` with the device's queue drained after it."""

    def wait() -> Result:
        result = call()
        synchronise(device)
        return result

    return wait


@pytest.fixture
def beside_naive(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> BesideNaive:
    """Time `ours` and `naive`, calls without arguments, after one warm-up each; the table follows the run."""

    def time_both(name: str, *, ours: Callable[[], Any], naive: Callable[[], Any]) -> None:
        plain = _other(benchmark, naive, "naive_median_seconds")
        _pairs(request.config).append(Pair(name, _spread_of_ours(benchmark, ours), plain))

    return time_both


@pytest.fixture
def beside_floor(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> BesideFloor:
    """Time `ours` and `floor`, the work of the device that `ours` cannot do without; as `beside_naive`."""

    def time_both(
        name: str, *, ours: Callable[[], Any], floor: Callable[[], Any], beside: str, moved: int = 0
    ) -> None:
        least = _other(benchmark, floor, "floor_median_seconds")
        _pairs(request.config).append(Pair(name, _spread_of_ours(benchmark, ours), least, beside, moved))

    return time_both


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    pairs = _pairs(config)
    tables = dict(_tables([pair for pair in pairs if not pair.beside], [pair for pair in pairs if pair.beside]))
    for title, table in tables.items():
        terminalreporter.section(title)
        terminalreporter.write_line(table)
        terminalreporter.write_line(_hardware())
    if tables and "TABLE" in os.environ:
        text = "\n\n".join(
            f"# Speed of the library {title}\n\n{_hardware()}.\n\n{table}" for title, table in tables.items()
        )
        write_atomic(Path(os.environ["TABLE"]), f"{text}\n".encode())


def _tables(naive: list[Pair], floors: list[Pair]) -> Iterator[tuple[str, str]]:
    """Yield (title, table) of what was timed beside naive twins, and beside floors."""
    ours = ["case", "ours, median ms", "ours, range ms"]
    if naive:
        headers = [*ours, "naive, median ms", "naive / ours"]
        rows = [[*_ours(pair), f"{pair.other * 1e3:.3f}", f"{pair.other / pair.ours.median:.1f}"] for pair in naive]
        yield "beside the naive way, in one run", tabulate(rows, headers, "github", disable_numparse=True)
    if floors:
        headers = [*ours, "beside", "its median ms", "ours / it"]
        rows = [
            [*_ours(pair), _floor(pair), f"{pair.other * 1e3:.3f}", f"{pair.ours.median / pair.other:.2f}"]
            for pair in floors
        ]
        yield (
            "beside what it cannot do without, in one run",
            tabulate(rows, headers, "github", disable_numparse=True),
        )


def _ours(pair: Pair) -> list[str]:
    spread = pair.ours
    return [pair.name, f"{spread.median * 1e3:.3f}", f"{spread.low * 1e3:.3f} to {spread.high * 1e3:.3f}"]


def _floor(pair: Pair) -> str:
    return f"{pair.beside}, {pair.moved / pair.other / 1e9:.1f} GB/s" if pair.moved else pair.beside


def _pairs(config: pytest.Config) -> list[Pair]:
    return config.stash.setdefault(_PAIRS, [])


def _other(benchmark: BenchmarkFixture, call: Callable[[], Any], noted: str) -> float:
    """Return the median seconds of the call that ours is timed beside, after a warm-up."""
    call()
    seconds = _median(benchmark, call)
    benchmark.extra_info[noted] = seconds
    return seconds


def _spread_of_ours(benchmark: BenchmarkFixture, ours: Callable[[], Any]) -> Spread:
    ours()
    if _seconds(benchmark, ours) > _SLOW_SECONDS:
        benchmark.pedantic(ours, rounds=_ROUNDS[_chosen_profile()][1])  # type: ignore[no-untyped-call]
    else:
        benchmark(ours)
    stats: Metadata | None = benchmark.stats
    if not stats:  # pytest --benchmark-disable only calls the function
        return Spread(*[float("nan")] * 3)
    return Spread(float(stats.stats.median), float(stats.stats.min), float(stats.stats.max))


def _median(benchmark: BenchmarkFixture, function: Callable[[], Any]) -> float:
    rounds = max(
        _ROUNDS[_chosen_profile()][0], min(_MAX_ROUNDS, int(_OTHER_SECONDS / _seconds(benchmark, function)))
    )
    return median(_seconds(benchmark, function) for _ in range(rounds))


def _seconds(benchmark: BenchmarkFixture, function: Callable[[], Any]) -> float:
    """Time one call with the timer that pytest-benchmark times ours with."""
    timer = benchmark._timer
    start = timer()
    function()
    return float(timer() - start)


def _hardware() -> str:
    return f"{hardware(_chosen_device())}, torch {torch.__version__}"
