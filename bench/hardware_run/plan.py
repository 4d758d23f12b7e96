"""The steps of a hardware run: commands with a limit of time each, and the files that each leaves."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cwwm.support.errors import unknown_name

LIMIT = 540.0  # seconds for the whole run, what lies between the steps included
BETWEEN = 30.0  # of them: the start of this program, the facts of the hardware, the page
CUDA_TESTS = (
    "tests/bench/compression/test_devices.py",
    "tests/bench/test_cuda.py",
    "tests/cwwm/test_order_statistics.py",
)
WEIGHTS = ("bench/perf/test_weights.py", "bench/perf/test_copies.py", "bench/perf/test_decoding.py")
NETWORKS = ("bench/perf/test_training.py", "bench/perf/test_curve.py")


@dataclass(frozen=True)
class Profile:
    """How much a run does.

    Attributes:
        tests, weights, networks, suite, tables: seconds that a step may take.
        budget: seconds within which the suite begins no cell that would end later; below its limit, for the cell
            that takes longer than those before it, and for the pictures.
        arguments: of ``cwwm-bench run``: the suite, and what narrows it.
    """

    tests: float
    weights: float
    networks: float
    suite: float
    tables: float
    budget: float
    arguments: tuple[str, ...]


PROFILES: Mapping[str, Profile] = {
    "full": Profile(100, 100, 75, 215, 20, 180, ("nightly",)),
    # the same steps on networks and weights that a CPU does in two minutes
    "tiny": Profile(
        230, 60, 80, 110, 30, 80,
        ("smoke", "--model", "test_resnet-40", "--scheme", "cwc", "--attack", "magnitude", "--seeds", "1"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One command of a run.

    Attributes:
        name: in tables, and of its log.
        about: what it finds out.
        limit: seconds until it is ended.
        command: program and arguments; run in the checkout.
        leaves: files below the folder of the run, the one for its page first.
        environment: variables beside those that are set.
    """

    name: str
    about: str
    limit: float
    command: tuple[str, ...]
    leaves: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def find_profile(name: str) -> Profile:
    """Return the profile of that name; BadInput names the nearest valid ones."""
    if name not in PROFILES:
        raise unknown_name("profile", name, PROFILES)
    return PROFILES[name]


def plan(name: str, device: str, folder: Path, scratch: Path, budget: float | None = None) -> list[Step]:
    """Return the steps of a profile in order.

    Args:
        name: of the profile; BadInput for an unknown one.
        device: cpu or cuda.
        folder: of the run, absolute.
        scratch: absolute; gets the models and records of the suite, and may go afterwards.
        budget: seconds of the suite, if fewer than the profile's.
    """
    profile = find_profile(name)
    if budget is not None and budget < profile.budget:
        spared = profile.budget - budget
        profile = replace(profile, budget=budget, suite=profile.suite - spared)
    means = {"DEVICE": device, "PROFILE": name}
    return [
        _tests(profile, means, folder),
        _speed("weights", "speed of reading and pruning weights", profile.weights, WEIGHTS, means, folder),
        _speed("networks", "cost of marking and attacking a network", profile.networks, NETWORKS, means, folder),
        *_suite(profile, device, folder, scratch),
    ]


def _tests(profile: Profile, means: Mapping[str, str], folder: Path) -> Step:
    report = ("--durations=20", "--junit-xml", str(folder / "tests.xml"))
    command = _python("pytest", "-q", "-p", "no:cacheprovider", "-m", "cuda", *report, *CUDA_TESTS)
    return Step("tests", f"tests marked cuda, on {means['DEVICE']}", profile.tests, command, ("tests.xml",), means)


def _speed(
    name: str, about: str, limit: float, files: tuple[str, ...], means: Mapping[str, str], folder: Path
) -> Step:
    table, results = f"speed-{name}.md", f"speed-{name}.json"
    report = ("--durations=0", "--benchmark-max-time=0.5", "--benchmark-json", str(folder / results))
    command = _python("pytest", "-p", "no:cacheprovider", *report, *files)
    return Step(name, about, limit, command, (table, results), {**means, "TABLE": str(folder / table)})


def _suite(profile: Profile, device: str, folder: Path, scratch: Path) -> list[Step]:
    arguments = ("--device", device, "--budget", f"{profile.budget:g}s", "--out", str(scratch))
    about = f"suite {profile.arguments[0]} within {profile.budget:g} s"
    return [
        Step("suite", about, profile.suite, _python("bench", "run", *profile.arguments, *arguments), ()),
        Step(
            "tables",
            "records and leaderboard of what the suite did",
            profile.tables,
            _python("bench", "pack", str(scratch), "--to", str(folder / "suite")),
            ("suite/leaderboard.md", "suite/records.jsonl.xz", "suite/run.json"),
        ),
    ]


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)
