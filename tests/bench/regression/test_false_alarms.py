"""The study of the nightly gate's alarms: what a drawn night is, what is planted, and what the page says."""

import copy
import re
from pathlib import Path

import pytest

from bench.records.schema import Json
from bench.regression import baseline
from bench.regression.curves import ACCURACY, EVIDENCE, EXACT
from bench.studies.false_alarms import DROPS, Pair, app, elsewhere, here, planted, results, smallest
from cwwm.support.console import run_app
from cwwm.support.errors import BadInput
from tests.bench.invented import Outcome, attacked, record_store_of, typed

SEEDS = range(6)
BY_METRIC = {drop.metric: drop for drop in DROPS}


def invented(shift: float, processor: str) -> list[Json]:
    """Return two schemes on two hosts with six seeds, whose accuracy differs by so many points between two runs."""
    made = [
        attacked(scheme, "magnitude", Outcome(1, True, 0.3 * seed + shift * (-1) ** seed), model=model, seed=seed)
        for scheme in ("one", "two")
        for model in ("m", "n")
        for seed in SEEDS
    ]
    said = {"device": "cpu", "threads": 1, "torch": "2", "timm": "1", "numerics": "n", "instruction_set": "i"}
    for record in (made := copy.deepcopy(made)):
        record["recipe"]["host"] |= {**said, "processor": processor}
    return made


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair.of(*(results(typed(run)) for run in (invented(0.0, "p"), invented(0.1, "q"))))


@pytest.mark.parametrize("seeds", [3, 6])
def test_a_night_swaps_whole_hosts_and_keeps_every_cell(pair: Pair, seeds: int) -> None:
    old, new = pair.night(5, seeds)
    assert pair.night(5, seeds) == (old, new)
    assert len(old) == len(pair.old)
    assert len({record.key.seed for record in new}) == seeds
    sides = {(r.key.model, r.key.seed, r.recipe.host.processor) for r in old}
    assert len(sides) == len(pair.hosts)  # a host is of one side, with all its schemes
    assert {processor for _, _, processor in sides} == {"p", "q"}
    for record in new:
        assert (record.key.model, record.key.seed, record.recipe.host.processor) not in sides


@pytest.mark.parametrize("metric", [ACCURACY, EVIDENCE, EXACT])
def test_a_drop_is_planted_in_one_place(pair: Pair, metric: str) -> None:
    drop, place = BY_METRIC[metric], pair.places[0]
    size = drop.sizes[2]
    for record, now in zip(pair.old, planted(pair.old, place, drop, size, pair.seeds), strict=True):
        hit = (record.key.scheme, record.key.attack) == place and (metric != EXACT or record.key.seed < size)
        assert (record.rows != now.rows) == hit
        assert now.host == record.host
        for row, other in zip(record.rows, now.rows, strict=True) if hit else ():
            assert other.accuracy.percent <= row.accuracy.percent
            assert other.log10_p >= row.log10_p
            assert other.recovered <= row.recovered


def test_one_lost_message_is_enough_under_equal_conditions_and_not_elsewhere(pair: Pair) -> None:
    lost = BY_METRIC[EXACT]
    assert here(pair, lost, 1) == 1.0
    assert elsewhere(pair, lost, 6, 4, 1) == 0.0
    assert elsewhere(pair, lost, 6, 4, 6) == 1.0


def test_the_smallest_size_that_is_found_often_enough_is_told() -> None:
    drop = BY_METRIC[ACCURACY]
    assert smallest(drop, lambda size: size / 4) == "4 (found in 100 %)"
    assert smallest(drop, lambda _: 0.79) == "none up to 24"


def test_runs_without_a_common_cell_are_refused(pair: Pair) -> None:
    with pytest.raises(BadInput, match="run the same suite"):
        Pair.of(pair.old, [])


def test_the_page_tells_all_three(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record_store_of(tmp_path / "baselines" / "nightly-cpu", "nightly-cpu", invented(0.0, "p"))
    record_store_of(tmp_path / "other", "nightly-cpu", invented(0.1, "q"))
    again = [record for record in invented(0.0, "p") if record["key"]["seed"] == 0]
    record_store_of(tmp_path / "again", "nightly-cpu", again)
    monkeypatch.setattr(baseline, "BASELINES", tmp_path / "baselines")
    folders, page = [str(tmp_path / name) for name in ("other", "again")], tmp_path / "page.md"
    few = ["--nights", "3", "--tried", "1"]
    assert run_app(app, "study", [*folders, "-o", str(page), *few]) == 0
    said = page.read_text()
    assert "0 changed: the night does not fail" in said
    assert re.search(r"\| 6 +\| 3 +\| 0 +\| 0\.000 to 0\.708 \|", said)
    assert re.search(r"\| exact match +\| seeds a host [a-z ]+\| 1 \(found in 100 %\)", said)
    capsys.readouterr()
    assert run_app(app, "study", [*folders[:1] * 2, "-o", str(page), *few]) == 2
    assert "has other conditions" in capsys.readouterr().err
