"""A tiny laboratory: a zoo and a suite that run in seconds, on a real network and real data."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.app import app
from bench.models.registry import ZOO_VARIABLE
from cwwm.support.console import run_app
from tests.shared_folder import made_once
from tests.tiny_suite import write_tiny

Bench = Callable[..., int]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with models.yaml and tiny.yaml."""
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def bench(tiny: Path) -> Bench:
    """Return the command line, run in this process with the tiny zoo."""

    def call(*arguments: object) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(ZOO_VARIABLE, str(tiny / "models.yaml"))
            return run_app(app, "cwwm-bench", [str(argument) for argument in arguments])

    return call


@pytest.fixture(scope="session")
def finished(tiny: Path, bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output folder of an undisturbed run of the tiny suite; tests only read it."""

    def make(out: Path) -> None:
        assert bench("run", tiny / "tiny.yaml", "--out", out, "--device", "cpu") == 0

    return made_once(tmp_path_factory, "finished", make)
