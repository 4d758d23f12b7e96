"""A long reading says what it is doing, on a terminal, and nothing of it is in results or on standard output."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cwwm.alignment import align
from cwwm.cli.status_line import StatusLine
from cwwm.ownership.keys import Key
from cwwm.support.console import DONE, NO
from cwwm.support.progress import told_to
from cwwm.weights.view import as_weights
from tests.cwwm.owner_commands import CLAIM, EMBED, ORIGINAL, run

INNOCENT = ("--innocent", "model.safetensors")
WIDE = [f"block.{i}.{half}.weight" for i in range(3) for half in ("wide", "narrow")]


class Recorder(StatusLine):
    """Keeps every line that was to be seen, without its time."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = list[str]()

    def step(self, doing: str, done: int, total: int | None) -> None:
        super().step(doing, done, total)
        self.lines.append(self.text().plain.partition("  ")[2])


def _state(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: (256, 128) if "wide" in name else (128, 256) for name in WIDE}
    return {name: 0.05 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def _permuted(state: dict[str, Tensor]) -> dict[str, Tensor]:
    order = torch.randperm(256, generator=torch.Generator().manual_seed(1))
    return {name: t[order] if "wide" in name else t[:, order] for name, t in state.items()}


@pytest.mark.parametrize("suspect", ["stranger", "moved channels"])
def test_an_alignment_tells_each_layer_and_is_the_same_untold(suspect: str) -> None:
    owner, recorder = as_weights(_state(0)), Recorder()
    other = as_weights(_state(5) if suspect == "stranger" else _permuted(_state(0)))
    untold = align(owner, other)
    with told_to(recorder):
        told = align(owner, other)
    assert (told.score, told.channels, told.tensors) == (untold.score, untold.channels, untold.tensors)
    assert told.accepted == (suspect == "moved channels")
    assert recorder.lines[0] == "0 of 6 layers placed"
    for name in WIDE:
        assert any(line.endswith(f"of 6 layers placed, now {name}") for line in recorder.lines)
    placed = [int(line.partition(" ")[0]) for line in recorder.lines if line.endswith("weight")]
    assert max(placed) == 6 if told.accepted else max(placed) < 6
    with told_to(recorder):
        heard = len(recorder.lines)
    align(owner, other)
    assert len(recorder.lines) == heard, "nobody is told outside"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder with a small marked model and a stranger to it."""
    monkeypatch.chdir(tmp_path)
    Key(bytes(range(32))).save(Path("owner.key"))
    save_file(_state(0), "model.safetensors")
    assert run(*EMBED) == DONE
    save_file(_state(5), "stranger.safetensors")
    return tmp_path


def test_what_is_read_is_named(folder: Path) -> None:
    recorder = Recorder()
    with told_to(recorder):
        run("verify", "stranger.safetensors", *CLAIM[2:], *ORIGINAL, *INNOCENT)
    assert recorder.text().plain.endswith("  model.safetensors: reading")
    assert all(line.startswith("the suspect: ") for line in recorder.lines)


@pytest.mark.programs
def test_a_terminal_sees_a_line_and_standard_output_stays_as_it_is(folder: Path) -> None:
    arguments = ("verify", "stranger.safetensors", *CLAIM[2:], *ORIGINAL, "--json")
    plain = subprocess.run(_command(arguments), capture_output=True, env=_environment())
    assert (plain.returncode, plain.stderr) == (NO, b"")
    controller, terminal = pty.openpty()
    shown = subprocess.run(_command(arguments), stdout=subprocess.PIPE, stderr=terminal, env=_environment())
    os.close(terminal)
    text = os.read(controller, 1 << 16).decode()
    os.close(controller)
    assert (shown.returncode, shown.stdout) == (plain.returncode, plain.stdout)
    assert "the suspect: " in text
    assert text.endswith("\x1b[2K"), "the line is gone in the end"


def _command(arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "cwwm.cli", *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
