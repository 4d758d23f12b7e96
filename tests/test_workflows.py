"""The workflows: pinned by digest, few permissions, no code of forks on our runner, nothing but make targets."""

import re
import subprocess
import sysconfig
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github/workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))


def read(name: str) -> dict[object, object]:
    value = yaml.safe_load((FOLDER / name).read_text())
    assert isinstance(value, dict)
    return value


def test_actionlint_finds_nothing() -> None:
    tool = Path(sysconfig.get_path("scripts"), "actionlint")
    if not tool.exists():
        pytest.skip("actionlint comes with the extra dev")
    done = subprocess.run([tool, *WORKFLOWS], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_digest_and_runs_are_make_targets(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
            elif job["runs-on"] == "ubuntu-24.04" and "gh issue" in step["run"]:
                assert "make" not in step["run"], "the job that may write issues runs nothing of the repository"
            else:
                assert step["run"] == ".ci/run" or re.match(r"make ([a-z-]+)", step["run"]).group(1) in targets  # type: ignore[union-attr]


def test_forks_never_reach_our_runner() -> None:
    nightly = read("nightly-gpu.yml")
    triggers = nightly[True]  # YAML 1.1 reads the key `on` as true
    assert isinstance(triggers, dict)
    assert set(triggers) == {"schedule", "workflow_dispatch"}
    for name in ("ci.yml", "lowest.yml"):
        for job in yaml.safe_load((FOLDER / name).read_text())["jobs"].values():
            assert "self-hosted" not in job["runs-on"]


def test_tokens_may_do_little() -> None:
    assert read("ci.yml")["permissions"] == read("lowest.yml")["permissions"] == {"contents": "read"}
    nightly = read("nightly-gpu.yml")
    assert nightly["permissions"] == {}
    jobs = nightly["jobs"]
    assert isinstance(jobs, dict)
    assert [job["permissions"] for job in jobs.values()] == [{"contents": "read"}, {"issues": "write"}]
