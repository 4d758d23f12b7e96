"""The action for pull requests of others: linted, and its steps run in bash as a runner would run them."""

import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from junitparser import JUnitXml

from bench.models.registry import ZOO_VARIABLE
from tests.lowered_plugin import ZOO, lowered

ROOT = Path(__file__).resolve().parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = ACTION["runs"]["steps"]
PAGE = (ROOT / "docs" / "action.md").read_text()

UNTRAINED = """
untrained: [initial]
models: [dense]
payloads: [64]
schemes: [{name: ours, carrier: body}]
attacks: [{name: magnitude, strengths: [0.5]}]
"""
TRAINED = """
models: [dense]
seeds: 1
payloads: [64]
schemes: [{name: ours, carrier: body}]
attacks: [{name: magnitude, strengths: [0.85]}]
"""
PLUGIN = lowered("ours", 0.9)
WORSE = lowered("ours", 0.6)
BROKEN = PLUGIN.replace(
    "return ConstantWeight", "raise ArithmeticError('ours is broken')\n        return ConstantWeight"
)


@dataclass
class Runner:
    """A repository with a plugin, on whose pull request the steps are run.

    Attributes:
        folder: of the checkout. code: of the last job; 0 if every step went well.
    """

    folder: Path
    code: int = 0

    def pull(self, suite: str, plugin: str, file: str = "mine.yaml", **inputs: str) -> None:
        """Run the steps on a pull request that changes suite and plugin."""
        (self.folder / "models.yaml").write_text(ZOO)
        (self.folder / file).write_text(suite)
        (self.folder / "our_scheme.py").write_text(plugin)
        self.program("cwwm-bench", f'exec "{sys.executable}" -m bench "$@"')
        self.program("gh", 'printf "%s\\n" "$@" > "$OUT/gh.txt"')
        given = {"suite": file, "plugin": "our_scheme", "options": "--device cpu", "install": "false"}
        known = {f"inputs.{name}": about.get("default", "") for name, about in ACTION["inputs"].items()}
        known |= {f"inputs.{name}": value for name, value in (given | inputs).items()}
        self._job(known | {"github.event_name": "pull_request", "github.event.pull_request.number": "12"})

    def _job(self, known: dict[str, str]) -> None:
        """Run steps until one fails, as a job does."""
        self.code = 0
        for step in STEPS:
            if self.code == 0 and holds(step.get("if", "true"), known):
                self.code, outputs = self.step(step, known)
                known |= {f"steps.{step.get('id')}.outputs.{name}": value for name, value in outputs.items()}

    def step(self, step: dict[str, Any], known: dict[str, str]) -> tuple[int, dict[str, str]]:
        outputs = self.folder / "outputs.txt"
        outputs.write_text("")
        environment = {name: filled(value, known) for name, value in step["env"].items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.folder,
            env={**self.environment(), **environment, "GITHUB_OUTPUT": str(outputs)},
            check=False,
        )
        return done.returncode, dict(line.split("=", 1) for line in outputs.read_text().splitlines())

    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder),
            "OMP_NUM_THREADS": "1",
            ZOO_VARIABLE: str(self.folder / "models.yaml"),
            "GITHUB_STEP_SUMMARY": str(self.folder / "page.md"),
        }

    def program(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    @property
    def out(self) -> Path:
        return self.folder / ACTION["inputs"]["out"]["default"]

    @property
    def page(self) -> str:
        return (self.folder / "page.md").read_text()

    @property
    def counts(self) -> tuple[int, int, int]:
        report = JUnitXml.fromfile(str(self.out / "exports" / "junit.xml"))
        return report.tests, report.failures, report.errors


def filled(value: str, known: dict[str, str]) -> str:
    """Return a value of `env` with its expressions as a runner fills them in."""
    return re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda found: known.get(found[1], ""), value)


def holds(condition: str, known: dict[str, str]) -> bool:
    """Say whether an `if` of names, texts, ==, != and && holds."""
    terms = condition.split(" && ")
    return all(_holds(*term.partition(" == "), known) if " == " in term else _unlike(term, known) for term in terms)


def _holds(name: str, _: str, text: str, known: dict[str, str]) -> bool:
    return known.get(name, "") == text.strip("'")


def _unlike(term: str, known: dict[str, str]) -> bool:
    if term == "true":
        return True
    name, text = term.split(" != ")
    return known.get(name, "") != text.strip("'")


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


@pytest.mark.programs
def test_a_pull_request_with_a_good_plugin_passes_and_its_table_is_shown(runner: Runner) -> None:
    runner.pull(UNTRAINED, PLUGIN)
    assert runner.code == 0
    assert runner.page.startswith("## cwwm-bench: done\n\nNot compared: results/baseline has no folder mine.\n")
    assert "**1 of 1 architectures work**" in runner.page
    assert runner.counts == (1, 0, 0)
    assert not (runner.out / "gh.txt").exists(), "without a token nothing is said on the pull request"


@pytest.mark.programs
def test_failed_cells_fail_it_once_the_table_is_shown(runner: Runner) -> None:
    runner.pull(UNTRAINED, BROKEN, token="a token")
    assert runner.code == 1
    assert runner.page.startswith("## cwwm-bench: failed\n")
    assert "ours is broken" in runner.page
    assert runner.counts == (1, 0, 1)
    said = (runner.out / "gh.txt").read_text().split()
    assert said[:3] == ["pr", "comment", "12"]
    assert (runner.folder / said[-1]).read_text() == runner.page


@pytest.mark.programs
@pytest.mark.first
def test_a_regression_against_the_accepted_baseline_fails_it(runner: Runner) -> None:
    runner.pull(TRAINED, PLUGIN, baseline="baselines")
    assert runner.code == 0
    accept = [sys.executable, "-m", "bench", "accept-baseline", runner.out, "--baseline", "baselines"]
    subprocess.run(accept, cwd=runner.folder, env=runner.environment(), check=True)
    for path in ("page.md", "cwwm-bench-out/run.json"):
        (runner.folder / path).unlink()
    # the name of the suite finds its baseline, however the file ends
    runner.pull(TRAINED, WORSE, "mine.yml", baseline="baselines")
    assert runner.code == 1
    assert runner.page.startswith("## cwwm-bench: worse\n")
    assert "ours 64 bits: magnitude | exact match" in runner.page
    assert runner.counts[1:] == (1, 0)


@pytest.mark.programs
def test_bad_input_ends_it_at_once(runner: Runner) -> None:
    runner.pull(UNTRAINED, "import no_such_module")
    assert runner.code == 1
    assert not (runner.folder / "page.md").exists()


@pytest.mark.programs
def test_it_installs_cwwm_with_what_the_bench_needs(tmp_path: Path) -> None:
    """It is asked what it would install, and finds everything here: that takes no network."""
    for name in ("pyproject.toml", "setup.py", "constraints.txt", "README.md", "LICENSE", "models.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for package in ("cwwm", "bench"):
        (tmp_path / package).mkdir()
        shutil.copy(ROOT / package / "__init__.py", tmp_path / package)
    runner = Runner(tmp_path)
    runner.program("python", f'exec "{sys.executable}" "$@"')
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"NO_INDEX": "1", "DRY_RUN": "1", "NO_BUILD_ISOLATION": "0"}.items():
            patch.setenv(f"PIP_{name}", value)
        code, _ = runner.step(STEPS[0], {"github.action_path": str(tmp_path)})
    assert code == 0


def test_what_a_caller_gives_reaches_no_script_as_text() -> None:
    for step in STEPS:
        assert "${{" not in step["run"], step["name"]
        assert step["shell"] == "bash"


def test_the_page_describes_every_input_and_output() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.M)) == set(ACTION["inputs"])
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    given = yaml.safe_load(example)["jobs"]["marks"]["steps"][-1]["with"]
    assert given.keys() <= ACTION["inputs"].keys()
    assert {name for name, about in ACTION["inputs"].items() if about.get("required")} <= given.keys()
    assert all(f"`{name}`" in PAGE for name in ACTION["outputs"])


def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    """It reads workflows: one that has the steps, one that calls the action, and the one of the page."""
    tool = Path(sysconfig.get_path("scripts"), "actionlint")
    if not tool.exists():
        pytest.skip("actionlint comes with the extra dev")
    inputs = {name: {"type": "string", "required": about.get("required", False)} for name, about in _inputs()}
    job = {"runs-on": "ubuntu-24.04", "steps": STEPS}
    call = {"uses": "./", "with": {name: "x" for name, _ in _inputs()}}
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    workflows = {
        "steps": yaml.safe_dump({"on": {"workflow_call": {"inputs": inputs}}, "jobs": {"a": job}}),
        "call": yaml.safe_dump({"on": "push", "jobs": {"a": {**job, "steps": [call]}}}),
        "page": example,
    }
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "action.yml").write_bytes((ROOT / "action.yml").read_bytes())
    for name, text in workflows.items():
        (folder / f"{name}.yml").write_text(text)
    done = subprocess.run([tool, "-verbose"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "3 files" in done.stderr


def _inputs() -> list[tuple[str, dict[str, Any]]]:
    return list(ACTION["inputs"].items())
