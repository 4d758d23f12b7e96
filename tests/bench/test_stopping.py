"""Tiers that stop: a run that a lower tier decided goes no further, in any number of processes, and is checked."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.attacks import make_attack
from bench.models.registry import ZOO_VARIABLE
from bench.records.record import Record, changed
from bench.records.schema import NOT_NEEDED, Json
from bench.records.store import RecordStore
from bench.suite import load_suite
from bench.suite.expand import cells
from bench.suite.stopping import Stopping, decisions
from bench.support.environment import prepare
from bench.verification.comparison import reproducible
from tests.bench.invented import record as invented
from tests.bench.invented import typed

pytestmark = pytest.mark.programs

Bench = Callable[..., int]

SUITE = """
models: [tiny]
payloads: [64]
seeds: 2
stop: true
schemes:
  - {name: dm-qim, carrier: body}
  - {name: sign-repetition, carrier: body, repetition: 5}
attacks:
  - {name: finetune, label: finetune, epochs: 1, strengths: [0.1]}
  - {name: then, label: noise + bn, first: {name: noise}, second: {name: bn}, strengths: [0.1]}
  - {name: permute, strengths: [1]}
  - {name: noise, strengths: [0.005, 0.1]}
"""
IN_TIERS = ["permute", "noise", "noise + bn", "finetune"]


@pytest.fixture
def zoo(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process read the tiny zoo."""
    monkeypatch.setenv(ZOO_VARIABLE, str(tiny / "models.yaml"))


@pytest.fixture(scope="module")
def folder(tiny: Path, bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the suite and a finished run of it in ``out``; tests only read it."""
    folder = tmp_path_factory.mktemp("stops")
    (folder / "stops.yaml").write_text(SUITE)
    assert bench("run", folder / "stops.yaml", "--out", folder / "out", "--device", "cpu") == 0
    return folder


def by_scheme(out: Path) -> dict[str, dict[str, list[Record]]]:
    found: dict[str, dict[str, list[Record]]] = {}
    for record in RecordStore(out).records():
        found.setdefault(record.key.scheme, {}).setdefault(record.key.attack, []).append(record)
    return found


def recorded(out: Path) -> list[Json]:
    return [reproducible(record) for record in RecordStore(out).records()]


def test_only_what_a_lower_tier_has_not_decided_is_run(folder: Path) -> None:
    found = by_scheme(folder / "out")
    fragile, sturdy = found["dm-qim"], found["sign-repetition"]
    assert {record.status for records in sturdy.values() for record in records} == {"ok"}
    assert [fragile[attack][0].status for attack in IN_TIERS] == ["ok", "ok", NOT_NEEDED, NOT_NEEDED]
    for record in (*fragile["noise + bn"], *fragile["finetune"]):
        assert record.reason == "attack 'noise' at 0.1, of tier 1, removed the message for no accuracy"
    for runs in found.values():  # blind marks fall to it, which decides nothing
        assert not any(row.recovered for record in runs["permute"] for row in record.rows or ())


def test_tables_show_what_was_not_needed(folder: Path) -> None:
    text = (folder / "out" / "leaderboard.md").read_text()
    assert "16 cells: 4 not-needed, 12 ok." in text
    assert "removed the message for no accuracy" in text
    assert "figures of single attacks are of the runs that still stood" in text


@pytest.mark.usefixtures("zoo")
def test_each_way_to_read_a_mark_is_a_run_of_its_own(folder: Path, tmp_path: Path) -> None:
    """A free move removes what is read blind, and not what is aligned; neither record decides the other's run."""
    schemes = "{name: dm-qim, carrier: body}\n  - {name: dm-qim, label: aligned, reader: aligned, carrier: body}"
    (tmp_path / "both.yaml").write_text(SUITE.replace("{name: dm-qim, carrier: body}", schemes))
    both = cells(load_suite(str(tmp_path / "both.yaml")), prepare(torch.device("cpu"), 1))
    stopping = Stopping.of(both, RecordStore(folder / "out"))
    decided = {cell.mark.scheme.label for cell in both if stopping.reason(cell)}
    assert decided == {"dm-qim"}, "the records here are of a blind reading"


@pytest.mark.usefixtures("zoo")
def test_a_lower_tier_decides_in_whatever_order_cells_are_run(folder: Path) -> None:
    """A run inside a budget takes the most important cells first."""
    listed = cells(load_suite(str(folder / "stops.yaml")), prepare(torch.device("cpu"), 1))
    store = RecordStore(folder / "out")
    ordered, turned = Stopping.of(listed, store), Stopping.of(listed[::-1], store)
    reasons = [ordered.reason(cell) for cell in listed]
    assert any(reasons)
    assert [turned.reason(cell) for cell in listed] == reasons


def test_several_processes_and_a_run_that_goes_on_give_the_same_records(
    folder: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite, whole = folder / "stops.yaml", recorded(folder / "out")
    shutil.copytree(folder / "out", out := tmp_path / "out")
    for path in (out / "cells").iterdir():
        record = RecordStore(out).read(path.stem)
        if record is not None and record.key.attack in ("noise", "finetune"):
            path.unlink()
    assert bench("run", suite, "--out", out, "--device", "cpu", "--jobs", 2) == 0
    assert "6 cells run, 4 not needed, 6 taken" in capsys.readouterr().err
    assert recorded(out) == whole
    assert bench("run", suite, "--out", out, "--device", "cpu") == 0
    assert "0 cells run, 16 taken" in capsys.readouterr().err
    assert bench("plan", suite, "--out", out, "--device", "cpu") == 0
    assert "16 cells, 16 of them recorded" in capsys.readouterr().out


def test_a_suite_that_stops_no_more_runs_what_was_left_out(folder: Path, bench: Bench, tmp_path: Path) -> None:
    shutil.copytree(folder / "out", out := tmp_path / "out")
    (tmp_path / "stops.yaml").write_text(SUITE.replace("stop: true", "stop: false"))
    assert bench("run", tmp_path / "stops.yaml", "--out", out, "--device", "cpu") == 0
    assert {record.status for record in RecordStore(out).records()} == {"ok"}


def test_what_was_left_out_is_accepted_only_with_the_record_that_says_why(
    folder: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("check", folder / "out", "--device", "cpu", "--sample", 1) == 0
    shutil.copytree(folder / "out", out := tmp_path / "out")
    store = RecordStore(out)
    record = next(r for r in store.records() if r.key.scheme == "sign-repetition" and r.key.attack == "finetune")
    left_out = {name: record.to_json()[name] for name in ("identity", "key", "recipe", "environment")}
    reason = "attack 'noise' at 0.1, of tier 1, removed the message for no accuracy"
    store.write(changed(typed([{**left_out, "status": NOT_NEEDED, "reason": reason}])[0]))
    assert bench("leaderboard", out) == 0
    assert bench("check", out, "--device", "cpu", "--sample", 1) == 1
    assert "finetune: not run, and no record of an earlier attack says why" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("attack", "expected"),
    [
        ("permute", 0),
        ({"name": "cast", "format": "bf16"}, 0),
        ("magnitude", 1),
        ({"name": "then", "first": "permute", "second": "magnitude"}, 1),
        ("wanda", 2),
        ({"name": "then", "first": "magnitude", "second": "bn"}, 2),
        ({"name": "finetune", "budget": 0.1}, 2),
        ({"name": "then", "first": "magnitude", "second": {"name": "finetune", "budget": 0.1}}, 2),
        ({"name": "finetune", "budget": 0.5}, 3),
        ("finetune", 3),
        ("distill", 3),
        ("new-head", 3),
    ],
)
def test_an_attack_declares_its_tier(attack: object, expected: int) -> None:
    assert make_attack(attack, "test").declared_tier == expected


def decided(
    below: int, reader: str = "blind", *, attack: str = "magnitude", embedded: bool = True, **row: object
) -> list[str]:
    """Return what decides a run whose only row is a lost message at an equal accuracy, but for what is given."""
    made = invented("cwc", 64, attack, 0.0)
    split = {"correct": 90, "total": 100}
    made["marked"] |= {"validation": split, "exact": embedded}
    cost = {"steps": 0, "samples": 0, "data_fraction": 0.0, "compute_fraction": 0.0, "free": False}
    made["rows"] = [{**made["rows"][0], "validation": split, "cost": cost, "exact": False, **row}]
    return list(decisions(typed([made]), below, reader))  # type: ignore[arg-type]


FREE = {"cost": {"steps": 0, "samples": 0, "data_fraction": 0.0, "compute_fraction": 0.0, "free": True}}
FULL = {"cost": {"steps": 99, "samples": 99, "data_fraction": 1.0, "compute_fraction": 1.0, "free": False}}
SMALL = {"cost": {"steps": 9, "samples": 9, "data_fraction": 0.1, "compute_fraction": 0.1, "free": False}}


def test_a_run_is_decided_by_a_lower_tier_that_removes_it_for_nothing_and_by_nothing_else() -> None:
    for gain in (0, 5):
        split = {"correct": 90 + gain, "total": 100}
        assert decided(2, validation=split) == [
            "attack 'magnitude' at 0.1, of tier 1, removed the message for no accuracy"
        ]
    assert not decided(2, exact=True)
    assert not decided(2, validation={"correct": 89, "total": 100})
    assert not decided(2, validation=None)
    assert not decided(2, task="textures")
    assert not decided(1), "its own tier"
    assert decided(3, **FULL), "the last tier, whose attacks stop each other"
    assert decided(3, **SMALL)
    assert not decided(2, **SMALL)
    assert not decided(3, **FREE), "blind marks fall to free moves, whatever their code"
    assert decided(1, "aligned", **FREE)
    assert not decided(3, attack="permute + finetune"), "nor where others follow such a move"
    assert decided(3, "aligned", attack="permute + finetune")
    assert decided(3, embedded=False, exact=True) == [
        "the message was never embedded, as the cell of attack 'magnitude' found"
    ]
