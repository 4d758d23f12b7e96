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
from bench.regression.compare import EQUAL, HELD, OPEN, WORSE
from bench.regression.curves import ACCURACY, EVIDENCE, EXACT, Place
from bench.regression.lines import ALL_MODELS, METRICS
from bench.regression.pairs import Changed
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
    """Compare with a run on another processor, where no record repeats bit by bit."""
    return here(old, elsewhere(new))


def here(old: Sequence[Json], new: Sequence[Json]) -> Comparison:
    """Compare two runs of equal conditions."""
    return compare_records(*(typed(side) for side in (old, new)))


def elsewhere(records: Sequence[Json], number: int = 0) -> list[Json]:
    """Return a run as one on another processor."""
    moved = copy.deepcopy(list(records))
    for record in moved:
        record["recipe"]["host"]["processor"] = f"processor {number}"
    return moved


def cwc_under_pruning(records: Sequence[Json], seed: int) -> Json:
    """Return the record of one cell of a run, to be changed."""
    wanted = {"model": "two", "scheme": "cwc", "attack": "magnitude", "seed": seed}
    return next(record for record in records if wanted.items() <= record["key"].items())


CHANGED_PLACE = Place("two", "cwc", 64, "magnitude")


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
    old, *runs = (typed(elsewhere(draw(template, range(seeds), stream, 0.2), stream)) for stream in range(31))
    assert [compare_records(old, run).is_worse for run in runs] == [False] * 30


def test_a_run_is_not_worse_than_itself(template: list[Json]) -> None:
    run = draw(template, range(6), 0)
    shuffled = random.Random(0).sample(run, len(run))
    found = here(run, shuffled)
    assert {j.verdict for j in found.judgements} == {EQUAL}
    assert found.repeated > 0
    assert not found.changed
    found = compare(run, shuffled)
    assert {j.verdict for j in found.judgements} == {HELD}
    assert not found.is_worse
    assert not found.repeated
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


@pytest.mark.parametrize("seeds", [1, 2, 3, 6])
def test_every_line_is_judged_or_says_how_many_seeds_would_judge_it(template: list[Json], seeds: int) -> None:
    found = compare(draw(template, range(seeds), 0), worsen(draw(template, range(seeds), 1), None, "cwc"))
    assert found.unjudged == len(found.of(OPEN))
    assert found.unjudged > 0 or seeds > 2
    assert found.is_worse or seeds < 6
    for judgement in found.judgements:
        assert (judgement.needed is None) == (judgement.verdict != OPEN)
        assert judgement.needed is None or judgement.needed > seeds


def test_the_seeds_that_a_line_asks_for_see_a_loss_in_all_of_them(template: list[Json]) -> None:
    one = draw(template, [0], 0)
    record = cwc_under_pruning(lost := copy.deepcopy(one), 0)
    record["rows"] = [{**row, "exact": False, "accuracy": {"correct": 9, "total": 450}} for row in record["rows"]]
    needed = {j.metric: j.needed for j in compare(one, lost).judgements if j.place == CHANGED_PLACE}
    assert needed[EXACT] > needed[ACCURACY] > 1  # type: ignore[operator]
    for metric, seeds in needed.items():
        if seeds is None:
            continue
        old = draw(template, range(seeds), 0)
        new = draw(template, range(seeds), 1)
        for seed in range(seeds):
            rows = cwc_under_pruning(new, seed)["rows"]
            for row, before in zip(rows, cwc_under_pruning(old, seed)["rows"], strict=True):
                before["exact"] = True
                row |= {"exact": False, "accuracy": {"correct": 9, "total": row["accuracy"]["total"]}}
        verdicts = {j.metric: j.verdict for j in compare(old, new).judgements if j.place == CHANGED_PLACE}
        assert verdicts[metric] == WORSE


@pytest.mark.parametrize(
    ("change", "worse"),
    [
        ({"exact": False}, (EXACT,)),
        ({"log10_p": -11.9}, (EVIDENCE,)),
        ({"log10_p": -12.1}, ()),
        ({"accuracy": {"correct": 40, "total": 450}}, (ACCURACY,)),
        ({"accuracy": {"correct": 398, "total": 450}}, ()),
        ({"exact": False, "log10_p": -1.0}, (EXACT, EVIDENCE)),
        ({"overlap": 0.5}, ()),
        ({"timing": {"attack_s": 9.0, "extract_ms": 9.0}}, None),
    ],
)
def test_one_reading_that_changed_under_equal_conditions_is_named(
    template: list[Json], change: Json, worse: tuple[str, ...] | None
) -> None:
    old = draw(template, [0], 0)
    row = cwc_under_pruning(old, 0)["rows"][0]
    row |= {"exact": True, "log10_p": -20.0, "overlap": 1.0, "accuracy": {"correct": 400, "total": 450}}
    new = copy.deepcopy(old)
    cwc_under_pruning(new, 0)["rows"][0] |= change
    found = here(old, new)
    if worse is None:
        assert not found.changed
        return
    assert found.changed == (
        Changed((CHANGED_PLACE, 0, row["strength"]), tuple(c for c in row if c in change), worse),
    )
    assert found.is_worse == bool(worse)
    assert {(j.place, j.metric) for j in found.regressions} == {(CHANGED_PLACE, metric) for metric in worse}
    others = {j.verdict for j in found.judgements if j.place.scheme != "cwc"}
    assert others == {EQUAL}
    assert not compare(old, new).changed, "elsewhere one seed says nothing"


def test_a_seed_that_only_the_baseline_has_costs_nothing_and_one_that_only_the_new_run_has_is_tested(
    template: list[Json],
) -> None:
    many, few = draw(template, range(6), 0), draw(template, range(2), 0)
    assert {j.verdict for j in here(many, few).judgements} == {EQUAL}
    assert EQUAL not in {j.verdict for j in here(few, many).judgements}


def test_a_small_change_of_every_seed_is_found_in_pairs(template: list[Json]) -> None:
    """Seeds differ by far more than the deviation that was lost, so that nothing shows without pairing them."""
    runs = draw(template, range(6), 0), draw(template, range(6), 0)
    for lost, run in enumerate(runs):
        for record in run:
            if record["key"]["scheme"] == "cwc":
                for row in record["rows"]:
                    row["log10_p"] = -((9.0 + 2.0 * record["key"]["seed"] - lost) ** 2) / (2 * np.log(10))
    old, new = runs
    found = compare(old, new)
    assert {(j.place.scheme, j.metric) for j in found.regressions} == {("cwc", EVIDENCE)}
    assert {j.place.model for j in found.regressions} >= {"one", "two", "three"}
    assert set(METRICS) == {j.metric for j in found.judgements}
