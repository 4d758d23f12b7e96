"""What the committed records of suite `protected` show: the claims that the project makes about its own code."""

from statistics import fmean

import pytest

from bench.records.schema import TrainedResult
from tests.figures.sources import trained

pytestmark = pytest.mark.results

MODELS, SEEDS = 3, 5
#: attack and the largest strength at which every message must are recovered
MUST = [
    ("magnitude", 0.98),
    ("random", 0.6),
    ("structured", 0.5),
    ("noise", 0.2),
    ("quantise", 4),
    ("quantise (channel)", 4),
    ("magnitude + finetune", 0.95),
    ("random + finetune", 0.5),
    ("finetune", 1.0),
]


@pytest.fixture(scope="module")
def records() -> list[TrainedResult]:
    return list(trained("protected"))


@pytest.mark.parametrize(("attack", "strength"), MUST)
def test_every_message_comes_back_whole(attack: str, strength: float, records: list[TrainedResult]) -> None:
    rows = [
        row for record in records if record.key.attack == attack for row in record.rows if row.strength == strength
    ]
    assert len(rows) == MODELS * SEEDS
    assert all(row.recovered for row in rows)


def test_marking_costs_less_than_half_a_point(records: list[TrainedResult]) -> None:
    marks = {(r.key.model, r.key.seed): r for r in records}
    assert len(marks) == MODELS * SEEDS
    lost = [r.host.accuracy.percent - r.marked.accuracy.percent for r in marks.values()]
    assert fmean(lost) <= 0.5


def test_the_code_is_the_one_claimed(records: list[TrainedResult]) -> None:
    for record in records:
        assert record.recipe.scheme.parameters == {"carrier": "body", "blocks": 160}
        assert record.marked.report.pool >= 270_000
        assert 160 * 256 / record.marked.report.pool <= 0.15
