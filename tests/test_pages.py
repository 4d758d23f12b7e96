"""Pages of the documentation are true: their commands run in order, their tables and excerpts are complete."""

import re
import shlex
from pathlib import Path

import pytest
import torch

import bench.cli.app
import cwwm.cli.app
from bench.models.registry import ZOO_VARIABLE
from bench.suite import suite_names
from cwwm.schemes import SCHEMES
from cwwm.support.console import run_app
from cwwm.weights.checkpoint import save_tensors
from tests.built_wheel import ROOT
from tests.hurried_zoo import hurried
from tests.pages import blocks

DOCS = ROOT / "docs"
PROGRAMS = {"cwwm": cwwm.cli.app.app, "cwwm-bench": bench.cli.app.app}
PYTHON = "laboratory.md"


def _commands(page: str) -> list[str]:
    found = [block.text for block in blocks((DOCS / page).read_text()) if block.language == "sh"]
    return [line for text in found for line in text.splitlines()]


@pytest.mark.programs
@pytest.mark.parametrize(("page", "program"), [("owner.md", "cwwm"), ("laboratory.md", "cwwm-bench")])
def test_the_commands_of_a_page_run_one_after_the_other(
    page: str, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each finds what those before it wrote, beside a checkpoint to mark."""
    torch.manual_seed(0)
    save_tensors({f"layer{i}.weight": torch.randn(512, 512) for i in range(3)}, tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ZOO_VARIABLE, str(hurried(tmp_path / "models.yaml")))
    commands = [shlex.split(line) for line in _commands(page)]
    assert len(commands) > 5
    for name, *arguments in commands:
        assert name == program
        code, said = run_app(PROGRAMS[program], program, arguments), capsys.readouterr()
        assert code == 0, (arguments, said.out, said.err)
        assert said.out, arguments


@pytest.mark.programs
def test_the_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    (example,) = [b.text for b in blocks((DOCS / PYTHON).read_text()) if b.language == "python"]
    exec(compile(example, PYTHON, "exec"), {})
    whole, verdict, *table = capsys.readouterr().out.splitlines()
    assert whole == "True"
    assert verdict.startswith("proven: p = 1e-")
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in table if line.startswith("| ")][1:]
    assert [row[:2] for row in rows] == [
        ["(none)", "-"],
        ["magnitude", "0.5"],
        ["magnitude", "0.9"],
        ["noise", "0.2"],
    ]
    assert {row[2] for row in rows} == {"yes"}


def test_the_table_of_encodings_has_every_scheme() -> None:
    (section,) = re.findall(r"^## The encodings\n(.*?)^## ", (DOCS / "encodings.md").read_text(), re.S | re.M)
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)} == set(SCHEMES)


@pytest.mark.results
def test_the_excerpt_is_what_the_leaderboard_says() -> None:
    (excerpt,) = re.findall(r"<!-- excerpt of \S+ -->\n(.*?)<!-- end", (DOCS / "findings.md").read_text(), re.S)
    assert excerpt.strip()
    assert excerpt.strip() in (ROOT / "results" / "smoke" / "leaderboard.md").read_text()


def test_the_table_of_suites_has_every_suite() -> None:
    (section,) = re.findall(r"^## Suites\n(.*?)^## ", (DOCS / "laboratory.md").read_text(), re.S | re.M)
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)} == set(suite_names())
