"""Hardware runs as they are planned: within nine minutes, with all tests that take a GPU."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.hardware_run import __main__ as command
from bench.hardware_run.plan import BETWEEN, CUDA_TESTS, LIMIT, NETWORKS, PROFILES, WEIGHTS, Step, plan
from bench.hardware_run.run_step import _GRACE
from bench.suite import load_suite
from bench.support.git import ROOT
from cwwm.support.console import BAD_INPUT, run_app
from cwwm.support.errors import BadInput

every_profile = pytest.mark.parametrize("profile", PROFILES)


def steps(profile: str, folder: Path = Path("/out"), device: str = "cuda") -> list[Step]:
    return plan(profile, device, folder, Path("/scratch"))


@every_profile
def test_the_limits_of_all_steps_are_less_than_nine_minutes(profile: str) -> None:
    planned = steps(profile)
    assert sum(step.limit for step in planned) + BETWEEN <= LIMIT == 540
    assert all(step.limit > 3 * _GRACE for step in planned)
    assert PROFILES[profile].budget < PROFILES[profile].suite


@every_profile
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_each_step_says_the_device_and_leaves_files_of_its_own_in_the_folder(profile: str, device: str) -> None:
    planned = steps(profile, device=device)
    left = [name for step in planned for name in step.leaves]
    assert len({step.name for step in planned}) == len(planned)
    assert len(set(left)) == len(left)
    assert not any(Path(name).is_absolute() or ".." in Path(name).parts for name in left)
    told = [
        step.environment.get("DEVICE") or step.command[step.command.index("--device") + 1] for step in planned[:-1]
    ]
    assert told == [device] * 4
    written = [part for step in planned for part in (*step.command, *step.environment.values()) if part[0] == "/"]
    assert {Path(part).parts[1] for part in written[1:] if part != planned[0].command[0]} == {"out", "scratch"}


def test_all_files_of_tests_marked_cuda_and_of_timings_with_a_device_are_run() -> None:
    marked = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"\bmark\.cuda\b", path.read_text())
    ]
    assert sorted(marked) == sorted(CUDA_TESTS)
    timed = [path for path in (ROOT / "bench" / "perf").glob("test_*.py") if "torch.device" in path.read_text()]
    assert {path.relative_to(ROOT).as_posix() for path in timed} == {*WEIGHTS, *NETWORKS}


def test_a_smaller_budget_shortens_the_suite_and_a_larger_one_changes_nothing() -> None:
    whole = steps("full")
    shorter = plan("full", "cuda", Path("/out"), Path("/scratch"), budget=60)
    assert [step.limit for step in shorter if step.name != "suite"] == [s.limit for s in whole if s.name != "suite"]
    (suite,), (whole_suite,) = ([step for step in planned if step.name == "suite"] for planned in (shorter, whole))
    assert suite.command[suite.command.index("--budget") + 1] == "60s"
    assert suite.limit - 60 == whole_suite.limit - PROFILES["full"].budget
    assert plan("full", "cuda", Path("/out"), Path("/scratch"), budget=1e4) == whole


@every_profile
def test_the_suite_of_a_profile_is_there(profile: str) -> None:
    assert load_suite(PROFILES[profile].arguments[0]).models


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--profile", "fulll"), "profile 'fulll'"),
        (("--device", "tpu"), "device is auto, cpu or cuda, not 'tpu'"),
        (("--device", "cuda"), "no CUDA device is available to torch"),
        (("--budget", "60"), "--budget is a number with a unit"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line_before_anything_is_written(
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert run_app(command.app, "gpu", [*arguments, "--out", str(tmp_path / "out")]) == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


def test_an_earlier_run_goes_and_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("ours")
    with pytest.raises(BadInput, match="holds no earlier run"):
        command.clear(tmp_path, steps("tiny"))
    for name in (command.FACTS, command.STEPS, command.PAGE, "tests.xml", "suite/run.json", "logs/tests.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old")
    command.clear(tmp_path, steps("tiny"))
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", command.FACTS}


def test_profiles_are_one_word_apart() -> None:
    """A tiny run does every step of a full one."""
    full, tiny = steps("full"), steps("tiny")
    assert [replace(step, limit=0, about="", command=(), environment={}) for step in full] == [
        replace(step, limit=0, about="", command=(), environment={}) for step in tiny
    ]
