"""Commands killed with SIGKILL at random moments: nothing half-written, and started again they end the same."""

import csv
import multiprocessing
import os
import random
import shutil
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from bench.journal import Journal, is_given_up
from bench.leaderboard import TIMING_COLUMNS
from bench.submission import inspect

KILLS = 10
#: what may be wrong with the folder of a run that was killed, and nothing else
INCOMPLETE = [[f"{number} cells of the run have no record; run the suite to its end"] for number in range(1, 17)]


def call(folder: Path, *arguments: str) -> None:
    """Run a command line on the tiny zoo; the process that does this is killed."""
    from bench.cli import app
    from bench.zoo import ZOO_VARIABLE
    from cwwm.console import run_app

    os.environ[ZOO_VARIABLE] = str(folder / "models.yaml")
    raise SystemExit(run_app(app, "cwwm-bench", arguments))


def start(tiny: Path, *arguments: object) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.cli", "bench.check", "bench.engines", "timm", "sklearn.datasets"])
    process = context.Process(target=call, args=(tiny, *map(str, arguments)))
    process.start()
    return process


def run(tiny: Path, out: Path, *more: object) -> BaseProcess:
    return start(tiny, "run", tiny / "tiny.yaml", "--out", out, "--device", "cpu", *more)


def cells(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / "cells").glob("*.json")}


def tables(folder: Path) -> tuple[list[dict[str, str]], str]:
    """Return the tables of a folder without timings."""
    with (folder / "leaderboard.csv").open() as file:
        rows = [{k: v for k, v in row.items() if k not in TIMING_COLUMNS} for row in csv.DictReader(file)]
    return rows, (folder / "leaderboard.md").read_text().split("## Speed")[0]


def workers(pid: int | None) -> list[int]:
    """Return the worker processes of a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            line = (path.parent / "cmdline").read_text()
        except OSError:
            continue
        if parent == pid and "spawn_main" in line:
            found.append(int(path.parent.name))
    return sorted(found)


def ended(process: BaseProcess) -> bool:
    process.join()
    return process.exitcode == 0


def empty(out: Path) -> None:
    for path in [*(out / "cells").iterdir(), *(out / "artefacts").iterdir()]:
        path.unlink()


def test_ten_sigkills_of_a_run_change_nothing(tiny: Path, finished: Path, tmp_path: Path) -> None:
    moments = random.Random(20260722)
    done: dict[str, int] = {}
    kills = 0
    while kills < KILLS:
        process = run(tiny, tmp_path)
        process.join(moments.uniform(0.2, 4.0))
        if not process.is_alive():  # it finished before the moment came: begin once more with an empty folder
            assert process.exitcode == 0
            empty(tmp_path)
            done = {}
            continue
        process.kill()
        process.join()
        kills += 1
        now = cells(tmp_path)
        assert done.items() <= now.items(), "a recorded cell was run again or lost"
        done = now
    assert ended(run(tiny, tmp_path))
    assert done.items() <= cells(tmp_path).items()
    assert tables(tmp_path) == tables(finished)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.slow
def test_sigkills_of_parent_and_workers_change_nothing(tiny: Path, finished: Path, tmp_path: Path) -> None:
    """Half of them hit one of the workers; a cell that was hit twice would have failed for good, so they roam."""
    moments = random.Random(20260723)
    kills = {"parent": 0, "worker": 0}
    while min(kills.values()) < KILLS:
        process = run(tiny, tmp_path, "--jobs", 2)
        for victim in ("worker", "parent"):
            process.join(moments.uniform(2.0, 12.0))
            if not process.is_alive():
                break
            targets = workers(process.pid) if victim == "worker" else [process.pid]
            if known := [pid for pid in targets if pid]:
                os.kill(moments.choice(known), signal.SIGKILL)
                kills[victim] += 1
        process.join()
        if process.exitcode == 0:
            assert tables(tmp_path) == tables(finished)
            empty(tmp_path)
        assert inspect(Journal(tmp_path)).faults in ([], *INCOMPLETE)
        for path in _given_up(tmp_path):
            path.unlink()
    assert ended(run(tiny, tmp_path, "--jobs", 2))
    assert tables(tmp_path) == tables(finished)
    assert not list(tmp_path.rglob("*.part"))


def _given_up(out: Path) -> list[Path]:
    return [out / "cells" / f"{r['identity']}.json" for r in Journal(out).records() if is_given_up(r)]


@pytest.mark.parametrize("command", ["pack", "leaderboard"])
def test_sigkills_of_what_writes_tables_leave_old_or_new(
    tiny: Path, finished: Path, tmp_path: Path, command: str
) -> None:
    out, to = tmp_path / "out", tmp_path / "to"
    shutil.copytree(finished, out, ignore=shutil.ignore_patterns("artefacts"))
    arguments = ("pack", out, "--to", to) if command == "pack" else ("leaderboard", out, "--html")
    target = to if command == "pack" else out
    assert ended(start(tiny, *arguments))
    whole = {path.name: path.read_bytes() for path in target.iterdir() if path.is_file()}
    moments, kills = random.Random(20260724), 0
    while kills < KILLS:
        for name in ("leaderboard.md", "leaderboard.csv"):
            if moments.random() < 0.5:
                (target / name).unlink(missing_ok=True)
        process = start(tiny, *arguments)
        process.join(moments.uniform(0.05, 1.5))
        kills += process.is_alive()
        process.kill()
        process.join()
        for path in target.iterdir():
            if path.is_file() and path.name in whole:
                assert path.read_bytes() == whole[path.name], f"{path.name} is half-written"
    assert ended(start(tiny, *arguments))
    assert {path.name: path.read_bytes() for path in target.iterdir() if path.is_file()} == whole
