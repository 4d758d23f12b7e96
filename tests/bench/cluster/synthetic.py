"""Real cells that next to nothing is done for: a scheme that refuses every host, on an untrained network."""

from pathlib import Path

from bench.cli.options import chosen_suite
from bench.suite.cell import Cell
from bench.suite.expand import cells

PLUGIN = """
import os, time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.attacks.base import Attack, Attacked, Cost
from cwwm.schemes import Scheme
from cwwm.support.errors import BadInput

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Unwilling(Scheme):
    name: ClassVar[str] = "unwilling"
    one_shot: ClassVar[bool] = True

    def begin(self, model, message, key, context):
        raise BadInput("it marks nothing")

    def extract(self, suspect, key, mark):
        raise BadInput("it reads nothing")

    def evidence(self, extraction, claim):
        raise BadInput("it proves nothing")


@dataclass(frozen=True, kw_only=True)
class Halting(Attack):
    name: ClassVar[str] = "halting"
    strength: ClassVar[str] = "number of the file that says which process was the first to come here, and waits"

    def apply(self, model, strength, context):
        first = HERE / f"in hand {strength:g}"
        if not first.exists():
            part = first.with_suffix(f".{os.getpid()}")
            part.write_text(str(os.getpid()))
            part.rename(first)
            time.sleep(3600)
        return Attacked(model, strength, {"odd": 0.0}, {}, Cost())
"""
SUITE = """
description: cells that are refused at once
untrained: [initial]
models: [test_vit]
seeds: {seeds}
payloads: [64]
schemes: [{{name: unwilling}}]
attacks:
"""
NAME = "tests_synthetic"


def write(folder: Path, seeds: int, attacks: int) -> Path:
    """Write the plugin and a suite of seeds x attacks cells, a mark a seed, and return the suite's path."""
    (folder / f"{NAME}.py").write_text(PLUGIN)
    lines = [f"  - {{name: magnitude, label: a{n}, strengths: [{(n + 1) / 1000}]}}" for n in range(attacks)]
    (folder / "synthetic.yaml").write_text(SUITE.format(seeds=seeds) + "\n".join(lines) + "\n")
    return folder / "synthetic.yaml"


def cells_of(suite: Path, runtime: dict[str, object]) -> list[Cell]:
    """Return the cells of a suite of this kind; its plugin can be imported."""
    return cells(chosen_suite(str(suite), None, None, None, None, plugins=[NAME]), runtime)
