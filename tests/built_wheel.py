"""The wheel, built from this checkout's sdist and installed once for all tests that try it elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.shared_folder import made_once

ROOT = Path(__file__).resolve().parent.parent


def built_wheel(factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built from the sdist of the tracked files, so that no leftover of this checkout helps."""
    (built,) = made_once(factory, "wheel", _build).glob("cwwm-*.whl")
    return built


def installed_wheel(factory: pytest.TempPathFactory) -> Path:
    """Return a folder that pip installed the wheel into, and nothing that it needs; commands are in its `bin`."""
    wheel = str(built_wheel(factory))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", wheel, "--target"]
    return made_once(factory, "site", lambda site: _run([*install, str(site)]))


def _build(out: Path) -> None:
    source = out / "source"
    for name in _run(["git", "ls-files", "-z"]).decode().split("\0"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)])


def _run(command: list[str]) -> bytes:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
