"""A run killed with SIGKILL at random moments goes on, repeats at most the cell in hand, and ends the same."""

import csv
import multiprocessing
import random
from multiprocessing.process import BaseProcess
from pathlib import Path

from bench.leaderboard import TIMING_COLUMNS

KILLS = 10


def run_tiny(folder: Path, out: Path) -> None:
    """Run the tiny suite; the process that does this is killed."""
    import os

    from bench.cli import app
    from bench.zoo import ZOO_VARIABLE
    from cwwm.console import run_app

    os.environ[ZOO_VARIABLE] = str(folder / "models.yaml")
    raise SystemExit(
        run_app(app, "cwwm-bench", ["run", str(folder / "tiny.yaml"), "--out", str(out), "--device", "cpu"])
    )


def start(tiny: Path, out: Path) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.cli", "bench.check", "bench.engines", "timm", "sklearn.datasets"])
    process = context.Process(target=run_tiny, args=(tiny, out))
    process.start()
    return process


def cells(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / "cells").glob("*.json")}


def without_timings(folder: Path) -> tuple[list[dict[str, str]], str]:
    with (folder / "leaderboard.csv").open() as file:
        rows = [{k: v for k, v in row.items() if k not in TIMING_COLUMNS} for row in csv.DictReader(file)]
    return rows, (folder / "leaderboard.md").read_text().split("## Speed")[0]


def test_ten_sigkills_change_nothing(tiny: Path, finished: Path, tmp_path: Path) -> None:
    moments = random.Random(20260722)
    done: dict[str, int] = {}
    kills = 0
    while kills < KILLS:
        process = start(tiny, tmp_path)
        process.join(moments.uniform(0.2, 4.0))
        if not process.is_alive():  # it finished before the moment came: begin once more with an empty folder
            assert process.exitcode == 0
            for path in [*(tmp_path / "cells").iterdir(), *(tmp_path / "artefacts").iterdir()]:
                path.unlink()
            done = {}
            continue
        process.kill()
        process.join()
        kills += 1
        now = cells(tmp_path)
        assert done.items() <= now.items(), "a recorded cell was run again or lost"
        done = now
    process = start(tiny, tmp_path)
    process.join()
    assert process.exitcode == 0
    assert done.items() <= cells(tmp_path).items()
    assert without_timings(tmp_path) == without_timings(finished)
    assert not list(tmp_path.rglob("*.part"))
