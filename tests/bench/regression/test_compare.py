"""Comparisons of records: real ones, with their seeds drawn again from what real seeds look like."""

import copy
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.records.schema import Json
from bench.records.store import RecordStore
from bench.regression import Comparison
from bench.regression import compare as compare_records
from bench.regression.compare import ALL_MODELS
from bench.regression.curves import ACCURACY, EVIDENCE, EXACT
from tests.bench.invented import typed

Bench = Callable[..., int]
MODELS = ("one", "two", "three")


@pytest.fixture(scope="module")
def template(finished: Path) -> list[Json]:
    """Return the records of one real seed."""
    return [record.to_json() for record in RecordStore(finished).records() if record.key.seed == 0]


def draw(template: Sequence[Json], seeds: Sequence[int], stream: int, ruin: float = 0.0) -> list[Json]:
    """Return a run on three models: each seed with its own luck, a share of them with a ruined training."""
    drawn = []
    for model in MODELS:
        for seed in seeds:
            luck = np.random.default_rng([stream, seed, MODELS.index(model)])
            ruined, steady = luck.random() < ruin, luck.normal()
            for record in copy.deepcopy(template):
                record["key"] |= {"model": model, "seed": seed}
                vary(record["marked"], ruined, steady)
                for row in record["rows"]:
                    vary(row, ruined, steady + 0.3 * luck.normal())
                drawn.append(record)
    return drawn


def compare(old: Sequence[Json], new: Sequence[Json]) -> Comparison:
    return compare_records(*(typed(side) for side in (old, new)))


def vary(reading: Json, ruined: bool, luck: float) -> None:
    reading["log10_p"] *= 0.3 if ruined else 1 + 0.05 * luck
    reading["exact"] = bool(reading["exact"]) and not ruined
    share = 0.4 if ruined else 1 + 0.01 * luck
    accuracy = reading["accuracy"]
    accuracy["correct"] = min(accuracy["total"], round(accuracy["correct"] * share))


def worsen(records: Sequence[Json], model: str | None, scheme: str) -> list[Json]:
    changed = copy.deepcopy(list(records))
    for record in changed:
        if record["key"]["scheme"] == scheme and model in (None, record["key"]["model"]):
            for row in record["rows"]:
                row["log10_p"] *= 0.5
    return changed


@pytest.mark.parametrize("seeds", [3, pytest.param(6, marks=pytest.mark.slow)])
def test_other_draws_of_all_seeds_raise_no_alarm(template: list[Json], seeds: int) -> None:
    """Thirty nightly runs with other seeds than the baseline's, of which some are ruined."""
    runs = [draw(template, range(seeds), stream, ruin=0.2) for stream in range(31)]
    assert [compare(runs[0], run).is_worse for run in runs[1:]] == [False] * 30


def test_a_run_is_not_worse_than_itself(template: list[Json]) -> None:
    run = draw(template, range(6), 0)
    found = compare(run, random.Random(0).sample(run, len(run)))
    assert not found.is_worse
    assert not found.vanished
    assert not found.new
    assert all(j.before == j.after for j in found.judgements)


def test_a_change_of_one_scheme_is_named_and_no_other(template: list[Json]) -> None:
    old, new = draw(template, range(6), 0), worsen(draw(template, range(6), 1), None, "cwc")
    found = compare(old, new)
    assert found.is_worse
    assert {j.place.scheme for j in found.regressions} == {"cwc"}
    assert {j.metric for j in found.regressions} == {EVIDENCE}
    assert ALL_MODELS in {j.place.model for j in found.regressions}


def test_three_seeds_see_a_gross_change_on_one_model(template: list[Json]) -> None:
    old = draw(template, range(3), 3)
    new = copy.deepcopy(old)
    for record in new:
        if record["key"]["model"] == "two":
            for row in record["rows"]:
                row["accuracy"]["correct"] //= 8
    found = compare(old, new)
    assert found.is_worse
    assert {(j.place.model, j.metric) for j in found.regressions} == {("two", ACCURACY)}


def test_messages_that_no_longer_come_back_are_seen_by_the_exact_test(template: list[Json]) -> None:
    old = draw(template, range(8), 4)
    new = draw(template, range(8), 5)
    for record in new:
        if record["key"]["scheme"] == "cwc":
            for row in record["rows"]:
                row["exact"] = False
    found = compare(old, new)
    assert {(j.place.scheme, j.place.model, j.metric) for j in found.regressions} == {("cwc", ALL_MODELS, EXACT)}


def test_what_vanished_is_new_or_gives_no_result_is_listed(template: list[Json]) -> None:
    old, new = draw(template, range(3), 0), draw(template, range(3), 0)
    new = [record for record in new if record["key"]["attack"] != "random"]
    for record in new:
        if record["key"]["attack"] == "structured":
            record |= {"status": "refused", "reason": "the host is too small"}
        if record["key"]["attack"] == "magnitude":
            record["rows"][-1]["strength"] = 0.97
    found = compare(old, new)
    assert {place.attack for place in found.lost} == {"structured"}
    assert set(found.lost.values()) == {"refused: the host is too small"}
    assert {(p.attack, rows) for p, rows in found.vanished.items()} == {
        ("random", (0.02, 0.3)),
        ("magnitude", (0.95,)),
    }
    assert {(p.attack, rows) for p, rows in found.new.items()} == {("magnitude", (0.97,))}
    assert found.is_worse, "a curve that was measured and gives no result any more is a regression"


def test_one_seed_judges_nothing_and_says_so(template: list[Json]) -> None:
    found = compare(draw(template, [0], 0), draw(template, [0], 1))
    assert found.unjudged == len(found.judgements) > 0
    assert not found.regressions
