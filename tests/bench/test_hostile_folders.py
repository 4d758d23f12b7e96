"""Output folders of strangers: every command that reads one ends in one line, and with 2, whatever it holds."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from bench.execution.progress import read_progress
from bench.execution.time_budget import Durations
from bench.leaderboard.pictures import save
from bench.records.store import RecordStore, record_digest
from bench.regression.baseline import accepted
from bench.regression.history import read_history
from cwwm.support.errors import BadInput
from tests.bench.invented import record, record_store_of, refused

Bench = Callable[..., int]
Spoil = Callable[[Path], object]

COMMANDS: dict[str, tuple[object, ...]] = {
    "status": (),
    "leaderboard": ("--html",),
    "pack": ("--to", "packed"),
    "archive": ("--reason", "marks are bound now."),
    "compare": ("--baseline", "baselines"),
    "accept-baseline": ("--baseline", "baselines"),
}
GIGABYTE = 1 << 30


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of three records, with a baseline beside it, and go to where both lie."""
    monkeypatch.chdir(tmp_path)
    made = [record("a", 64, "magnitude", 0.9, seed=seed) for seed in (0, 1)]
    made.append(refused("b", 64, "magnitude", seed=0))
    record_store_of(tmp_path / "baselines" / "mine", "mine", made)
    return record_store_of(tmp_path / "out", "mine", made).folder


def sparse(path: Path) -> None:
    """Make a file of a gigabyte that takes no room."""
    with path.open("wb") as file:
        file.truncate(GIGABYTE)


def link(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/etc/hostname")


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


FORMS: dict[str, Spoil] = {
    "list": lambda path: path.write_text("[1]"),
    "empty": lambda path: path.write_text(""),
    "no fields": lambda path: path.write_text("{}"),
    "not UTF-8": lambda path: path.write_bytes(b'{"suite": "\xff"}'),
    "deep": lambda path: path.write_text("[" * 100_000),
    "deep objects": lambda path: path.write_text('{"suite":' * 900 + "1" + "}" * 900),
    "NaN": lambda path: path.write_text('{"suite": NaN}'),
    "many digits": lambda path: path.write_text('{"suite": ' + "9" * 5000 + "}"),
    "gigabyte": sparse,
    "link": link,
    "pipe": pipe,
    "folder": folder,
}


def refuses(bench: Bench, capsys: pytest.CaptureFixture[str], command: str) -> str:
    """Return the one line with which a command refuses the folder `out`."""
    assert bench(command, "out", *COMMANDS[command]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert said.err.strip().isprintable()
    assert said.out == ""
    return said.err


@pytest.mark.parametrize("command", COMMANDS)
def test_the_folder_itself_is_read(bench: Bench, out: Path, command: str) -> None:
    assert bench(command, "out", *COMMANDS[command]) == (2 if command == "accept-baseline" else 0)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("form", FORMS)
def test_a_run_file_of_any_form_is_one_line(
    bench: Bench, out: Path, capsys: pytest.CaptureFixture[str], command: str, form: str
) -> None:
    FORMS[form](out / "run.json")
    assert "run file" in refuses(bench, capsys, command)


@pytest.mark.parametrize(
    "change",
    [
        {"suite": 7},
        {"suite": "\x1b[2J"},
        {"cells": ["../../../etc/passwd"]},
        {"cells": "all"},
        {"levels": {}},
        {"levels": [{"attack": "a", "model": "m", "chosen": [[None, 1.0]]}]},
        {"levels": [{"attack": "a", "model": "m", "chosen": [[1.0]]}]},
        {"levels": [{"attack": ["a"], "model": "m", "chosen": []}]},
        {"commit": 3},
    ],
)
def test_a_run_file_with_a_wrong_field_is_one_line(
    bench: Bench, out: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    path = out / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    for command in COMMANDS:
        assert next(iter(change)) in refuses(bench, capsys, command)


@pytest.mark.parametrize("form", FORMS)
def test_a_record_of_any_form_is_one_line(
    bench: Bench, out: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    path = min((out / "cells").iterdir())
    FORMS[form](path)
    for command in COMMANDS:
        assert (path.stem if form != "gigabyte" else "cells") in refuses(bench, capsys, command)


def changed(**change: Any) -> Callable[[dict[str, Any]], object]:  # noqa: ANN401
    return lambda found: found.update(change)


def in_row(**change: Any) -> Callable[[dict[str, Any]], object]:  # noqa: ANN401
    return lambda found: found["rows"][0].update(change)


@pytest.mark.parametrize(
    "edit",
    [
        changed(status=3),
        changed(key=[]),
        changed(rows=None),
        changed(marked={}),
        changed(environment="mine"),
        changed(kind="compatibility"),
        changed(attempts=[{"fatal": "yes"}]),
        changed(reason=["a"], status="refused"),
        lambda found: found["key"].update(scheme="\x1b]0;owned\x07"),
        lambda found: found["key"].update(payload="64"),
        lambda found: found["key"].update(seed=10**30),
        lambda found: found["recipe"].pop("host"),
        in_row(strength="0.5"),
        in_row(strength=1e300),
        in_row(accuracy={"correct": 1, "total": 0}),
        in_row(log10_p=-1e308),
        in_row(exact="yes"),
        in_row(achieved={"sparsity": "all"}),
        in_row(timing={"attack_s": None, "extract_ms": 1.0}),
    ],
)
def test_a_record_with_a_wrong_field_is_one_line(
    bench: Bench, out: Path, capsys: pytest.CaptureFixture[str], edit: Callable[[dict[str, Any]], object]
) -> None:
    path = next(p for p in (out / "cells").iterdir() if json.loads(p.read_text())["status"] == "ok")
    found = json.loads(path.read_text())
    edit(found)
    path.write_text(json.dumps(found | {"digest": record_digest(found)}))
    for command in COMMANDS:
        assert path.stem in refuses(bench, capsys, command)


@pytest.mark.parametrize("form", FORMS)
def test_progress_of_any_form_is_one_line(
    bench: Bench, out: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    FORMS[form](out / "progress.json")
    assert "progress" in refuses(bench, capsys, "status")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("durations.json", lambda path: Durations(path, "a processor")),
        ("history.jsonl", read_history),
        ("accepted.json", lambda path: accepted(RecordStore(path.parent))),
    ],
)
def test_what_stands_beside_is_refused_in_any_other_form(
    out: Path, name: str, read: Callable[[Path], object], form: str
) -> None:
    FORMS[form](out / name)
    if (form, name) in ALLOWED:
        read(out / name)
    else:
        with pytest.raises(BadInput):
            read(out / name)


#: what says nothing, and is taken as such
ALLOWED = {("empty", "history.jsonl"), ("no fields", "accepted.json")}


def test_progress_with_wrong_numbers_is_one_line(out: Path, tmp_path: Path) -> None:
    whole = {
        "suite": "s", "total": 3, "taken": 0, "done": 1, "failed": 0, "began": 1.0, "updated": 2.0, "seconds": 3.0,
        "doing": "", "cell": "", "last": [], "failures": [], "state": "ended", "pid": 1, "machine": "elsewhere",
    }  # fmt: skip
    path = out / "progress.json"
    path.write_text(json.dumps(whole))
    assert read_progress(out) is not None
    for change in ({"done": 10**400}, {"total": -1}, {"seconds": 1e308}, {"pid": 0}, {"last": ["x"] * 6}):
        path.write_text(json.dumps(whole | change))
        with pytest.raises(BadInput, match="is damaged"):
            read_progress(out)


def test_dollars_are_drawn_as_they_are(bench: Bench, tmp_path: Path) -> None:
    """Between two of them matplotlib would read a formula."""
    one = record("$\\frac{$ and $x_$", 64, "random", 0.3)
    one["key"]["attack"] = "$\\sqrt{$"
    record_store = record_store_of(tmp_path / "out", "$\\nothing$", [one])
    assert bench("leaderboard", record_store.folder) == 0
    assert (record_store.folder / "leaderboard.png").stat().st_size > 10_000


def test_pictures_have_a_largest_size(tmp_path: Path) -> None:
    save(Figure(figsize=(3000, 1)), tmp_path / "long.png")
    with Image.open(tmp_path / "long.png") as image:
        assert image.size == (30_000, 10)


def test_more_records_than_are_read_at_once_are_one_line(
    bench: Bench, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sparse(out / "cells" / f"{'0' * 32}.json")
    for command in COMMANDS:
        assert "at most 268,435,456 are read" in refuses(bench, capsys, command)
