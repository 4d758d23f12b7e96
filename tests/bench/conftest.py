"""A tiny laboratory: a zoo and a suite that run in seconds, on a real network and real data."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli import app
from bench.zoo import ZOO_VARIABLE
from cwwm.console import run_app
from tests.shared_folder import made_once

ZOO = """
recipes:
  tiny:
    train: {epochs: 2, batch_size: 64, lr: 0.006, shift: 1}
    mark: {epochs: 1, batch_size: 64, lr: 0.002}
models:
  tiny: {timm: test_resnet, data: digits, size: 16, recipe: tiny}
"""

SUITE = """
description: a tiny suite for tests
models: [tiny]
seeds: 2
payloads: [64]
schemes:
  - {name: cwc, carrier: body, survive: 0.9}
  - {name: sign-repetition, carrier: body, repetition: 5}
attacks:
  - {name: magnitude, strengths: [0.5, 0.89, 0.95]}
  - {name: random, strengths: [0.02, 0.3]}
  - {name: structured, strengths: [0.3]}
  - {name: then, first: magnitude, second: bn, strengths: [0.8]}
"""

Bench = Callable[..., int]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with models.yaml and tiny.yaml."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "models.yaml").write_text(ZOO)
    (folder / "tiny.yaml").write_text(SUITE)
    return folder


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
