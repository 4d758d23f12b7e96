"""Several processes: the records of one, whichever of them made what; a lost worker or a cell costs one try."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.models.registry import ZOO_VARIABLE
from bench.records.record import Record
from bench.records.store import RecordStore
from bench.verification.comparison import reproducible
from bench.verification.submission import inspect
from tests.processes import gone, recorded, until, workers

Bench = Callable[..., int]

PLUGIN = """
import os, sys, time
from dataclasses import dataclass
from typing import ClassVar
from bench.attacks.base import Attack, Attacked, AttackContext, Cost

@dataclass(frozen=True, kw_only=True)
class Fatal(Attack):
    name: ClassVar[str] = "fatal"
    strength: ClassVar[str] = "what to do"

    def apply(self, model, strength, context):
        if strength == 1:
            os._exit(7)
        if strength == 2:
            time.sleep(3600)
        if strength == 3:
            sys.exit(0)
        if strength == 4:
            raise MemoryError
        nan = float("nan") if strength == 5 else 0.0
        return Attacked(model, strength, {"odd": nan, "sparsity": 2.0 if strength == 6 else 0.0}, {}, Cost())

"""

SUITE = """
description: cells that end their process
models: [tiny]
seeds: 1
payloads: [64]
schemes: [{name: cwc, carrier: body, survive: 0.9}, {name: sign-repetition, carrier: body, repetition: 5}]
attacks:
  - {name: magnitude, strengths: [0.5]}
  - {name: fatal, label: harmless, strengths: [0]}
"""


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Return what writes a suite with one more attack of these strengths, in a folder with its plugin."""
    (tmp_path / "deadly.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(*strengths: int) -> Path:
        lines = [f"  - {{name: fatal, label: fatal-{n}, strengths: [{n}]}}" for n in strengths]
        (tmp_path / "deadly.yaml").write_text(SUITE + "\n".join(lines) + "\n")
        return tmp_path / "deadly.yaml"

    yield write
    from bench.attacks import ATTACKS

    ATTACKS.pop("fatal", None)
    sys.modules.pop("deadly", None)


def by_attack(folder: Path) -> dict[tuple[str, str], Record]:
    return {(r.key.scheme, r.key.attack): r for r in RecordStore(folder).records()}


def test_several_processes_record_what_one_does(
    tiny: Path, finished: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert bench("run", tiny / "tiny.yaml", "--out", out, "--device", "cpu", "--jobs", 2) == 0
    assert "[16/16" in capsys.readouterr().err
    alone, together = (list(RecordStore(folder).records()) for folder in (finished, out))
    assert [reproducible(r) for r in together] == [reproducible(r) for r in alone]
    assert bench("run", tiny / "tiny.yaml", "--out", out, "--device", "cpu", "--jobs", 9) == 0
    assert "0 cells run, 16 taken" in capsys.readouterr().err


def test_a_cell_that_ends_its_process_fails_for_good_and_the_rest_goes_on(
    deadly: Callable[..., Path], bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("run", deadly(1, 3, 4, 5, 6), "--out", tmp_path / "out", "--device", "cpu", "--plugin", "deadly")
    assert bench(*arguments, "--jobs", 2, "--scheme", "cwc") == 3
    records = by_attack(tmp_path / "out")
    found = {attack: (r.status, r.fatal, len(r.attempts)) for (_, attack), r in records.items()}
    assert found == {
        "magnitude": ("ok", False, 0),
        "harmless": ("ok", False, 0),
        "fatal-1": ("failed", True, 1),
        "fatal-3": ("failed", False, 0),
        "fatal-4": ("out-of-memory", False, 0),
        "fatal-5": ("failed", False, 0),
        "fatal-6": ("failed", False, 0),
    }
    unheard_of = records["cwc", "fatal-6"].reason
    assert unheard_of == "no record can hold its results: rows[0].achieved.sparsity: 2.0 is more than 1"
    assert "exit code 7" in str(records["cwc", "fatal-1"].reason)
    assert inspect(RecordStore(tmp_path / "out")).faults == []
    capsys.readouterr()
    assert bench(*arguments, "--scheme", "cwc", "--attack", "fatal-1") == 3, (
        "in this process it would end the tests"
    )
    assert "0 cells run, 1 taken" in capsys.readouterr().err


def test_a_cell_that_takes_too_long_fails_and_is_tried_again_by_the_next_run(
    deadly: Callable[..., Path], bench: Bench, tmp_path: Path
) -> None:
    arguments = ("run", deadly(2), "--out", tmp_path / "out", "--device", "cpu", "--plugin", "deadly")
    assert bench(*arguments, "--scheme", "cwc", "--attack", "[!f]*") == 0  # makes the models
    for tries in range(2):
        assert bench(*arguments, "--scheme", "cwc", "--cell-timeout", "8s") == 3
        record = by_attack(tmp_path / "out")["cwc", "fatal-2"]
        assert record.reason == "it took longer than 8 seconds"
        assert len(record.attempts) == tries
    assert bench(*arguments, "--cell-timeout", "3s", "--budget", "9s") == 2


def command(suite: Path, out: Path, *more: str) -> list[str]:
    line = [sys.executable, "-c", "from bench.cli.app import main; main()", "run", str(suite), "--out", str(out)]
    return [*line, "--device", "cpu", *more]


def start(tiny: Path, suite: Path, out: Path, *more: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, ZOO_VARIABLE: str(tiny / "models.yaml"), "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command(suite, out, *more), stderr=subprocess.PIPE, env=environment, text=True)


def test_a_killed_worker_is_replaced(tiny: Path, finished: Path, tmp_path: Path) -> None:
    process = start(tiny, tiny / "tiny.yaml", tmp_path, "--jobs", "2")
    until(lambda: recorded(tmp_path))
    os.kill(workers(process.pid)[-1], signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "16 cells run" in said
    alone, together = (list(RecordStore(folder).records()) for folder in (finished, tmp_path))
    assert [reproducible(r) for r in together] == [reproducible(r) for r in alone]
    fatal = [attempt for record in together for attempt in record.attempts]
    assert all(a.fatal and "SIGKILL" in a.reason for a in fatal)
    assert len(fatal) <= 1
    assert inspect(RecordStore(tmp_path)).faults == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent(tiny: Path, tmp_path: Path, number: signal.Signals) -> None:
    process = start(tiny, tiny / "tiny.yaml", tmp_path, "--jobs", "2")
    until(lambda: recorded(tmp_path))
    own = workers(process.pid)
    assert own
    process.send_signal(number)
    assert process.wait(30) != 0
    until(lambda: gone(own), 20)
    if number == signal.SIGTERM:
        assert process.stderr is not None
        assert process.stderr.read().strip().splitlines()[-1] == "cwwm-bench: interrupted"
        assert re.search('"state": "stopped"', (tmp_path / "progress.json").read_text())
        assert not list(tmp_path.rglob("*.part"))
        assert not (tmp_path / ".lock").exists()


def test_a_cell_that_ends_the_only_process_is_run_apart_by_the_next_run(
    tiny: Path, deadly: Callable[..., Path], tmp_path: Path
) -> None:
    """The first run dies of it; the next one runs it apart, twice, gives it up, and runs the rest."""
    more = ("--plugin", "deadly", "--scheme", "cwc")
    first = start(tiny, deadly(1), tmp_path / "out", *more)
    first.communicate(timeout=300)
    assert first.returncode == 7
    second = start(tiny, tmp_path / "deadly.yaml", tmp_path / "out", *more)
    _, said = second.communicate(timeout=300)
    assert second.returncode == 3, said
    records = by_attack(tmp_path / "out")
    assert {attack: r.status for (_, attack), r in records.items()} == {
        "magnitude": "ok",
        "harmless": "ok",
        "fatal-1": "failed",
    }
    assert [attempt.fatal for attempt in records["cwc", "fatal-1"].attempts] == [True]
