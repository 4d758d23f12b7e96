"""Exports of invented records: sound for their consumers' own parsers, the same for equal records, true to them."""

import io
import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pandas
import pyarrow.parquet as pq
import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from junitparser.cli import verify

from bench.cli.app import app
from bench.exports.base import Source
from bench.exports.lines import ACCURACY, EVIDENCE, EXACT, SECONDS
from bench.exports.parquet import COLUMNS, METADATA
from bench.exports.registry import EXPORTS
from bench.records.schema import Json
from bench.regression import compare
from cwwm.support.console import run_app
from tests.bench.exports.schemas import SCHEMAS
from tests.bench.invented import many, record, record_store_of, refused, typed

SEEDS = range(8)
RUN = [*many(4, (64, 256)), refused("late", 64, "random", seed=0)]


def source(records: Sequence[Json], baseline: Sequence[Json] | None = None) -> Source:
    return Source("invented", "0" * 40, typed(records), None if baseline is None else typed(baseline))


def files(made: Source, *names: str) -> dict[str, bytes]:
    return {file: data for name in names or EXPORTS for file, data in EXPORTS[name]().files(made).items()}


def seeds(scheme: str = "a", attack: str = "magnitude", dies_at: float = 0.9, **more: Any) -> list[Json]:  # noqa: ANN401
    return [record(scheme, 256, attack, dies_at, seed=seed, **more) for seed in SEEDS]


def failed(made: Json, reason: str = "it broke") -> Json:
    parts = ("artefact", "host", "marked", "rows", "timing")
    return {k: v for k, v in made.items() if k not in parts} | {"status": "failed", "reason": reason}


def cases(made: Source) -> dict[tuple[str, str], tuple[str, str]]:
    """Return the kind of result and its message, or what is noted, by suite and case, as junitparser reads them."""
    report = JUnitXml.fromstring(files(made, "junit")["junit.xml"])
    found = {}
    for suite in report:
        kinds = dict.fromkeys((Failure, Error, Skipped), 0)
        for case in suite:
            (result,) = case.result or (None,)
            said = case.system_out or "" if result is None else result.message
            kind = "passes" if result is None else type(result).__name__.lower()
            found[suite.name, case.name] = kind, said
            if result is not None:
                kinds[type(result)] += 1
        assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (len(list(suite)), *kinds.values())
    assert report.tests == len(found)
    return found


def test_json_is_what_each_consumer_takes() -> None:
    longest = record("", 1024, "magnitude", 0.5)
    longest["key"] |= {"model": "m" * 300, "scheme": "ß" * 300, "attack": "中" * 300}
    made = files(source([*RUN, longest], RUN))
    for name, schema in SCHEMAS.items():
        jsonschema.Draft202012Validator(schema).validate(json.loads(made[name], parse_constant=float))
        assert b"NaN" not in made[name]
        assert b"Infinity" not in made[name]
        assert len(json.loads(made[name])) > 30


def test_equal_records_give_equal_bytes_in_any_order() -> None:
    shuffled = random.Random(1).sample(RUN, len(RUN))
    assert files(source(RUN, RUN)) == files(source(shuffled, shuffled))


def test_a_folder_without_results_has_exports_without_lines() -> None:
    made = files(source([failed(one) for one in seeds()]))
    assert [json.loads(made[name]) for name in SCHEMAS] == [[], {}, [], []]
    assert len(pq.read_table(io.BytesIO(made["records.parquet"]))) == 0


def by_metric(made: Source) -> dict[tuple[str, str], Mapping[str, Any]]:
    found = json.loads(files(made, "oss-v3")["oss-v3.json"])
    return {(one["benchmark"]["extra_info"]["strength"], one["metric"]["name"]): one for one in found}


def test_seeds_are_the_values_of_a_record_and_the_baseline_is_its_target() -> None:
    now, before = seeds()[:3], seeds(dies_at=0.5)
    now[1]["rows"][4]["exact"] = False
    found = by_metric(source(now, before))
    exact = found["0.8", EXACT.name]
    assert exact["metric"]["benchmark_values"] == [1.0, 0.0, 1.0]
    assert exact["metric"]["target_value"] == 0.0
    assert exact["metric"]["extra_info"]["seeds"] == "0 1 2"
    assert exact["benchmark"]["extra_info"] == {
        "suite": "invented", "scheme": "a", "payload": "256", "attack": "magnitude", "strength": "0.8",
        "strength_means": "invented",
    }  # fmt: skip
    assert found["0.1", EVIDENCE.name]["metric"]["target_value"] == -20
    assert "target_value" not in by_metric(source(now))["0.1", EVIDENCE.name]["metric"]


def test_values_beyond_a_32_bit_number_are_cut() -> None:
    huge = seeds()[:1]
    huge[0]["rows"][0]["log10_p"] = -1e90
    (value,) = by_metric(source(huge))["0.1", EVIDENCE.name]["metric"]["benchmark_values"]
    assert value == -3e38


def test_measures_have_means_and_intervals() -> None:
    run = seeds()
    for seed, one in enumerate(run):
        one["rows"][0] |= {"exact": seed != 0, "accuracy": {"correct": 900 + seed, "total": 1000}}
    benchmark = json.loads(files(source(run), "bmf")["bmf.json"])["m / a / 256 bits / magnitude 0.1"]
    assert list(benchmark) == [EXACT.slug, EVIDENCE.slug, ACCURACY.slug, SECONDS.slug]
    exact, accuracy = benchmark[EXACT.slug], benchmark[ACCURACY.slug]
    # the interval of Clopper and Pearson at 7 of 8, from tables
    assert [round(value, 4) for value in exact.values()] == [0.875, 0.4735, 0.9968]
    assert accuracy["value"] == 90.35
    assert 90.0 < accuracy["lower_value"] < 90.35 < accuracy["upper_value"] < 90.7
    one_seed = json.loads(files(source(run[:1]), "bmf")["bmf.json"])["m / a / 256 bits / magnitude 0.1"]
    assert one_seed[ACCURACY.slug] == {"value": 90.0}


def test_bigger_and_smaller_are_told_apart_and_nothing_is_negative() -> None:
    made = files(source(seeds()), "gha")
    bigger, smaller = (json.loads(made[f"gha-{side}.json"]) for side in ("bigger", "smaller"))
    assert {one["name"].rpartition(": ")[2] for one in bigger} == {EXACT.name, "-log10 p", ACCURACY.name}
    assert {one["name"].rpartition(": ")[2] for one in smaller} == {SECONDS.name}
    names = [one["name"] for one in (*bigger, *smaller)]
    assert len(set(names)) == len(names)
    proven = next(one for one in bigger if one["name"] == "m / a / 256 bits / magnitude 0.1: -log10 p")
    assert (proven["value"], proven["range"]) == (20, "20 to 20")


WORSE, SAME = seeds(dies_at=0.2), seeds()


@pytest.mark.parametrize(
    ("now", "before", "kind", "said"),
    [
        (SAME, SAME, "passes", ""),
        (WORSE, SAME, "failure", "log10 p: -13.3333 in the baseline, -2.22222 now"),
        (SAME, WORSE, "passes", ""),
        (WORSE, None, "passes", ""),
        ([failed(SAME[0]), *SAME[1:]], None, "error", "m, seed 0: failed: it broke"),
        ([failed(SAME[0]), *SAME[1:]], SAME, "error", "m, seed 0: failed: it broke"),
        ([failed(one) for one in SAME], SAME, "failure", "gave a result in the baseline, now failed: it broke"),
        ([refused("a", 256, "magnitude", seed=0)], None, "skipped", "refused: no room"),
        (seeds("b"), SAME, "skipped", "only the baseline has strength 0.1 0.3"),
        (SAME, seeds("b"), "passes", ""),
        (WORSE[:1], SAME[:1], "passes", "exact match: some seed got worse; 9 seeds a side would judge it"),
    ],
)
def test_a_case_is_red_where_the_gate_says_so(
    now: list[Json], before: list[Json] | None, kind: str, said: str, tmp_path: Path
) -> None:
    made = source(now, before)
    (tmp_path / "junit.xml").write_bytes(files(made, "junit")["junit.xml"])
    assert verify([tmp_path / "junit.xml"]) == (kind in ("failure", "error"))
    found = cases(made)
    assert found["a, 256 bits", "magnitude"][0] == kind
    assert said in found["a, 256 bits", "magnitude"][1]
    if made.baseline is not None:
        worse = compare(made.baseline, made.records).is_worse
        assert worse == any(result == "failure" for result, _ in found.values())


def test_only_the_case_that_got_worse_is_red() -> None:
    before = [*SAME, *seeds("b"), *seeds("a", "random")]
    found = cases(source([*WORSE, *seeds("b"), *seeds("a", "random")], before))
    assert [title for title, (kind, _) in found.items() if kind == "failure"] == [("a, 256 bits", "magnitude")]
    assert len(found) == 6  # with both unattacked marks, and models without one


def test_strange_text_is_text_in_xml() -> None:
    reason = 'ends ]]> & "so"\x1b[31m<failure/>\x00' + "\n" * 3 + "x" * 2000
    ((kind, message),) = cases(source([failed(SAME[0], reason)])).values()
    assert kind == "error"
    assert message.startswith('m, seed 0: failed: ends ]]> & "so"\\x1b[31m<failure/>\\x00 xxx')


def test_parquet_is_read_by_pandas_as_it_was_recorded() -> None:
    lost = {**failed(seeds("z")[0]), "status": "out-of-memory", "reason": "the card is full"}
    made = io.BytesIO(files(source([*RUN, lost]), "parquet")["records.parquet"])
    frame = pandas.read_parquet(made)
    assert list(frame.columns) == list(COLUMNS)
    rows = [(one, row) for one in RUN if one["status"] == "ok" for row in one["rows"]]
    assert len(frame) == len(rows)
    by_row = frame.set_index(["model", "scheme", "payload", "attack", "seed", "strength"])
    for one, row in rows:
        key = one["key"]
        got = by_row.loc[key["model"], key["scheme"], key["payload"], key["attack"], key["seed"], row["strength"]]
        assert (got["recovered"], got["log10_p"]) == (row["exact"], row["log10_p"])
        assert (got["correct"], got["total"]) == tuple(row["accuracy"].values())
        assert json.loads(got["json_counts"]) == {}
    told = json.loads(pq.read_schema(made).metadata[METADATA.encode()])
    assert told["suite"] == "invented"
    assert told["statuses"] == {"ok": len(RUN) - 1, "out-of-memory": 1, "refused": 1}
    assert {one["reason"] for one in told["cells without rows"]} == {"no room", "the card is full"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return record_store_of(tmp_path / "out", "invented", SAME).folder


def export(*arguments: object) -> int:
    return run_app(app, "cwwm-bench", ["export", *map(str, arguments)])


def test_the_command_names_the_files_that_it_wrote(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    formats = [word for name in EXPORTS for word in ("--to", name)]
    assert export(out, *formats, "--to", "bmf") == 0
    names = capsys.readouterr().out.split()
    written = [path for path in (out / "exports").iterdir() if path.is_file()]
    assert sorted(names) == sorted(map(str, written))
    assert len(names) == 6
    record_store_of(tmp_path / "baselines" / "invented", "invented", WORSE)
    assert export(out, "--to", "junit", "--folder", tmp_path, "--baseline", tmp_path / "baselines") == 0
    assert str(tmp_path / "baselines" / "invented") in capsys.readouterr().err


def test_help_names_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert export("--help") == 0
    said = capsys.readouterr().out
    assert [name for name in EXPORTS if f" {name}: " not in said] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("OUT", "--to", "junti"), "unknown format 'junti'; did you mean junit?"),
        (("OUT",), "Missing option '--to'"),
        (("nowhere", "--to", "bmf"), "nowhere holds no records; run a suite first"),
        (("OUT", "--to", "junit", "--baseline", "nowhere"), "nowhere/invented holds no baseline"),
        (("OUT", "--to", "bmf", "--folder", "OUT/run.json"), "cannot write"),
        (("DAMAGED", "--to", "bmf"), "is damaged: its digest does not match"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], said: str, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = record_store_of(tmp_path / "damaged", "invented", SAME[:1]).folder
    (cell,) = (damaged / "cells").iterdir()
    cell.write_text(cell.read_text().replace("980", "981"))
    places = {"OUT": out, "DAMAGED": damaged}
    assert export(*(a.replace(name, str(p)) for a in arguments for name, p in [_place(a, places)])) == 2
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if not line.startswith("compared")]
    assert said in line
    assert captured.out == ""
    assert not (out / "exports").exists()


def _place(argument: str, places: Mapping[str, Path]) -> tuple[str, Path]:
    return next(((name, path) for name, path in places.items() if argument.startswith(name)), ("\0", Path()))


def test_a_fault_in_one_format_leaves_no_file(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    assert export(out, "--to", "bmf", "--to", "parquet") == 2
    assert "pyarrow" in capsys.readouterr().err
    assert not (out / "exports").exists()
