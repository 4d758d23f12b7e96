"""What the committed records of suite `compression-anchors` show: the papers' settings on LeNet-5, three seeds."""

from statistics import fmean

import pytest

from bench.leaderboard.points import Point
from bench.studies.compression import lost
from tests.figures.compression import SUITE
from tests.figures.sources import points as points_of
from tests.figures.sources import recovered, rows_of, trained

pytestmark = pytest.mark.results

SEEDS = 3


@pytest.fixture(scope="module")
def points() -> dict[str, Point]:
    found = {point.attack: point for point in points_of("compression-anchors")}
    assert all(len(point.runs) == SEEDS for point in found.values())
    return found


def mean(point: Point, name: str) -> float:
    """Return the mean over seeds of what an attack achieved."""
    value = point.mean(lambda run: getattr(run.row.achieved, name))
    assert value is not None
    return value


def final_loss(point: Point) -> float:
    return fmean(lost(run) for run in point.runs)


def base(point: Point) -> float:
    return fmean(run.record.host.accuracy.percent for run in point.runs)


def test_seventy_one_times_by_admm(points: dict[str, Point]) -> None:
    long, short, one_shot = (points[name] for name in ("admm-prune long", "admm-prune short", "one-shot magnitude"))
    for point in (long, short, one_shot):
        assert mean(point, "ratio") == pytest.approx(71.2, abs=0.1)
    assert mean(long, "hard_accuracy") >= 90
    assert final_loss(long) <= 0.5
    assert mean(short, "hard_accuracy") >= mean(one_shot, "hard_accuracy") + 20
    assert final_loss(short) <= 1.5


@pytest.mark.parametrize("label", ["levels in rounds", "clusters"])
def test_a_hundred_and_sixty_seven_times_with_few_bits(label: str, points: dict[str, Point]) -> None:
    point = points[label]
    assert mean(point, "weight_ratio") == pytest.approx(167.2, abs=0.1)
    assert 1900 <= mean(point, "data_ratio") <= 1940
    assert base(point) - mean(point, "pruned_accuracy") <= 1.0
    assert final_loss(point) <= 2.0
    for run in point.runs:
        for layer in run.row.achieved.storage.values():
            assert layer["distinct"] <= 2 ** layer["bits"]


def test_snapping_in_rounds_beats_snapping_at_once_where_the_bits_cost_anything(points: dict[str, Point]) -> None:
    """The papers' bits cost four images of 257 at most either way, so no point is to be won; a bit less costs."""
    assert final_loss(points["levels at once"]) <= 4 / 2.57
    assert final_loss(points["levels in rounds"]) <= 4 / 2.57
    few, at_once = points["levels in rounds, a bit less"], points["levels at once, a bit less"]
    assert mean(few, "data_ratio") > 3000
    assert final_loss(few) <= 5
    assert final_loss(few) <= final_loss(at_once) - 3


def test_crossbars_at_sixteen_times(points: dict[str, Point]) -> None:
    plain, one_shot = points["memristor 5 bits"], points["one-shot structured"]
    assert mean(plain, "ratio") >= 15
    assert mean(plain, "hard_accuracy") >= mean(one_shot, "hard_accuracy") + 20
    assert base(plain) - mean(plain, "pruned_accuracy") <= 1.0
    assert mean(plain, "pruned_accuracy") - mean(plain, "quantised_accuracy") <= 0.7
    varied = points["memristor 5 bits, variation 0.1"]
    assert final_loss(varied) - (base(varied) - mean(varied, "quantised_accuracy")) <= 1.0


def test_no_encoding_outlives_removed_channels() -> None:
    schemes = {record.key.scheme for record in trained(SUITE)}
    assert len(schemes) == 13
    assert not any(recovered(rows_of(SUITE, scheme, "structured-removed + finetune")) for scheme in schemes)
