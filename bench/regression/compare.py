"""Compares two runs of a suite: which exact-match rates, log10 p and accuracies got worse beyond their interval.

What may differ without a fault: on one machine with the same versions nothing, for records repeat bit by bit. On
another machine, with another version of torch, or after a change of the order in which random numbers are drawn,
each seed is in effect another draw. So seeds are the sample, and the yardstick is how much seeds differ. Each line
of the table is a (scheme, payload, attack) and a metric, on one model or on all of them, and is judged by

- an exact rank-sum test with a reading a strength and a block a model, which supposes nothing of how seeds vary
  (`exact_test`), and
- on one model, for log10 p and accuracy, a t-test that sees gross changes in few seeds (`gross_test`).

Both take the seeds of the two runs as independent draws. Those with the same number have the same key, and on the
same machine the same host, so they agree more than that, which makes false alarms rarer still. Holm's procedure
bounds the chance of one false alarm in the whole table, over those tests that could raise one at all (`family`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.records.record import Record
from bench.records.schema import NOT_NEEDED
from bench.regression.curves import (
    ACCURACY,
    EVIDENCE,
    EXACT,
    UNATTACKED,
    Curve,
    Floats,
    Place,
    curves,
    deviations,
)
from bench.regression.multiplicity import holm, judgeable
from bench.regression.pooled_t import TwoSamples, gross_p
from bench.regression.rank_sum import rank_sum_p

FAMILY_WISE = 1e-3
ALL_MODELS = "all models"

Pair = tuple[Floats, Floats]  # (old, new), each (seeds, strengths)


@dataclass(frozen=True)
class Scale:
    """How the gross test sees a metric, and the least deviation between seeds that it believes."""

    values: Callable[[Floats], Floats]
    least_deviation: float


SCALES = {EVIDENCE: Scale(deviations, 0.1), ACCURACY: Scale(lambda percent: percent, 0.25)}


class Side(NamedTuple):
    """What one run has of a line: the mean, the least and the largest over seeds (and models), and their number."""

    mean: float
    least: float
    largest: float
    seeds: int


class Judgement(NamedTuple):
    """One line of the table.

    Attributes:
        place: the curve; its model is ALL_MODELS where all are judged together.
        metric: EXACT (share), EVIDENCE (log10) or ACCURACY (percent), each the mean over the strengths.
        p: of the clearer of its tests, adjusted by Holm over the table; 1 where neither could reject anything.
    """

    place: Place
    metric: str
    before: Side
    after: Side
    p: float


@dataclass(frozen=True)
class Comparison:
    """What two runs differ in.

    Attributes:
        judgements: the whole table, the smallest p first.
        unjudged: lines that no test could have rejected, for want of seeds.
        lost: curves of the old run that were run again and gave no result, with the reason.
        vanished, new: curves with the strengths that only the old or only the new run has.
    """

    judgements: tuple[Judgement, ...]
    unjudged: int
    lost: Mapping[Place, str]
    vanished: Mapping[Place, tuple[float, ...]]
    new: Mapping[Place, tuple[float, ...]]

    @property
    def regressions(self) -> tuple[Judgement, ...]:
        """Return what got worse beyond its interval."""
        return tuple(j for j in self.judgements if j.p <= FAMILY_WISE)

    @property
    def is_worse(self) -> bool:
        """Say whether anything got worse, or can no longer be measured."""
        return bool(self.regressions or self.lost)


class _Test(NamedTuple):
    """One test of the line (place, metric), and the least p-value that it could have given."""

    place: Place
    metric: str
    p: float
    least: float


def compare(old: Sequence[Record], new: Sequence[Record]) -> Comparison:
    """Return how the records of a new run differ from those of an old one of the same suite."""
    before, after = curves(old), curves(new)
    lines = compared_lines(before, after)
    tests = [*_exact_tests(lines), *_gross_tests(lines)]
    can = judgeable([test.least for test in tests], FAMILY_WISE)
    made = [test for test, may in zip(tests, can, strict=True) if may]
    adjusted = dict.fromkeys(lines, 1.0)
    for test, p in zip(made, holm([test.p for test in made]), strict=True):
        line = test.place, test.metric
        adjusted[line] = min(adjusted[line], float(p))
    judged = [Judgement(p, m, *_sides(blocks), adjusted[p, m]) for (p, m), blocks in lines.items()]
    lost = _lost(before, after, new)
    return Comparison(
        judgements=tuple(sorted(judged, key=lambda j: j.p)),
        unjudged=len(lines.keys() - {(test.place, test.metric) for test in made}),
        lost=lost,
        vanished={place: rows for place, rows in _only(before, after).items() if place not in lost},
        new=_only(after, before),
    )


def compared_lines(
    before: Mapping[Place, Curve], after: Mapping[Place, Curve]
) -> dict[tuple[Place, str], list[Pair]]:
    """Return the blocks of each line of the table: a curve, or all models together, and a metric."""
    metrics = (EXACT, EVIDENCE, ACCURACY)
    return {(place, m): blocks for m in metrics for place, blocks in _lines(before, after, m).items()}


def _lines(before: Mapping[Place, Curve], after: Mapping[Place, Curve], metric: str) -> dict[Place, list[Pair]]:
    """Return the blocks of each line of a metric: a line a curve, and one for all models if there are several."""
    single = {
        place: [pair]
        for place in before
        if place in after and (pair := _values(before[place], after[place], metric)) is not None
    }
    groups: dict[Place, list[Pair]] = {}
    for place, blocks in single.items():
        groups.setdefault(place._replace(model=ALL_MODELS), []).extend(blocks)
    return single | {place: blocks for place, blocks in groups.items() if len(blocks) > 1}


def _values(old: Curve, new: Curve, metric: str) -> Pair | None:
    """Return old and new values at the strengths of both, or None where there is nothing to compare."""
    strengths = old.strengths & new.strengths
    if not strengths or not (old.has(metric) and new.has(metric)):
        return None
    pair = old.values(metric, strengths), new.values(metric, strengths)
    return pair if all(map(len, pair)) else None


_Lines = Mapping[tuple[Place, str], Sequence[Pair]]


def _exact_tests(lines: _Lines) -> list[_Test]:
    results = ((place, metric, rank_sum_p([_better(pair, metric) for pair in blocks]))
               for (place, metric), blocks in lines.items())  # fmt: skip
    return [_Test(place, metric, result.p, result.least) for place, metric, result in results]


def _better(pair: Pair, metric: str) -> Pair:
    """Return values of which larger ones are better."""
    return (-pair[0], -pair[1]) if metric == EVIDENCE else pair


def _gross_tests(lines: _Lines) -> list[_Test]:
    groups: dict[tuple[str, str], dict[Place, TwoSamples]] = {}
    for (place, metric), blocks in lines.items():
        if metric in SCALES and place.model != ALL_MODELS:
            sides = (SCALES[metric].values(side).mean(axis=1) for side in blocks[0])
            groups.setdefault((place.attack, metric), {})[place] = TwoSamples(*sides)
    return [
        _Test(place, metric, p, 0.0)
        for (_, metric), rows in groups.items()
        for place, p in zip(rows, gross_p(list(rows.values()), SCALES[metric].least_deviation), strict=True)
        if p is not None
    ]


def _sides(blocks: Sequence[Pair]) -> tuple[Side, Side]:
    old, new = (np.concatenate([block[side].mean(axis=1) for block in blocks]) for side in (0, 1))
    return _side(old), _side(new)


def _side(values: Floats) -> Side:
    return Side(float(values.mean()), float(values.min()), float(values.max()), len(values))


def _lost(before: Mapping[Place, Curve], after: Mapping[Place, Curve], new: Iterable[Record]) -> dict[Place, str]:
    """Return the curves that have no result now although their cells were run."""
    reasons: dict[Place, str] = {}
    for record in new:
        place = Place(*record.key.curve)
        if record.status not in ("ok", NOT_NEEDED) and place in before and place not in after:
            reasons[place] = f"{record.status}: {record.reason}"
    return reasons


def _only(one: Mapping[Place, Curve], other: Mapping[Place, Curve]) -> dict[Place, tuple[float, ...]]:
    """Return the strengths that only `one` has, by curve."""
    missing = {
        place: tuple(sorted(curve.strengths - (other[place].strengths if place in other else set())))
        for place, curve in one.items()
        if place.attack != UNATTACKED
    }
    return {place: strengths for place, strengths in missing.items() if strengths}
