"""One writer a folder, who is named; a folder that goes away or fills up ends in one line, never with 0."""

import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.records.store import RecordStore
from bench.support.output_lock import LOCK, writing
from cwwm.support.errors import BadInput, EnvironmentFault
from tests.processes import recorded, start, until

pytestmark = pytest.mark.programs

Bench = Callable[..., int]


def hold(folder: Path, ready: "multiprocessing.synchronize.Event") -> None:
    with writing(folder, "cwwm-bench run"):
        ready.set()
        signal.pause()


def test_a_second_writer_is_told_who_is_at_work(
    finished: Path, tiny: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "out")
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=hold, args=(tmp_path / "out", ready))
    holder.start()
    try:
        assert ready.wait(120)
        for arguments in (
            ("run", tiny / "tiny.yaml", "--out", tmp_path / "out", "--device", "cpu"),
            ("leaderboard", tmp_path / "out"),
            ("archive", tmp_path / "out", "--reason", "old"),
        ):
            assert bench(*arguments) == 2
            (line,) = capsys.readouterr().err.strip().splitlines()
            assert f"is in use by cwwm-bench run (process {holder.pid} on " in line
        assert bench("status", tmp_path / "out") == 0, "who only reads need not wait"
    finally:
        holder.kill()
        holder.join()
    (tmp_path / "out" / "cells" / ".x.json.0123.part").write_text("half")
    assert (tmp_path / "out" / LOCK).exists(), "a killed holder leaves its file"
    assert bench("leaderboard", tmp_path / "out") == 0
    assert not list((tmp_path / "out").rglob("*.part"))
    assert not (tmp_path / "out" / LOCK).exists()


@pytest.mark.parametrize("command", ["leaderboard", "pack", "archive", "run"])
def test_every_command_that_writes_sweeps(
    finished: Path, tiny: Path, bench: Bench, tmp_path: Path, command: str
) -> None:
    out, to = tmp_path / "out", tmp_path / "to"
    shutil.copytree(finished, out)
    to.mkdir()
    target = to if command == "pack" else out
    (target / ".leaderboard.md.0123.part").write_text("half")
    arguments = {
        "leaderboard": (out,),
        "pack": (out, "--to", to),
        "archive": (out, "--reason", "old"),
        "run": (tiny / "tiny.yaml", "--out", out, "--device", "cpu"),
    }[command]
    assert bench(command, *arguments) == 0
    assert not list(target.rglob("*.part"))


def test_a_lock_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK).symlink_to(tmp_path / "mine")
    with pytest.raises(EnvironmentFault), writing(tmp_path / "out", "x"):
        pass
    (tmp_path / "out" / LOCK).unlink()
    os.mkfifo(tmp_path / "out" / LOCK)
    with pytest.raises(BadInput, match="no plain file"), writing(tmp_path / "out", "x"):
        pass
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_sweep_stays_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".a.part").write_text("")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cells").symlink_to(tmp_path / "elsewhere")
    with writing(tmp_path / "out", "x"):
        pass
    assert (tmp_path / "elsewhere" / ".a.part").exists()


@pytest.mark.parametrize("replaced", [False, True])
def test_records_go_only_into_the_folder_of_their_run(finished: Path, tmp_path: Path, replaced: bool) -> None:
    record_store, record = RecordStore(tmp_path / "out"), next(iter(RecordStore(finished).records()))
    record_store.folder.mkdir()
    record_store.plan("tiny", [record.identity])
    record_store.write(record)
    record_store.folder.rename(tmp_path / "moved")
    if replaced:
        record_store.folder.mkdir()
    with pytest.raises(EnvironmentFault, match="was removed or replaced"):
        record_store.write(record)
    assert record_store.folder.exists() == replaced


def full_disk() -> None:
    """Let no file grow beyond 3,000 bytes: a write then fails as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))


@pytest.mark.parametrize("what", ["leaderboard", "pack", "run"])
def test_a_full_disk_is_one_line_and_not_0(tiny: Path, finished: Path, tmp_path: Path, what: str) -> None:
    shutil.copytree(finished, tmp_path / "out", ignore=shutil.ignore_patterns("artefacts"))
    for path in sorted((tmp_path / "out" / "cells").iterdir())[1:] if what == "run" else []:
        path.unlink()
    before = (tmp_path / "out" / "leaderboard.md").read_bytes()
    arguments = {
        "leaderboard": ("leaderboard", str(tmp_path / "out")),
        "pack": ("pack", str(tmp_path / "out"), "--to", str(tmp_path / "to")),
        "run": ("run", str(tiny / "tiny.yaml"), "--out", str(tmp_path / "out"), "--device", "cpu", "--seeds", "1"),
    }[what]
    process = start(tiny, tmp_path / "said", "cwwm-bench", *arguments, first=full_disk)
    process.join(300)
    said = (tmp_path / "said").read_text()
    assert process.exitcode not in (0, None)
    lines = [line for line in said.strip().splitlines() if line.startswith("cwwm-bench: ")]
    assert len(lines) == 1, said
    assert "File too large" in lines[0]
    assert "Traceback" not in said
    assert (tmp_path / "out" / "leaderboard.md").read_bytes() == before
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_removed_while_a_run_goes_on_is_one_line_and_not_0(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(
        tiny, tmp_path / "said", "cwwm-bench", "run", tiny / "tiny.yaml", "--out", out, "--device", "cpu"
    )
    until(lambda: recorded(out) or not process.is_alive())
    out.rename(tmp_path / "moved")
    process.join(300)
    said = (tmp_path / "said").read_text()
    assert process.exitcode not in (0, None)
    assert said.strip().splitlines()[-1].startswith("cwwm-bench: ")
    assert re.search("was removed or replaced|choose another output folder", said), (
        said
    )  # by where it was just then
    assert "Traceback" not in said
    assert not (tmp_path / "out" / "run.json").exists()
    assert len(json.loads((tmp_path / "moved" / "run.json").read_text())["cells"]) == 16
