"""What the committed records of suite `compression-anchors` show: the papers' settings on LeNet-5, three seeds."""

from pathlib import Path
from statistics import fmean

import pytest

from bench.leaderboard.points import Point, gather
from bench.records.store import RecordStore
from bench.studies.compression import lost

pytestmark = pytest.mark.results

FOLDER = Path(__file__).resolve().parent.parent / "results" / "compression-anchors"
SEEDS = 3


@pytest.fixture(scope="module")
def points() -> dict[str, Point]:
    found = {point.attack: point for point in gather(RecordStore(FOLDER).records())}
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
    """The papers' bits cost nothing here even at once, so no point is there to win; a bit less costs."""
    assert final_loss(points["levels at once"]) <= 0.5
    assert final_loss(points["levels in rounds"]) <= final_loss(points["levels at once"]) + 0.5
    few, at_once = points["levels in rounds, a bit less"], points["levels at once, a bit less"]
    assert mean(few, "data_ratio") > 3000
    assert final_loss(few) <= 2.5
    assert final_loss(few) <= final_loss(at_once) - 3


def test_crossbars_at_sixteen_times(points: dict[str, Point]) -> None:
    plain, one_shot = points["memristor 5 bits"], points["one-shot structured"]
    assert mean(plain, "ratio") >= 15
    assert mean(plain, "hard_accuracy") >= mean(one_shot, "hard_accuracy") + 20
    assert base(plain) - mean(plain, "pruned_accuracy") <= 1.0
    assert mean(plain, "pruned_accuracy") - mean(plain, "quantised_accuracy") <= 0.7
    varied = points["memristor 5 bits, variation 0.1"]
    assert final_loss(varied) - (base(varied) - mean(varied, "quantised_accuracy")) <= 1.0


COMPRESSION = FOLDER.parent / "compression"
UNSTRUCTURED = ("admm-prune (updates=3, retrain=5)", "admm-compress, clusters", "gradual magnitude",
                "magnitude + finetune", "quantise affine", "quantise channel", "quantise-torch")  # fmt: skip


@pytest.fixture(scope="module")
def compressed() -> list[Point]:
    return list(gather(RecordStore(COMPRESSION).records()))


def whole(points: list[Point], scheme: str, attack: str) -> float:
    """Return the share of messages recovered over all models, seeds and strengths of an attack."""
    rows = [
        run.row.recovered
        for point in points
        if (point.scheme, point.attack) == (scheme, attack)
        for run in point.runs
    ]
    assert len(rows) >= 4
    return fmean(rows)


@pytest.mark.parametrize("attack", UNSTRUCTURED)
def test_the_protected_code_outlives_unstructured_compression(compressed: list[Point], attack: str) -> None:
    assert whole(compressed, "protected-cwc", attack) == 1


def test_no_encoding_outlives_removed_channels(compressed: list[Point]) -> None:
    schemes = {point.scheme for point in compressed}
    assert len(schemes) == 13
    assert all(whole(compressed, scheme, "structured-removed + finetune") == 0 for scheme in schemes)
