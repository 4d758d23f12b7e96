"""What the commands that are killed work on: a tiny zoo, an undisturbed run of it, a model and a key."""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bench.leaderboard import TIMING_COLUMNS
from bench.records.store import RecordStore
from bench.verification.comparison import reproducible
from cwwm.ownership.keys import Key
from tests.processes import start
from tests.tiny_suite import write_tiny

MESSAGE = "it is mine"

Tables = tuple[list[dict[str, str]], str]


@dataclass(frozen=True)
class Stage:
    """Files that all victims read, and what an undisturbed run made.

    Attributes:
        zoo: folder of models.yaml and tiny.yaml. finished: output folder of an undisturbed run.
        model: to be marked. shards: the same model in two files. key: its owner's.
    """

    zoo: Path
    finished: Path
    model: Path
    shards: Path
    key: Path

    @cached_property
    def reproducible(self) -> dict[str, dict[str, Any]]:
        """Return what every run must record, by identity."""
        return {record.identity: reproducible(record) for record in RecordStore(self.finished).records()}

    @cached_property
    def tables(self) -> Tables:
        """Return the tables that every run must end with."""
        return tables(self.finished)


def set_stage(folder: Path, finished: Path | None = None) -> Stage:
    """Make a stage in an empty folder; `finished` is a run of the tiny suite, if there is one already."""
    zoo = write_tiny(folder)
    torch.manual_seed(0)
    state = {f"layer{i}.weight": 0.05 * torch.randn(256, 512) for i in range(4)}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    (folder / "shards").mkdir()
    for number, names in enumerate((list(state)[:2], list(state)[2:]), 1):
        save_file({name: state[name] for name in names}, folder / f"shards/model-{number:05}-of-00002.safetensors")
    Key(bytes(range(32))).save(folder / "stage.key")
    if finished is None:
        finished = folder / "finished"
        arguments = ("run", zoo / "tiny.yaml", "--out", finished, "--device", "cpu")
        run = start(zoo, folder / "said", "cwwm-bench", *arguments)
        run.join()
        assert run.exitcode == 0, (folder / "said").read_text()
    return Stage(zoo, finished, folder / "model.safetensors", folder / "shards", folder / "stage.key")


def tables(folder: Path) -> Tables:
    """Return the tables of a folder without timings."""
    with (folder / "leaderboard.csv").open() as file:
        rows = [{k: v for k, v in row.items() if k not in TIMING_COLUMNS} for row in csv.DictReader(file)]
    return rows, (folder / "leaderboard.md").read_text().split("## Speed")[0]
