"""The harness end to end on a tiny suite: run, go on, narrow, rank, check."""

import csv
import json
import operator
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.leaderboard import TIMING_COLUMNS
from bench.records.record import Record, changed
from bench.records.schema import TrainedResult
from bench.records.store import RecordStore
from bench.verification.comparison import comparable
from cwwm.support.files import write_json

pytestmark = pytest.mark.programs

Bench = Callable[..., int]


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "leaderboard.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_cell_has_a_record_and_a_row_a_strength(finished: Path) -> None:
    records = list(RecordStore(finished).records())
    assert len(records) == 2 * 2 * 4
    assert {record.status for record in records} == {"ok"}
    assert all(len(record.rows or ()) == len(record.recipe.strengths) for record in records)
    assert len(rows_of(finished)) == 2 * (3 + 2 + 1 + 1)
    assert (finished / "leaderboard.png").stat().st_size > 10_000


def test_the_laws_hold_in_the_records(finished: Path) -> None:
    for row in rows_of(finished):
        if row["scheme"] == "cwc" and row["attack"].startswith("magnitude") and float(row["strength"]) <= 0.9:
            assert float(row["exact"]) == 1.0
            assert float(row["law"]) == 1.0
        if row["scheme"] == "cwc" and row["strength"] == "0.95":
            assert float(row["exact"]) == 0.0


def test_a_record_holds_neither_key_nor_secret(finished: Path) -> None:
    for record in RecordStore(finished).records():
        text = json.dumps(record.to_json())
        assert "secret" not in text
        assert isinstance(record, TrainedResult)
        assert record.host.accuracy.total == 257


def test_a_second_run_repeats_nothing(tiny: Path, finished: Path, bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    before = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    tables = (out / "leaderboard.md").read_bytes()
    assert bench("run", tiny / "tiny.yaml", "--out", out, "--device", "cpu") == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()} == before
    assert (out / "leaderboard.md").read_bytes() == tables


def test_failed_cells_are_tried_again_and_their_attempts_kept(
    tiny: Path, finished: Path, bench: Bench, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "out")
    record_store = RecordStore(tmp_path / "out")
    record = next(iter(record_store.records()))
    record_store.write(changed(record, status="failed", reason="the power went", rows=[]))
    assert bench("status", tmp_path / "out") == 0
    assert bench("run", tiny / "tiny.yaml", "--out", tmp_path / "out", "--device", "cpu") == 0
    again = record_store.read(record.identity)
    assert again is not None
    assert again.status == "ok"
    assert [attempt.reason for attempt in again.attempts] == ["the power went"]


def stale(record: Record, *, digest: str | None = None, **more: object) -> Record:
    """Return a record whose false positives were counted by older source, and of another marked model if given."""
    kept = record.to_json()
    null = {kind: {**found, "lowest": [-99.0]} for kind, found in kept["marked"]["null"].items()}
    marked = {**kept["marked"], "null": null, "digest": digest or kept["marked"]["digest"]}
    return changed(record, marked=marked, beside={**kept["beside"], "detection": "0" * 32}, **more)


def test_stale_detection_is_not_compared_and_everything_else_is(finished: Path) -> None:
    record = next(iter(RecordStore(finished).records()))
    assert operator.eq(*comparable(record, record))
    assert operator.eq(*comparable(stale(record), record))
    assert operator.ne(*comparable(stale(record, digest="0" * 64), record))
    newer = changed(record, marked={**record.to_json()["marked"], "null": None})
    assert operator.ne(*comparable(record, newer))


@pytest.mark.parametrize("jobs", [1, 2])
def test_detection_of_older_source_is_measured_again_alone(
    tiny: Path, finished: Path, bench: Bench, tmp_path: Path, jobs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "out")
    record_store = RecordStore(tmp_path / "out")
    whole, other, *_ = record_store.records()
    rows = [{**row, "timing": {"attack_s": 77.0, "extract_ms": 7.0}} for row in whole.to_json()["rows"]]
    record_store.write(stale(whole, rows=rows))
    record_store.write(stale(other, digest="0" * 64))
    arguments = (tiny / "tiny.yaml", "--out", tmp_path / "out", "--device", "cpu")
    assert bench("plan", *arguments) == 0
    assert "16 cells, 14 of them recorded" in capsys.readouterr().out
    assert bench("run", *arguments, "--jobs", jobs) == 0
    renewed, again = (record_store.read(record.identity) for record in (whole, other))
    assert renewed is not None
    assert again is not None
    assert renewed.to_json() == changed(whole, rows=rows).to_json()
    assert (again.to_json()["marked"], again.to_json()["beside"]) == (
        other.to_json()["marked"],
        other.to_json()["beside"],
    )
    assert again.environment.date >= other.environment.date


def test_a_refusal_is_final_and_says_why(tiny: Path, bench: Bench, tmp_path: Path) -> None:
    suite = (tiny / "tiny.yaml").read_text().replace("payloads: [64]", "payloads: [200000]")
    (tmp_path / "big.yaml").write_text(suite.replace("{name: cwc, carrier: body, survive: 0.9}", "{name: cwc}"))
    arguments = ("run", tmp_path / "big.yaml", "--out", tmp_path, "--seeds", 1, "--scheme", "sign*")
    assert bench(*arguments, "--attack", "random", "--device", "cpu") == 0
    (record,) = RecordStore(tmp_path).records()
    assert record.status == "refused"
    assert "the code needs" in str(record.reason)
    assert "the code needs" in (tmp_path / "leaderboard.md").read_text()


def test_options_narrow_and_replace(tiny: Path, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    suite = tiny / "tiny.yaml"
    arguments = (
        "plan",
        suite,
        "--seeds",
        1,
        "--scheme",
        "cwc",
        "--attack",
        "mag*",
        "--model",
        "resnet18",
        "--json",
    )
    assert bench(*arguments) == 0
    cells = json.loads(capsys.readouterr().out)
    assert {cell["model"] for cell in cells} == {"resnet18"}
    assert {cell["attack"] for cell in cells} == {"magnitude", "magnitude + bn"}
    assert {cell["seed"] for cell in cells} == {0}


def test_adding_to_a_suite_moves_no_other_cell(
    tiny: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = (tiny / "tiny.yaml").read_text().replace("seeds: 2", "seeds: 3").replace("[tiny]", "[resnet18, tiny]")
    (tmp_path / "more.yaml").write_text(more)
    assert bench("plan", tiny / "tiny.yaml", "--json") == 0
    small = {cell["identity"] for cell in json.loads(capsys.readouterr().out)}
    assert bench("plan", tmp_path / "more.yaml", "--json") == 0
    large = {cell["identity"] for cell in json.loads(capsys.readouterr().out)}
    assert small < large


def test_check_accepts_what_a_run_wrote(finished: Path, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("check", finished, "--sample", 1, "--device", "cpu") == 0
    assert "all is well; accepted: 1 of 16 cells run again" in capsys.readouterr().out


def test_records_of_older_source_do_not_count(
    finished: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "out")
    record_store = RecordStore(tmp_path / "out")
    old = next(iter(record_store.records()))
    record_store.write(changed(old, identity="0" * 32))
    assert bench("check", tmp_path / "out", "--sample", 0, "--device", "cpu") == 0
    assert "16 records" in capsys.readouterr().out


@pytest.mark.parametrize("target", ["leaderboard.csv", "leaderboard.md"])
def test_check_notices_an_edited_table(finished: Path, bench: Bench, tmp_path: Path, target: str) -> None:
    shutil.copytree(finished, tmp_path / "out")
    path = tmp_path / "out" / target
    path.write_text(path.read_text().replace("cwc", "CWC", 1))
    assert bench("check", tmp_path / "out", "--sample", 0, "--device", "cpu") == 1


def test_check_notices_an_edited_record(
    finished: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "out")
    path = sorted((tmp_path / "out" / "cells").iterdir())[0]
    record = json.loads(path.read_text())
    record["rows"][0]["exact"] = not record["rows"][0]["exact"]
    write_json(path, record)
    assert bench("check", tmp_path / "out", "--sample", 0, "--device", "cpu") == 1
    assert "its digest does not match" in capsys.readouterr().out


def test_timing_columns_are_the_last_of_the_csv(finished: Path) -> None:
    header = (finished / "leaderboard.csv").read_text().splitlines()[0].split(",")
    assert tuple(header[-len(TIMING_COLUMNS) :]) == TIMING_COLUMNS


@pytest.mark.parametrize("what", ["models", "schemes", "attacks", "data", "suites"])
def test_list_shows_names(bench: Bench, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("list", what, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) >= 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("run", "smok"), "smoke"),
        (("run", "nightly", "--model", "resnet1888"), "resnet18"),
        (("run", "nightly", "--scheme", "cvc"), "cwc"),
        (("run", "nightly", "--attack", "magnitud"), "magnitude"),
        (("run", "nightly", "--seeds", 0), "--seeds"),
        (("run", "nightly", "--payload", 99), "--payload"),
        (("run", "nightly", "--device", "tpu"), "tpu"),
        (("run", "nightly", "--out", "/proc/nothing/here"), "/proc/nothing/here"),
        (("status", "/nowhere"), "/nowhere"),
        (("list", "modls"), "models"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    bench: Bench, arguments: tuple[object, ...], named: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert bench(*arguments) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert named in line
