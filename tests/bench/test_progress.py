"""Progress: the file that other shells read, the picture of it, and the live table on a real terminal."""

import io
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from rich.console import Console

from bench.execution.progress import (
    ENDED,
    RUNNING,
    STOPPED,
    Progress,
    RunProgress,
    progress_path,
    progress_view,
    read_progress,
)
from bench.records.record import changed
from bench.records.store import RecordStore
from bench.suite.cell import Cell
from cwwm.support.errors import BadInput
from cwwm.support.files import write_json
from tests.processes import start

pytestmark = pytest.mark.programs

Bench = Callable[..., int]


def picture(progress: Progress) -> str:
    console = Console(width=160, file=io.StringIO(), highlight=False)
    console.print(progress_view(progress))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_another_shell_sees_a_run_while_it_goes_on(finished: Path, tmp_path: Path) -> None:
    """Everything a reader asks: cells done of the plan, rate, time left, the last results, the failures."""
    records = list(RecordStore(finished).records())
    broken = changed(records[2], status="failed", reason="the power went")
    with RunProgress(tmp_path, "tiny", total=16, taken=4) as run:
        for record in (*records[:2], broken):
            run.finished(record)
        seen = read_progress(tmp_path)
        assert seen is not None
        assert (seen.state, seen.total, seen.taken, seen.done, seen.failed) == (RUNNING, 16, 4, 3, 1)
        text = picture(replace(seen, seconds=60.0))
        assert "7/16 cells" in text
        assert "3 a minute, 1:00 gone, 3:00 left" in text
        assert "1 failed" in text
        assert "the power went" in text
        assert "message recovered at" in text
    ended = read_progress(tmp_path)
    assert ended is not None
    assert ended.state == ENDED


def test_a_run_that_raises_or_is_killed_counts_as_stopped(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), RunProgress(tmp_path / "raised", "tiny", total=1, taken=0):
        raise RuntimeError("out of paper")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with RunProgress(tmp_path / "killed", "tiny", total=1, taken=0) as run:
        run.progress.pid = dead.pid
    run.progress.state = RUNNING
    write_json(progress_path(tmp_path / "killed"), vars(run.progress))
    for folder in ("raised", "killed"):
        seen = read_progress(tmp_path / folder)
        assert seen is not None
        assert seen.state == STOPPED


def test_no_run_no_progress_and_a_strange_file_is_refused(tmp_path: Path) -> None:
    assert read_progress(tmp_path) is None
    write_json(progress_path(tmp_path), {"cells": 3})
    with pytest.raises(BadInput, match=r"progress\.json"):
        read_progress(tmp_path)


def test_status_shows_how_far_a_finished_run_came(
    finished: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("status", finished) == 0
    text = capsys.readouterr().out
    assert "16/16 cells" in text
    assert "ended" in text


def test_text_from_records_is_shown_as_it_is() -> None:
    assert "[red]not markup[/red]" in picture(Progress("tiny", 1, last=["[red]not markup[/red]"]))


def test_a_terminal_gets_a_live_table(tiny: Path, finished: Path, tmp_path: Path) -> None:
    """One cell is run again, on models that are stored."""
    shutil.copytree(finished, tmp_path / "out")
    next((tmp_path / "out/cells").iterdir()).unlink()
    controller, terminal = pty.openpty()
    arguments = ("run", tiny / "tiny.yaml", "--out", tmp_path / "out", "--device", "cpu")
    process = start(tiny, Path(os.ttyname(terminal)), "cwwm-bench", *arguments, first=on_a_wide_terminal)
    shown = read_all(controller, process)
    os.close(terminal)
    assert process.exitcode == 0
    assert "15/16 cells" in shown
    assert "16/16 cells" in shown
    assert "\x1b[" in shown, "a live table moves the cursor"


def on_a_wide_terminal() -> None:
    os.environ.update(TERM="xterm", COLUMNS="160")


def read_all(terminal: int, process: BaseProcess) -> str:
    """Return what a process writes to a terminal until it ends."""
    parts = []
    while process.is_alive() or connection.wait([terminal], 0):
        if terminal in connection.wait([terminal, process.sentinel]):
            parts.append(os.read(terminal, 65536))
    os.close(terminal)
    return b"".join(parts).decode()


def test_the_cell_in_hand_is_named(tmp_path: Path, tiny_cell: Cell) -> None:
    with RunProgress(tmp_path, "smoke", total=1, taken=0) as run:
        run.started(tiny_cell)
        run.say("marking")
        seen = read_progress(tmp_path)
        assert seen is not None
        assert seen.doing == "test_resnet-40 #0 protected-cwc 256 bits: magnitude: marking"


@pytest.fixture(scope="module")
def tiny_cell() -> Cell:
    from bench.suite import load_suite
    from bench.suite.expand import cells

    return cells(load_suite("smoke"), {})[0]
