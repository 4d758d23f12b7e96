"""Laws of printing: no pipe, locale or message changes an exit code, and nothing writes to the terminal at will."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import Tensor

from cwwm.cli.app import app
from cwwm.ownership.keys import Key
from cwwm.support.console import BAD_INPUT, DONE, escaped, run_app

pytestmark = pytest.mark.programs

ODD = "me\u0308in\n\t\U0001f468\u200d\U0001f469\u200d\U0001f467"  # a combining umlaut, a line end, a joined emoji
NORMAL = "m\u00ebin\n\t\U0001f468\u200d\U0001f469\u200d\U0001f467"
SHOWN = r"text: m" + "\u00eb" + r"in\n\t" + "\U0001f468" + r"\u200d" + "\U0001f469" + r"\u200d" + "\U0001f467"
SIGN = ("--scheme", "sign", "--payload-bits", "256")
VERIFY = ("verify", "m.safetensors", "--key", "k", "--mark", "m.mark.json", "--commitment", "m.commitment.json")
EXTRACT = ("extract", "m.safetensors", "--key", "k")


@pytest.fixture
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, Tensor]) -> Path:
    """Go to a folder with a model that carries `ODD`, given by a file."""
    monkeypatch.chdir(tmp_path)
    save_file(state, "model.safetensors")
    Key(bytes(range(32))).save(Path("k"))
    Path("message.txt").write_bytes(f"{ODD}\n".encode())
    embed = (
        "embed",
        "model.safetensors",
        "--key",
        "k",
        "-o",
        "m.safetensors",
        "--message-file",
        "message.txt",
        *SIGN,
    )
    assert run_app(app, "cwwm", list(embed)) == DONE
    return tmp_path


def test_messages_are_shown_escaped_and_proven_in_every_normal_form(
    marked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run_app(app, "cwwm", list(EXTRACT)) == DONE
    assert SHOWN in capsys.readouterr().out.splitlines()
    for given in (("--message", ODD), ("--message", NORMAL), ("--message-file", "message.txt")):
        assert run_app(app, "cwwm", [*VERIFY, *given]) == DONE
        assert "message recovered: yes" in capsys.readouterr().out


def _process(*arguments: str, text: bytes = b"", **environment: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "cwwm.cli", *arguments]
    return subprocess.run(command, input=text, capture_output=True, env={**os.environ, **environment}, check=False)


LOCALES = [
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0"},
    {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
]
INSPECT = ("inspect", "m.safetensors")


@pytest.mark.parametrize(
    "environment", [LOCALES[0], *(pytest.param(each, marks=pytest.mark.slow) for each in LOCALES[1:])]
)
def test_no_locale_makes_printing_fail(environment: dict[str, str], marked: Path) -> None:
    found = _process(*EXTRACT, **environment)
    assert (found.returncode, found.stderr) == (DONE, b"")
    assert found.stdout.splitlines()[0] == b"read: blind"
    assert found.stdout.splitlines()[1].startswith((rb"text: m\xebin\n\t", "text: m\u00ebin\\n".encode()))
    refused = _process("inspect", "gr\u00f6\u00dfe.pt", **environment)
    assert refused.returncode == BAD_INPUT
    assert refused.stderr.startswith(b"cwwm: no checkpoint at gr")


def test_a_message_from_standard_input(marked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [*VERIFY, "--message-file", "-"]
    found = _process(*given, text=f"{NORMAL}\r\n".encode())
    assert (found.returncode, found.stderr) == (DONE, b"")
    for text in (b"\xff", b"x" * (1 << 18)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
        assert run_app(app, "cwwm", given) == BAD_INPUT


@pytest.mark.parametrize("arguments", [INSPECT, (*INSPECT, "--json"), ("--help",)])
def test_a_closed_pipe_changes_no_exit_code(arguments: tuple[str, ...], marked: Path) -> None:
    """The reader leaves before the first byte is written: what `| head -1` and `| grep -q` do now and then."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "cwwm.cli", *arguments]
    found = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (found.returncode, found.stderr) == (DONE, b"")


def test_a_closed_pipe_changes_no_verdict(marked: Path) -> None:
    for arguments, code in (((*VERIFY, "--message", ODD), DONE), ((*VERIFY, "--message", "another"), 1)):
        reading, writing = os.pipe()
        os.close(reading)
        command = [sys.executable, "-m", "cwwm.cli", *arguments]
        found = subprocess.run(command, stdout=writing, stderr=writing, check=False)
        os.close(writing)
        assert found.returncode == code


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain \u00fc \U0001f600", "plain \u00fc \U0001f600"),
        ("a\nb\tc\x1b[2J\x7f\x9b", r"a\nb\tc\x1b[2J\x7f\x9b"),
        ("\u202eevil\u2066\ud800\u00a0", r"\u202eevil\u2066\ud800\xa0"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown
