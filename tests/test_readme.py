"""Every command of the README runs, in its order; what it shows is what the code wrote."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cwwm.checkpoint import save_tensors

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.S) for line in block.splitlines()]
MODULES = {"cwwm": "cwwm.cli", "cwwm-bench": "bench"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty folder with a checkpoint to mark."""
    folder = tmp_path_factory.mktemp("readme")
    torch.manual_seed(0)
    save_tensors({f"layer{i}.weight": torch.randn(512, 512) for i in range(3)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("cwwm")])
def test_a_command_of_the_readme_runs(command: str, folder: Path) -> None:
    program, *arguments = shlex.split(command)
    done = subprocess.run(
        [sys.executable, "-m", MODULES[program], *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_make_targets_are_run_by_ci() -> None:
    targets = [line.split()[1] for line in COMMANDS if line.startswith("make")]
    assert targets == ["bench", "test"]
    assert all(f"make {target}" in (ROOT / ".ci" / "run").read_text() for target in targets)
    assert {line.split()[0] for line in COMMANDS} == {"make", "cwwm", "cwwm-bench"}


def test_the_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    exec(compile(example, "README.md", "exec"), {})
    whole, log10_p = capsys.readouterr().out.split()
    assert whole == "True"
    assert float(log10_p) < -70


def test_the_excerpt_is_what_the_leaderboard_says() -> None:
    (excerpt,) = re.findall(r"<!-- excerpt of \S+ -->\n(.*?)<!-- end", README, re.S)
    assert excerpt.strip()
    assert excerpt.strip() in (ROOT / "results" / "smoke" / "leaderboard.md").read_text()


def test_links_and_pictures_exist() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target
