"""Fabricated folders: whatever was made up, `check` accepts none, ends soon, and prints nothing but text."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.leaderboard import texts
from bench.records.store import RecordStore, record_digest
from bench.verification.submission import _identity

pytestmark = pytest.mark.programs

Bench = Callable[..., int]
Record = dict[str, Any]
Edit = Callable[[Record], object]
Make = Callable[[Path], object]
HUGE = 10**400


def paths(folder: Path) -> list[Path]:
    return sorted((folder / "cells").iterdir())


def put(folder: Path, path: Path, record: Record) -> None:
    """Write a record in another's place, with identity and digest that follow from it."""
    path.unlink()
    record["identity"] = _identity(record["recipe"])
    record["digest"] = record_digest(record)
    (folder / "cells" / f"{record['identity']}.json").write_text(json.dumps(record))
    run = folder / "run.json"
    run.write_text(run.read_text().replace(path.stem, record["identity"]))


def edited(edit: Edit, *, every: bool = False) -> Make:
    """Return what edits the first record, or every one."""

    def make(folder: Path) -> None:
        for path in paths(folder)[: None if every else 1]:
            record = json.loads(path.read_text())
            edit(record)
            put(folder, path, record)

    return make


def fine_tuning(**more: object) -> Edit:
    """Return what makes a record one of fine-tuning, which takes as long as its parameters say."""

    def edit(record: Record) -> None:
        record["recipe"]["attack"] = {"name": "finetune", "epochs": 1, **more}
        record["recipe"]["attack_label"] = record["key"]["attack"] = "finetune"

    return edit


def of_strengths(*strengths: float, **attack: object) -> Edit:
    def edit(record: Record) -> None:
        record["recipe"]["strengths"] = list(strengths)
        record["rows"] = [{**record["rows"][0], "strength": strength} for strength in strengths]
        if attack:
            record["recipe"]["attack"] = attack
            record["recipe"]["attack_label"] = record["key"]["attack"] = attack["name"]

    return edit


def of_host(name: str, value: object) -> Edit:
    """Return what says another host, in recipe and environment, and has rows made up."""

    def edit(record: Record) -> None:
        record["recipe"]["host"][name] = value
        if name in record["environment"]:
            record["environment"][name] = value
        for row in record["rows"]:
            row.update(exact=True, bit_error=0.0, log10_p=-300.0)

    return edit


def of_label(text: str) -> Edit:
    def edit(record: Record) -> None:
        record["recipe"]["label"] = record["key"]["scheme"] = text

    return edit


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"name": "bn"}
    for _ in range(depth):
        inner = {"name": "then", "first": inner, "second": {"name": "bn"}, "second_strength": 1.0}
    return inner


def of_attack(attack: dict[str, Any]) -> Edit:
    return of_strengths(0.5, **attack)


def refused(record: Record) -> None:
    for name in ("artefact", "host", "marked", "rows", "timing"):
        record.pop(name)
    record.update(status="refused", reason="the scheme cannot be read \x1b[2J here")


def another_seed(record: Record) -> None:
    record["recipe"]["host"]["seed"] = record["key"]["seed"] = record["key"]["seed"] + 5


def better(record: Record) -> None:
    record["rows"][0]["log10_p"] -= 100.0


def edit_file(name: str, old: str, new: str) -> Make:
    return lambda folder: (p := folder / name).write_text(p.read_text().replace(old, new, 1))


def strange_name(folder: Path) -> None:
    os.symlink("/etc/hostname", folder / "cells" / "\x1b]0;owned\x07.json")


#: by what is made up: how, and a part of the reason
REFUSED: dict[str, tuple[Make, str]] = {
    "a text for sparsity": (edited(lambda r: r["rows"][0]["achieved"].update(sparsity="0.5")), "achieved.sparsity"),
    "a text for bits": (edited(lambda r: r["rows"][0]["achieved"].update(bits="eight")), "achieved.bits"),
    "a text for a layer": (edited(lambda r: r["rows"][0]["achieved"].update(layers={"a": "b"})), "achieved.layers"),
    "a list for achieved": (edited(lambda r: r["rows"][0].update(achieved=[])), "achieved"),
    "a text for touched": (edited(lambda r: r["marked"]["report"].update(touched="12")), "report.touched"),
    "a list for a change": (edited(lambda r: r["marked"]["report"].update(squared_change=[])), "squared_change"),
    "no counts of wrong keys": (edited(lambda r: r["marked"]["null"]["marked"].update(below={})), "counted below"),
    "a text for a count": (
        edited(lambda r: r["marked"]["null"]["marked"]["below"].update({"-3": "0"})),
        "below.-3",
    ),
    "no value of wrong keys": (
        edited(lambda r: r["marked"]["null"]["marked"].update(lowest=[])),
        "no value is given",
    ),
    "a list for wrong keys": (edited(lambda r: r["marked"].update(null=[])), "marked.null"),
    "fewer layers": (edited(lambda r: r["marked"]["covertness"]["control_layers"].pop()), "other layers"),
    "ragged layers": (edited(lambda r: r["marked"]["covertness"]["marked_layers"][0].pop()), "other statistics"),
    "no strengths": (edited(of_strengths()), "recipe.strengths"),
    "a count beyond floats": (edited(lambda r: r["rows"][0].update(erased=HUGE)), "rows[0].erased"),
    "a total beyond floats": (edited(lambda r: r["marked"]["accuracy"].update(total=HUGE)), "accuracy.total"),
    "a seed beyond floats": (edited(lambda r: r["recipe"]["host"].update(seed=HUGE)), "host.seed"),
    "energies that overflow": (
        edited(lambda r: r["marked"].update(energy=1.7e308), every=True),
        "marked.energy",
    ),
    "another torch in the environment": (
        edited(lambda r: r["environment"].update(torch="9.9")),
        "environment says torch",
    ),
    "other threads in the environment": (
        edited(lambda r: r["environment"].update(threads=9)),
        "environment says threads",
    ),
    "a label that clears the screen": (edited(of_label("\x1b[2J")), "cannot be printed"),
    "a label that turns the line": (edited(of_label("cwc\u202e")), "cannot be printed"),
    "a failure without a reason": (edited(lambda r: r.update(status="failed")), "lacks reason"),
    "a status of its own": (edited(lambda r: r.update(status="great")), "status"),
    "an attack named by a list": (edited(lambda r: r["recipe"]["attack"].update(name=["a"])), "attack"),
    "a scheme in a scheme that is a list": (
        edited(lambda r: r["recipe"]["scheme"]["parameters"].update(scheme=["a"])),
        "cannot be run again",
    ),
    "an attack of 80 attacks": (edited(of_attack(nested(80))), "cannot be run again"),
    "an attack of 200 attacks": (edited(of_attack(nested(200))), "cannot be run again"),
    "ten million epochs": (edited(fine_tuning(epochs=10_000_000)), "cannot be run again"),
    "epochs beyond floats": (edited(fine_tuning(epochs=HUGE)), "cannot be run again"),
    "three hundred strengths": (edited(of_strengths(*(i / 1000 for i in range(300)))), "cannot be run again"),
    "a million copies": (edited(of_strengths(1e6, name="collude")), "cannot be run again"),
    "a payload of a billion bits": (
        edited(lambda r: (r["recipe"].update(payload=10**9), r["key"].update(payload=10**9))),
        "cannot be run again",
    ),
    "another torch, rows made up": (edited(of_host("torch", "2.99.0")), "1 of 16 records cannot be run again"),
    "other threads, rows made up": (edited(of_host("threads", 64)), "1 of 16 records cannot be run again"),
    "another device, rows made up": (edited(of_host("device", "cuda")), "1 of 16 records cannot be run again"),
    "another timm, all rows made up": (edited(of_host("timm", "9"), every=True), "no cell could be run again"),
    "a model of their own": (
        edited(lambda r: r["recipe"]["host"]["model"].update(create={"checkpoint_path": "x"})),
        "cannot be run again",
    ),
    "a scheme of a plugin": (
        edited(lambda r: (r["recipe"]["scheme"].update(name="theirs"), of_label("theirs")(r))),
        "comes from a plugin",
    ),
    "the name of another scheme": (edited(of_label("uchida")), "by the name of another"),
    "a record left out": (lambda folder: paths(folder)[0].unlink(), "have no record"),
    "levels that are text": (edit_file("run.json", '"levels": []', '"levels": ["x"]'), "levels"),
    "a table improved": (edit_file("leaderboard.csv", "cwc,64", "CWC,64"), "does not follow"),
    "a link with a hostile name": (strange_name, "is a link"),
}

#: these keep every form, and only running the cell again tells; by the attack of the record that is edited
MADE_UP: dict[str, tuple[Edit, str]] = {
    "magnitude": (of_host("source", "0" * 32), "'rows' is another when run again; it is of older source"),
    "random": (of_strengths(0.123), "'rows' is another"),
    "structured": (refused, "run again it is ok"),
    "magnitude + bn": (another_seed, "'host' is another"),
}


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the finished run, as one would hand it in."""
    target = tmp_path / "handed-in"
    shutil.copytree(finished, target, ignore=shutil.ignore_patterns("artefacts"))
    return target


def forge(folder: Path, make: Make) -> None:
    """Make something up, and tables that follow from it where any do."""
    make(folder)
    before = (folder / "leaderboard.csv").read_text()
    if "CWC,64" not in before:
        try:
            record_store = RecordStore(folder)
            made = texts(record_store.suite, list(record_store.records()), record_store.levels)
        except Exception:
            return
        for name, text in made.items():
            (folder / name).write_text(text)


@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=REFUSED)
def test_no_fabricated_folder_is_accepted(
    folder: Path, bench: Bench, make: Make, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    forge(folder, make)
    capsys.readouterr()
    assert bench("check", folder, "--sample", 1, "--device", "cpu") == 1
    out = capsys.readouterr().out
    assert says in out
    assert "not accepted" in out
    assert "running again" not in out, "nothing is run for a folder that is refused without"
    assert out.replace("\n", "").isprintable()


def make_up(folder: Path) -> None:
    """Keep one record of each attack, all of one marked model, with what is made up in it."""
    keys = {path: json.loads(path.read_text())["key"] for path in paths(folder)}
    kept = {key["attack"]: path for path, key in keys.items() if (key["scheme"], key["seed"]) == ("cwc", 0)}
    assert kept.keys() == MADE_UP.keys()
    for path in set(paths(folder)) - set(kept.values()):
        path.unlink()
    (folder / "run.json").write_text(json.dumps({"suite": "tiny", "cells": [p.stem for p in kept.values()]}))
    for attack, path in kept.items():
        record = json.loads(path.read_text())
        MADE_UP[attack][0](record)
        put(folder, path, record)


def test_what_only_running_again_can_tell_is_told(
    folder: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    forge(folder, make_up)
    capsys.readouterr()
    assert bench("check", folder, "--sample", len(MADE_UP), "--device", "cpu") == 1
    out = capsys.readouterr().out
    assert out.count("running again") == len(MADE_UP)
    for attack, (_, difference) in MADE_UP.items():
        assert re.search(rf"WRONG: tiny, .*, {re.escape(attack)}: {difference}", out), (attack, out)
    assert out.replace("\n", "").isprintable()


def test_records_that_cannot_be_run_are_taken_only_by_their_number(
    folder: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    forge(folder, edited(of_host("torch", "2.99.0")))
    arguments = ("check", folder, "--sample", 1, "--device", "cpu")
    assert bench(*arguments) == 1
    assert "1 records cannot be run again here: their torch is 2.99.0, here it is" in capsys.readouterr().out
    assert bench(*arguments, "--accept-unrun", 1) == 0
    assert "accepted: 1 of 16 cells run again, 1 taken unseen" in capsys.readouterr().out


def test_a_cell_that_takes_longer_than_the_limit_is_not_accepted(
    folder: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("check", folder, "--sample", 1, "--device", "cpu", "--time-limit", "0.5s") == 1
    assert "run again it is failed: it took longer than 0.5 seconds" in capsys.readouterr().out


def test_forty_folders_are_tried() -> None:
    assert len(REFUSED) + len(MADE_UP) >= 40
