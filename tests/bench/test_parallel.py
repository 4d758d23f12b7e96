"""Several processes: the records of one, whichever of them made what; a lost worker or a cell costs one try."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from bench.execution.executors import Place, Processes
from bench.execution.plugins import load_plugins
from bench.models.registry import ZOO_VARIABLE
from bench.records.record import Record
from bench.records.store import RecordStore
from bench.suite import load_suite
from bench.suite.cell import Cell
from bench.suite.expand import cells
from bench.support.environment import prepare
from bench.verification.comparison import reproducible
from bench.verification.submission import inspect
from tests.processes import gone, recorded, start, until, with_models_of, workers
from tests.tiny_suite import SUITE as TINY

pytestmark = pytest.mark.programs

Bench = Callable[..., int]

PLUGIN = """
import os, sys, time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from bench.attacks.base import Attack, Attacked, AttackContext, Cost

IN_HAND = Path(__file__).with_name("in hand")  # of the process that was the first to do 7

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
        if strength == 7 and not IN_HAND.exists():
            IN_HAND.with_suffix(".part").write_text(str(os.getpid()))
            IN_HAND.with_suffix(".part").rename(IN_HAND)
            time.sleep(3600)
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
def deadly(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Return what writes a suite with one more attack for each of these, in a folder with its plugin."""
    (tmp_path / "deadly.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(ZOO_VARIABLE, str(tiny / "models.yaml"))

    def write(*strengths: int, suite: str = SUITE) -> Path:
        lines = [f"  - {{name: fatal, label: fatal-{n}, strengths: [{n}]}}" for n in strengths]
        (tmp_path / "deadly.yaml").write_text(suite + "\n".join(lines) + "\n")
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
    deadly: Callable[..., Path],
    finished: Path,
    bench: Bench,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = with_models_of(finished, tmp_path / "out")
    arguments = ("run", deadly(1, 3, 4, 5, 6), "--out", out, "--device", "cpu", "--plugin", "deadly")
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
    deadly: Callable[..., Path], finished: Path, bench: Bench, tmp_path: Path
) -> None:
    out = with_models_of(finished, tmp_path / "out")
    arguments = ("run", deadly(2), "--out", out, "--device", "cpu", "--plugin", "deadly")
    for tries in range(2):
        assert bench(*arguments, "--scheme", "cwc", "--attack", "fatal-2", "--cell-timeout", "2s") == 3
        record = by_attack(out)["cwc", "fatal-2"]
        assert record.reason == "it took longer than 2 seconds"
        assert len(record.attempts) == tries
    assert bench(*arguments, "--cell-timeout", "3s", "--budget", "9s") == 2


def some_cells(path: Path, *attacks: str) -> list[Cell]:
    """Return the cells of cwc in a suite under these attacks, in this order."""
    suite = load_suite(str(path))
    found = {c.attack.label: c for c in cells(suite, prepare(torch.device("cpu"), 1)) if c.key["scheme"] == "cwc"}
    return [found[attack] for attack in attacks]


@pytest.mark.parametrize("after", ["its end", "the next cell"])
def test_a_cell_that_ends_its_process_has_failed_where_no_time_is_left_for_a_second_try(
    deadly: Callable[..., Path], finished: Path, tmp_path: Path, after: str
) -> None:
    """The time is over after the first cell, or after the one that the next worker took; no more are begun."""
    out = with_models_of(finished, tmp_path / "out")
    load_plugins(["deadly"])
    planned = some_cells(deadly(1), "fatal-1", "harmless", "magnitude")
    begun = iter([True, after == "the next cell", False])
    place = Place(out, 1 << 30, 1, ("deadly",))
    executor = Processes(RecordStore(out), place, 1, may_begin=lambda cell: next(begun))
    told = [(record.key.attack, record.status) for record in executor.run(planned)]
    failed = [("fatal-1", "failed")]
    assert told == (failed if after == "its end" else [("harmless", "ok"), *failed])
    assert {attack: r.status for (_, attack), r in by_attack(out).items()} == dict(told)


def test_a_cell_in_hand_at_the_deadline_has_failed(
    deadly: Callable[..., Path], finished: Path, tmp_path: Path
) -> None:
    out = with_models_of(finished, tmp_path / "out")
    load_plugins(["deadly"])
    (planned,) = some_cells(deadly(2), "fatal-2")
    place = Place(out, 1 << 30, 1, ("deadly",))
    (record,) = Processes(RecordStore(out), place, 1, deadline=time.monotonic()).run([planned])
    assert (record.status, record.reason, record.fatal) == (
        "failed",
        "it took longer than the budget allowed",
        False,
    )


def begin(tiny: Path, suite: Path, out: Path, *more: str) -> BaseProcess:
    """Begin a run in a process of its own; what it prints goes to the file `said` beside its folder."""
    arguments = ("run", suite, "--out", out, "--device", "cpu", "--plugin", "deadly", *more)
    return start(tiny, out.with_name("said"), "cwwm-bench", *arguments)


def test_a_killed_worker_is_replaced(
    tiny: Path, finished: Path, deadly: Callable[..., Path], tmp_path: Path
) -> None:
    """It is killed in the middle of a cell, which waits for that once, in one of the two groups of cells."""
    out, in_hand = with_models_of(finished, tmp_path / "out"), tmp_path / "in hand"
    process = begin(tiny, deadly(7, suite=TINY), out, "--seeds", "1", "--jobs", "2")
    until(in_hand.exists)
    os.kill(int(in_hand.read_text()), signal.SIGKILL)
    process.join(300)
    said = (tmp_path / "said").read_text()
    assert process.exitcode == 0, said
    assert "10 cells run" in said
    together, alone = by_attack(out), {record.identity: record for record in RecordStore(finished).records()}
    killed = [together.pop((scheme, "fatal-7")) for scheme in ("cwc", "sign-repetition")]
    assert len(together) == 8
    assert all(reproducible(r) == reproducible(alone[r.identity]) for r in together.values())
    assert {record.status for record in killed} == {"ok"}
    (fatal,) = [attempt for record in (*killed, *together.values()) for attempt in record.attempts]
    assert fatal.fatal
    assert "SIGKILL" in fatal.reason
    assert inspect(RecordStore(out)).faults == []


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL])
def test_workers_end_with_their_parent(
    tiny: Path, finished: Path, deadly: Callable[..., Path], tmp_path: Path, number: signal.Signals
) -> None:
    """Each worker comes to a cell that takes an hour, so that both are at work when the parent is stopped."""
    out = with_models_of(finished, tmp_path / "out")
    process = begin(tiny, deadly(2), out, "--jobs", "2")
    until(lambda: recorded(out) and len(workers(process.pid)) == 2)
    own = workers(process.pid)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(300)
    assert process.exitcode not in (0, None)
    until(lambda: gone(own))
    if number == signal.SIGTERM:
        said = (tmp_path / "said").read_text()
        assert said.strip().splitlines()[-1] == "cwwm-bench: interrupted"
        assert re.search('"state": "stopped"', (out / "progress.json").read_text())
        assert not list(out.rglob("*.part"))
        assert not (out / ".lock").exists()


@pytest.mark.parametrize("more", [("--budget", "10m"), ("--budget", "10m", "--jobs", "2")])
def test_a_cell_that_ends_the_only_process_is_run_apart_by_the_next_run(
    tiny: Path, finished: Path, deadly: Callable[..., Path], tmp_path: Path, more: tuple[str, ...]
) -> None:
    """The first run dies of it; the next one runs it apart, twice, gives it up, and runs the rest."""
    out = with_models_of(finished, tmp_path / "out")
    first = begin(tiny, deadly(1), out, "--scheme", "cwc")
    first.join(300)
    assert first.exitcode == 7
    second = begin(tiny, tmp_path / "deadly.yaml", out, "--scheme", "cwc", *more)
    second.join(300)
    assert second.exitcode == 3, (tmp_path / "said").read_text()
    records = by_attack(out)
    assert {attack: r.status for (_, attack), r in records.items()} == {
        "magnitude": "ok",
        "harmless": "ok",
        "fatal-1": "failed",
    }
    assert [attempt.fatal for attempt in records["cwc", "fatal-1"].attempts] == [True]
    assert "1 cells run, 2 taken" in (tmp_path / "said").read_text()
    assert json.loads((out / "cut.json").read_text()) == {"cells": []}
