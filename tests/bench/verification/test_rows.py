"""Records of another processor: bits may differ, laws may not; what a test could have seen is said."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.leaderboard import write
from bench.records.record import Record, changed, record_digest
from bench.records.store import RecordStore
from bench.regression.pooled_t import TwoSamples, gross_change, gross_p
from bench.regression.power import POWER, could_see
from bench.support.environment import prepare
from bench.support.numerics import VARIABLES
from bench.verification.check import by_conditions, differences
from bench.verification.rebuild import rebuilt, recorded_numerics, sort_out
from bench.verification.rows import SEEDS, SEEDS_FOR_MESSAGES, disagreements, power_lines, rows_of

Bench = Callable[..., int]
LEVEL = 1e-4


def seeds_of(record: Record, count: int) -> list[Record]:
    """Return a record as so many seeds would have it that agree."""
    return [changed(record, key={**record.to_json()["key"], "seed": seed}) for seed in range(count)]


@pytest.fixture
def record(finished: Path) -> Record:
    """Return a record whose message survives."""
    return next(
        r for r in RecordStore(finished).records() if r.key.attack == "magnitude" and r.rows and r.rows[0].recovered
    )


@pytest.mark.parametrize("count", [3, 6, 12])
@pytest.mark.parametrize("spread", [0.3, 2.0])
def test_a_fall_of_the_size_that_is_said_is_found_as_often_as_is_said(count: int, spread: float) -> None:
    rng = np.random.default_rng(count)
    found = []
    for _ in range(400):
        old, new = rng.normal(0, spread, count), rng.normal(0, spread, count)
        sample = TwoSamples(old, new)
        size = gross_change([TwoSamples(old, new)], 1e-9, LEVEL, POWER)[0]
        assert size is not None
        size *= spread / np.sqrt(sample.variance)  # the law is of the true deviation, the estimate takes its own
        (p,) = gross_p([TwoSamples(old, new - size)], 1e-9)
        assert p is not None
        found.append(p <= LEVEL)
    assert np.mean(found) == pytest.approx(POWER, abs=0.06)


def test_two_seeds_a_side_are_no_test(record: Record) -> None:
    two = seeds_of(record, 2)
    assert gross_change([TwoSamples(np.zeros(2), np.zeros(2))], 0.1, LEVEL, POWER) == [None]
    assert all(np.isnan(seen.change) for seen in could_see(two, two) if seen.change is not None)


def test_equal_rows_agree_and_an_invented_message_does_not(record: Record) -> None:
    honest, invented = seeds_of(record, 10), seeds_of(record, 10)
    assert list(disagreements(honest, honest)) == []
    first, *rest = record.to_json()["rows"]
    honest = [changed(one, rows=[{**first, "exact": False, "log10_p": -1.0}, *rest]) for one in honest]
    found = list(disagreements(invented, honest))
    assert any("exact match" in line and "better than chance allows" in line for line in found)
    assert any("log10 p" in line for line in found)
    assert any("worse than chance allows" in line for line in disagreements(honest, invented))


def test_results_where_there_are_none_do_not_agree(record: Record) -> None:
    honest = [changed(r, status="refused", reason="no room") for r in seeds_of(record, 3)]
    assert any("run again it gives no result" in line for line in disagreements(seeds_of(record, 3), honest))
    assert any("only run again it gives results" in line for line in disagreements(honest, seeds_of(record, 3)))


def test_the_power_is_said_for_every_line(record: Record) -> None:
    few, many = ("\n".join(power_lines(rows, rows)) for rows in (seeds_of(record, 3), seeds_of(record, 12)))
    assert "none of messages, for want of seeds" in few
    assert "a message lost in every seed" in many
    assert f"{record.key.model}, no mark, 3 seeds: accuracy" in few


def test_only_the_last_bits_may_be_another_processors(
    finished: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CWWM_MODELS", str(tiny / "models.yaml"))
    records, runtime = list(RecordStore(finished).records()), prepare(torch.device("cpu"), 1)
    runnable, others = sort_out(records, {**runtime, "processor": "another", "instruction_set": "AVX2"})
    assert not others
    assert all(one.differing == ("processor", "instruction_set") for one in runnable)
    assert all(one.cell.identity != one.record.identity for one in runnable)
    exact, rows, untested = by_conditions(runnable)
    assert (exact, rows, untested) == ([], [], 16), "two seeds are too few"
    assert rebuilt(records[0], {**runtime, "threads": 2}) == "their threads is 1, here it is 2"
    exact, _, _ = by_conditions(sort_out(records, runtime)[0])
    assert len(exact) == 16


def test_so_many_seeds_tell_that_every_message_is_lost(record: Record) -> None:
    def exact(count: int) -> list[float | None]:
        rows = seeds_of(record, count)
        return [seen.change for seen in could_see(rows, rows) if seen.metric == "exact match"]

    assert exact(SEEDS_FOR_MESSAGES) == [None, None]
    assert all(change is not None and np.isnan(change) for change in exact(SEEDS_FOR_MESSAGES - 1))


def test_rows_are_whole(record: Record) -> None:
    from bench.verification.rebuild import Rebuilt

    several = [Rebuilt(r, None, ("processor",)) for r in seeds_of(record, SEEDS)]  # type: ignore[arg-type]
    other = changed(record, key={**record.to_json()["key"], "attack": "another"})
    rows, left = rows_of([*several, Rebuilt(other, None, ("processor",))])  # type: ignore[arg-type]
    assert ([len(row) for row in rows], left) == ([SEEDS], 1)


def test_names_of_the_processor_are_no_difference(record: Record) -> None:
    recipe = copy.deepcopy(record.to_json()["recipe"])
    recipe["host"]["processor"] = "another"
    again = changed(record, identity="0" * 32, artefact="1" * 32, recipe=recipe)
    assert list(differences(record, again)) == []
    again = changed(again, identity=record.identity)
    assert len(list(differences(record, again))) == 2
    first, *rest = record.to_json()["rows"]
    again = changed(again, rows=[{**first, "log10_p": first["log10_p"] - 1e-12}, *rest])
    assert any("'rows' is another" in line for line in differences(record, again))


@pytest.mark.parametrize(("numerics", "said"), [("portable", "portable"), ("native", "native"), (7, "native")])
def test_numerics_are_as_the_first_record_says(finished: Path, tmp_path: Path, numerics: object, said: str) -> None:
    record = next(iter(RecordStore(finished).records())).to_json()
    record["recipe"]["host"]["numerics"] = numerics
    record["digest"] = record_digest(record)
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / f"{record['identity']}.json").write_text(json.dumps(record))
    assert recorded_numerics(RecordStore(tmp_path)) == said


OLD_KERNELS = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}  # stand for another processor


@pytest.mark.slow
def test_honest_results_of_another_processor_are_accepted_and_forged_ones_are_not(
    tiny: Path, tmp_path: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    out, suite = tmp_path / "theirs", tmp_path / "one.yaml"
    entries = (tiny / "tiny.yaml").read_text().partition("attacks:")[0]
    suite.write_text(f"{entries}attacks: [{{name: magnitude, strengths: [0.5, 0.89]}}]\n")
    environment = {**os.environ, **OLD_KERNELS, "CWWM_MODELS": str(tiny / "models.yaml"), "OMP_NUM_THREADS": "1"}
    command = ["run", suite, "--out", out, "--seeds", "5", "--scheme", "cwc", "--device", "cpu"]
    subprocess.run([sys.executable, "-m", "bench", *map(str, command)], env=environment, check=True)
    assert bench("check", out, "--sample", 1, "--device", "cpu") == 0
    said = capsys.readouterr().out
    assert "1 whole rows among them, recorded on another processor" in said
    assert "all is well; accepted: 5 of 5 cells run again" in said
    assert "but 1 rows of another processor have fewer than 8 seeds" in said

    def better(record: dict[str, Any]) -> None:
        for reading in (record["marked"], *record["rows"]):
            reading |= {"log10_p": -300.0}

    for path in (out / "cells").iterdir():
        record = json.loads(path.read_text())
        better(record)
        record["digest"] = record_digest(record)
        path.write_text(json.dumps(record))
    write(RecordStore(out))
    assert bench("check", out, "--sample", 1, "--device", "cpu") == 1
    assert "log10 p is -300 in the records" in capsys.readouterr().out


def facts(*arguments: str, **variables: str) -> dict[str, str]:
    """Return what a new process finds of its numerics once a command began with these arguments."""
    program = "import json, sys; from bench.support.numerics import begin, processor_facts; begin(sys.argv[1]) if sys.argv[1:] else None; print(json.dumps(processor_facts()))"  # noqa: E501
    environment = {k: v for k, v in os.environ.items() if k not in VARIABLES} | variables
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environment, check=True, capture_output=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_portable_numerics_begin_a_process_anew_and_name_no_processor() -> None:
    assert facts("portable") == {"numerics": "portable", "processor": "x86-64", "instruction_set": "AVX2"}
    native = facts("native", **VARIABLES)
    assert native["numerics"] == "native"
    assert native["processor"] != "x86-64"
    steered = facts(ATEN_CPU_CAPABILITY="default")
    assert steered["numerics"] == "ATEN_CPU_CAPABILITY='default'"
    assert steered["instruction_set"].startswith("DEFAULT")
