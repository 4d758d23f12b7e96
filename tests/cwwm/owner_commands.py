"""What tests of the owner's command line share: how it is run, and what every refusal keeps to."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cwwm.cli.app import app
from cwwm.support.console import BAD_INPUT, DONE, run_app

TEXT = "it is mine"
ORIGINAL = ("--original", "model.safetensors")
MAGNITUDES = ("--scheme", "protected-cwc")
EMBED = ("embed", "model.safetensors", "--key", "owner.key", "--message", TEXT, "-o", "marked.safetensors")
EXTRACT = ("extract", "marked.safetensors", "--key", "owner.key")
VERIFY = ("verify", "marked.safetensors", "--key", "owner.key", "--mark", "marked.mark.json")
COMMITTED = (*VERIFY, "--commitment", "marked.commitment.json")
CLAIM = (*COMMITTED, "--message", TEXT)

#: what spoils the folder, the command, and what its one line names
Case = tuple[Callable[[], object], tuple[str, ...], str]


def run(*arguments: str) -> int:
    return run_app(app, "cwwm", list(arguments))


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = DONE) -> str:
    """Run a command that has nothing to complain of, and return what it prints."""
    capsys.readouterr()
    assert run(*arguments) == code
    out, err = capsys.readouterr()
    assert err == ""
    return out


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = DONE) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(said(capsys, *arguments, "--json", code=code))
    return value


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(folder: Path, capsys: pytest.CaptureFixture[str], case: Case) -> None:
    """Check exit code 2, one line that names what is wrong, and files as they were."""
    spoil, arguments, named = case
    spoil()
    before = files(folder)
    capsys.readouterr()
    code = run(*arguments)
    out, err = capsys.readouterr()
    assert (code, out) == (BAD_INPUT, ""), err
    assert named in err
    assert err.startswith("cwwm: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert files(folder) == before
    assert not (folder / "ran").exists()
