"""Records of older source: run again they must be equal, and only then are they given the newer identity."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.leaderboard import write
from bench.records.record import changed, record_digest
from bench.records.schema import Json
from bench.records.store import RecordStore
from bench.verification.comparison import LAST_DIGITS, same
from bench.verification.rebuild import Rebuilt, conditions_of, sort_out
from bench.verification.restamp import drawn_from_few
from bench.verification.submission import _identity, inspect

pytestmark = pytest.mark.programs

Bench = Callable[..., int]
OLD = "0" * 32


@pytest.fixture
def older(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the finished run as older source would have left it, with equal results."""
    shutil.copytree(finished, tmp_path / "older", ignore=shutil.ignore_patterns("artefacts"))
    rewrite(tmp_path / "older", lambda record: record["recipe"]["host"].update(source=OLD))
    return tmp_path / "older"


def rewrite(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit every record, with identities, digests, run file and tables that follow from it."""
    run = json.loads((folder / "run.json").read_text())
    for path in sorted((folder / "cells").iterdir()):
        record = json.loads(path.read_text())
        edit(record)
        record["identity"] = _identity(record["recipe"])
        record["digest"] = record_digest(record)
        path.unlink()
        (folder / "cells" / f"{record['identity']}.json").write_text(json.dumps(record))
        run["cells"] = [record["identity"] if cell == path.stem else cell for cell in run["cells"]]
    (folder / "run.json").write_text(json.dumps(run))
    write(RecordStore(folder))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def by_key(folder: Path) -> dict[str, Json]:
    return {json.dumps(record.to_json()["key"]): record.to_json() for record in RecordStore(folder).records()}


@pytest.mark.parametrize("packed", [False, True])
def test_equal_results_are_said_to_be_and_stamped(
    older: Path, finished: Path, packed: bool, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    if packed:
        RecordStore(older).pack(older.parent / "packed")
        older = older.parent / "packed"
        write(RecordStore(older))
    before = by_key(older)
    if not packed:  # restamping checks as well
        assert bench("check", older, "--sample", 1, "--seed", 1, "--device", "cpu") == 0
        said = capsys.readouterr().out
        assert "running again, older source: tiny, " in said
        assert "1 of them are of older source, with equal results" in said
    assert bench("restamp", older, "--sample", 1, "--seed", 1, "--device", "cpu") == 0
    assert "16 records stamped, after 1 cells were run again with equal results" in capsys.readouterr().out
    assert not inspect(RecordStore(older)).faults
    assert RecordStore(older).covered == RecordStore(finished).covered
    after, there = by_key(older), by_key(finished)
    for key, record in after.items():
        assert record["identity"] == there[key]["identity"]
        assert (record["recipe"], record["rows"]) == (there[key]["recipe"], before[key]["rows"])
        assert record["artefact"] == there[key]["artefact"]
        assert record["restamped"] | {"date": ""} == {
            "date": "", "identity": before[key]["identity"], "again": 1, "of": 16,
        }  # fmt: skip
    (note,) = json.loads((older / "run.json").read_text())["restamped"]
    assert (note["of"], note["seed"], len(note["again"])) == (16, 1, 1)
    assert bench("restamp", older, "--device", "cpu") == 0
    assert "nothing is of older source that can be run again here" in capsys.readouterr().out


def test_what_was_stamped_can_be_stamped_again(
    older: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    stamp = ("restamp", older, "--seed", 1, "--device", "cpu", "--sample")
    assert bench(*stamp, 1) == 0
    rewrite(older, lambda record: record["recipe"]["host"].update(source=OLD))  # the source went on
    before = by_key(older)
    assert bench(*stamp, 1) == 0
    assert capsys.readouterr().out.count("16 records stamped, after 1 cells were run again with equal results") == 2
    assert bench(*stamp, 2, "--again") == 0, "a larger sample can stand behind it"
    assert "16 records stamped, after 2 cells were run again with equal results" in capsys.readouterr().out
    assert not inspect(RecordStore(older)).faults
    for key, record in by_key(older).items():
        behind = record["restamped"]
        assert (behind["identity"], behind["again"]) == (before[key]["identity"], 2), "its identity of older source"


@pytest.mark.parametrize(
    ("value", "again", "equal"),
    [
        (-2335.052412868372, -2335.052412868367, True),
        (-2335.052412868372, -2335.052412867372, True),
        (-2335.052412868372, -2335.052412858372, False),
        (0.0, 1e-300, False),
        (0.0, 0.0, True),
        (3, 4, False),
        (True, False, False),
        ("a", "b", False),
        (None, 0.0, False),
    ],
)
def test_fractions_alone_may_differ_in_their_last_digits(value: object, again: object, equal: bool) -> None:
    assert same({"a": [1, value]}, {"a": [1, again]}, LAST_DIGITS) == equal
    assert same({"a": [1, value]}, {"a": [1, again]}, 0) == (value == again)
    assert not same({"a": [value]}, {"a": [value, value]}, LAST_DIGITS)
    assert not same({"a": value}, {"a": value, "b": value}, LAST_DIGITS)


def test_records_of_another_processor_are_stamped_where_asked_if_they_are_equal_here(
    older: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    def edit(record: dict[str, Any]) -> None:
        record["recipe"]["host"]["instruction_set"] = "another"
        record["marked"]["energy"] *= 1 + 1e-15

    rewrite(older, edit)
    stamp = ("restamp", older, "--sample", 1, "--seed", 1, "--device", "cpu")
    assert bench(*stamp) == 0
    assert "nothing is of older source that can be run again here\n16 records" in capsys.readouterr().out
    assert bench(*stamp, "--other-processors") == 0
    assert "16 records stamped, after 1 cells were run again with equal results" in capsys.readouterr().out
    assert not inspect(RecordStore(older)).faults
    for record in by_key(older).values():
        host = record["recipe"]["host"]
        assert host["instruction_set"] == "another", "where it was made"
        assert host["source"] != OLD


def test_records_that_keep_their_identity_are_replaced_in_a_packed_folder_too(older: Path) -> None:
    RecordStore(older).pack(older.parent / "packed")
    record_store = RecordStore(older.parent / "packed")
    records = record_store.records()
    stamp = {"date": "2026-01-31", "identity": OLD, "again": 1, "of": 16}
    note = {"date": "2026-01-31", "of": 16, "seed": 0, "again": ["one"]}
    record_store.replace({one.identity: changed(one, restamped=stamp) for one in records}, note)
    found = RecordStore(older.parent / "packed").records()
    assert [one.identity for one in found] == [one.identity for one in records]
    assert all(one.restamped and one.restamped.identity == OLD for one in found)


def test_a_sample_is_of_as_few_marked_models_as_hold_it(finished: Path) -> None:
    runnable, _ = sort_out(RecordStore(finished).records(), conditions_of(RecordStore(finished).records()[0]))
    schemes = {one.record.key.scheme for one in runnable}
    for count in range(1, len(runnable) + 1):
        for seed in range(5):
            chosen = drawn_from_few(runnable, count, seed)
            assert len({one.record.identity for one in chosen}) == len(chosen) == count
            held = Counter(one.record.key.scheme for one in {_model(one): one for one in chosen}.values())
            assert max(held.values()) - min(held.values()) <= 1
            assert len(held) == min(count, len(schemes)), "every scheme gives a record before any gives a second"
    assert drawn_from_few(runnable, 4, 1) == drawn_from_few(runnable, 4, 1)
    often = {_model(one) for seed in range(20) for one in drawn_from_few(runnable, 4, seed)}
    assert often == set(map(_model, runnable)), "every model can be drawn"


def _model(one: Rebuilt) -> tuple[object, ...]:
    key = one.record.key
    return key.model, key.scheme, key.payload, key.seed


def test_other_results_stamp_nothing(older: Path, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    def edit(record: dict[str, Any]) -> None:
        record["rows"][0]["overlap"] /= 2
        record["marked"]["null"]["marked"]["below"]["-3"] += 1

    rewrite(older, edit)
    before = contents(older)
    assert bench("restamp", older, "--sample", 1, "--seed", 1, "--device", "cpu") == 1
    said = capsys.readouterr().out
    for part in ("rows", "marked"):  # each is a reason of its own
        assert f"'{part}' is another when run again; it is of older source" in said
    assert "nothing was stamped" in said
    assert {name: text for name, text in contents(older).items() if name != ".lock"} == before


def test_a_recipe_that_builds_something_else_is_not_run_again(
    older: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(older, lambda record: record["recipe"].update(strength_means="another"))
    assert bench("check", older, "--sample", 1, "--device", "cpu") == 1
    assert "their recipe is not what it builds" in capsys.readouterr().out


def test_stamping_that_is_killed_leaves_all_old_records_or_all_new_ones(older: Path, tmp_path: Path) -> None:
    record_store = RecordStore(older)
    new = {
        record.identity: changed(record, identity=f"{number:032x}")
        for number, record in enumerate(record_store.records())
    }
    note = {"date": "2026-01-31", "of": len(new), "seed": 0, "again": ["one"]}
    names = sorted(new)
    run = older / "run.json"
    kept = run.read_bytes()
    run.unlink()
    run.mkdir()  # the run file cannot be replaced: as if killed before it was
    with pytest.raises(Exception, match=r"run\.json"):
        record_store.replace(new, note)
    run.rmdir()
    run.write_bytes(kept)
    assert record_store.identities() == names
    record_store.replace(new, note)
    assert record_store.identities() == sorted(record.identity for record in new.values())
