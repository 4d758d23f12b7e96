"""Every command of the README runs, in its order; what it shows is what the code wrote."""

import re
import shlex
from pathlib import Path

import pytest
import torch

import bench.cli.app
import cwwm.cli.app
from bench.models.registry import ZOO_VARIABLE
from cwwm.schemes import SCHEMES
from cwwm.support.console import run_app
from cwwm.weights.checkpoint import save_tensors

pytestmark = pytest.mark.programs

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.S) for line in block.splitlines()]
PROGRAMS = {"cwwm": cwwm.cli.app.app, "cwwm-bench": bench.cli.app.app}


def hurried(path: Path) -> Path:
    """Write the zoo with small images and one epoch a phase, which say as well whether a command runs."""
    zoo = re.sub(r"\bepochs: \d+", "epochs: 1", (ROOT / "models.yaml").read_text())
    path.write_text(re.sub(r"\bsize: 32\b", "size: 16", zoo))
    return path


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_commands_of_the_readme_run_one_after_the_other(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each finds what those before it wrote, beside a checkpoint to mark."""
    torch.manual_seed(0)
    save_tensors({f"layer{i}.weight": torch.randn(512, 512) for i in range(3)}, tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ZOO_VARIABLE, str(hurried(tmp_path / "models.yaml")))
    commands = [shlex.split(line) for line in COMMANDS if line.startswith(f"{program} ")]
    assert len(commands) > 5
    for _, *arguments in commands:
        code, said = run_app(PROGRAMS[program], program, arguments), capsys.readouterr()
        assert code == 0, (arguments, said.out, said.err)
        assert said.out, arguments


def test_make_targets_are_run_by_ci() -> None:
    targets = [line.split()[1] for line in COMMANDS if line.startswith("make")]
    assert targets == ["bench", "test"]
    assert all(f"make {target}" in (ROOT / ".ci" / "run").read_text() for target in targets)
    assert {line.split()[0] for line in COMMANDS} == {"make", "cwwm", "cwwm-bench"}


def test_the_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    exec(compile(example, "README.md", "exec"), {})
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
    (section,) = re.findall(r"^## The encodings\n(.*?)^## ", README, re.S | re.M)
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)} == set(SCHEMES)


def test_the_excerpt_is_what_the_leaderboard_says() -> None:
    (excerpt,) = re.findall(r"<!-- excerpt of \S+ -->\n(.*?)<!-- end", README, re.S)
    assert excerpt.strip()
    assert excerpt.strip() in (ROOT / "results" / "smoke" / "leaderboard.md").read_text()


def test_links_and_pictures_exist() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        path, _, heading = target.partition("#")
        assert (ROOT / path).exists(), target
        titles = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.M) if heading else []
        assert not heading or heading in {title.lower().replace(" ", "-") for title in titles}, target
