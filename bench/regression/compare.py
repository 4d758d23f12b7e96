"""Compares two runs of a suite, the same cell of the same seed: what changed, and what got worse beyond chance.

Where a cell was run under equal conditions, on one processor with the same versions or with portable numerics, its
record repeats bit by bit: there every reading that changed is named, and one that lost its message, its proof or
accuracy fails the run by itself (`bench.regression.pairs`).

Elsewhere, or after a change that moved every number, each seed is in effect another draw. So seeds are the sample,
and the yardstick is how much seeds differ. Each line of the table is a (scheme, payload, attack) and a metric, on
one model or on all of them, and is judged by

- an exact rank-sum test with a reading a strength and a block a model, which supposes nothing of how seeds vary and
  takes the seeds of both runs as independent draws (`rank_sum`),
- an exact test of the differences within the same seeds, McNemar's where messages are counted (`signed_rank`), and
- on one model, for log10 p and accuracy, two t-tests, of both samples and of the differences, which see gross
  changes in few seeds (`pooled_t`).

Holm's procedure bounds the chance of one false alarm in the whole table, over those tests that could raise one at
all. A line that none of them can judge says how many seeds would.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import NamedTuple

import numpy as np

from bench.records.record import Record
from bench.records.schema import NOT_NEEDED
from bench.regression.curves import ACCURACY, EVIDENCE, EXACT, UNATTACKED, Curve, Floats, Place, curves, deviations
from bench.regression.lines import ALL_MODELS, Block, Line, Lines, compared_lines, seed_means
from bench.regression.multiplicity import holm, judgeable
from bench.regression.pairs import Changed, Repeated, Spot, repeated
from bench.regression.pooled_t import FREEDOM, TwoSamples, gross_p
from bench.regression.rank_sum import rank_sum_p
from bench.regression.signed_rank import paired_t_p, signed_rank_p

FAMILY_WISE = 1e-3
EQUAL, HELD, WORSE, OPEN = "equal", "not worse", "worse", "too few seeds"
_MOST_SEEDS = 10_000
_TESTS = 4  # of a line, at most


@dataclass(frozen=True)
class Scale:
    """How the t-tests see a metric, and the least deviation between seeds that they believe."""

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
        p: of the clearest of its tests, adjusted by Holm over the table; 1 where none could reject anything.
        verdict: EQUAL in every seed, bit by bit; HELD; WORSE; or OPEN, where some seed got worse and no test could
            have told that from chance.
        needed: seeds a side that would judge an OPEN line; else None.
    """

    place: Place
    metric: str
    before: Side
    after: Side
    p: float
    verdict: str
    needed: int | None = None


@dataclass(frozen=True)
class Comparison:
    """What two runs differ in.

    Attributes:
        judgements: the whole table, what is worse first, then the smallest p.
        repeated: how many readings were made under equal conditions. changed: those of them that are others now.
        lost: curves of the old run that were run again and gave no result, with the reason.
        vanished, new: curves with the strengths that only the old or only the new run has.
    """

    judgements: tuple[Judgement, ...]
    repeated: int
    changed: tuple[Changed, ...]
    lost: Mapping[Place, str]
    vanished: Mapping[Place, tuple[float, ...]]
    new: Mapping[Place, tuple[float, ...]]

    @property
    def regressions(self) -> tuple[Judgement, ...]:
        """Return what got worse beyond its interval."""
        return self.of(WORSE)

    @property
    def unjudged(self) -> int:
        """Return how many lines have too few seeds."""
        return len(self.of(OPEN))

    def of(self, verdict: str) -> tuple[Judgement, ...]:
        """Return the lines of a verdict."""
        return tuple(j for j in self.judgements if j.verdict == verdict)

    @property
    def is_worse(self) -> bool:
        """Say whether anything got worse, or can no longer be measured."""
        return bool(self.regressions or self.lost)


class _Test(NamedTuple):
    """One test of a line, and the least p-value that it could have given."""

    line: Line
    p: float
    least: float


def compare(old: Sequence[Record], new: Sequence[Record]) -> Comparison:
    """Return how the records of a new run differ from those of an old one of the same suite."""
    before, after = curves(old), curves(new)
    lines, same = compared_lines(before, after), repeated(old, new, FAMILY_WISE)
    equal = {line for line, blocks in lines.items() if all(_is_equal(line, block, same) for block in blocks)}
    adjusted = _adjusted({line: blocks for line, blocks in lines.items() if line not in equal})
    judge = _Judge(lines, equal, adjusted, same)
    lost = _lost(before, after, new)
    return Comparison(
        judgements=tuple(sorted(map(judge, lines), key=lambda j: (j.verdict != WORSE, j.p))),
        repeated=len(same.spots),
        changed=tuple(same.changed.values()),
        lost=lost,
        vanished={place: rows for place, rows in _only(before, after).items() if place not in lost},
        new=_only(after, before),
    )


def _is_equal(line: Line, block: Block, same: Repeated) -> bool:
    """Say whether every new seed repeats an old one under equal conditions, with equal values of the metric."""
    place = line.place._replace(model=block.model)
    spots = (Spot(place, seed, strength) for seed in block.new_seeds for strength in block.strengths)
    return block.all_paired and all(spot in same.spots for spot in spots) and np.array_equal(*block.paired)


def _adjusted(lines: Lines) -> dict[Line, float]:
    """Return the p-value of each line that a test could reject, adjusted over all of these."""
    tests = [*_exact_tests(lines), *_gross_tests(lines)]
    can = judgeable([test.least for test in tests], FAMILY_WISE)
    made = [test for test, may in zip(tests, can, strict=True) if may]
    adjusted: dict[Line, float] = {}
    for test, p in zip(made, holm([test.p for test in made]), strict=True):
        adjusted[test.line] = min(adjusted.get(test.line, 1.0), float(p))
    return adjusted


@dataclass(frozen=True)
class _Judge:
    """Gives the judgement of a line.

    Attributes:
        lines: all of them. equal: those that are equal bit by bit. adjusted: p-values of those that were tested.
        same: what was read under equal conditions.
    """

    lines: Lines
    equal: set[Line]
    adjusted: Mapping[Line, float]
    same: Repeated

    def __call__(self, line: Line) -> Judgement:
        """Return the judgement."""
        p, sides = self.adjusted.get(line, 1.0), _sides(self.lines[line])
        verdict = self._verdict(line, p)
        return Judgement(*line, *sides, p, verdict, self._needed(line) if verdict == OPEN else None)

    def _verdict(self, line: Line, p: float) -> str:
        if line in self.equal:
            return EQUAL
        if p <= FAMILY_WISE or self.same.worse_at(*line):
            return WORSE
        blocks = self.lines[line]
        if line in self.adjusted or all(_none_is_worse(block, line.metric) for block in blocks):
            return HELD
        seeds = min(min(len(block.old), len(block.new)) for block in blocks)
        return HELD if seeds >= self._needed(line) else OPEN

    def _needed(self, line: Line) -> int:
        """Return the seeds a side with which a change for the worse of every seed would be seen, at the most."""
        level, models = FAMILY_WISE / (_TESTS * len(self.lines)), len(self.lines[line])
        exact = next(n for n in range(1, _MOST_SEEDS) if comb(2 * n, n) ** models * level >= 1)
        return exact if line.metric == EXACT or models > 1 else min(exact, FREEDOM // 2 + 1)


def _none_is_worse(block: Block, metric: str) -> bool:
    """Say whether every new seed has a partner, and none is worse than that, over all strengths."""
    return block.all_paired and bool(np.all(_differences(block, metric) >= 0))


def _differences(block: Block, metric: str) -> Floats:
    """Return new minus old of each pair, the mean over the strengths, larger being better."""
    old, new = block.paired
    values = SCALES[metric].values if metric in SCALES else lambda shares: shares
    return seed_means(values(new) - values(old))


def _exact_tests(lines: Lines) -> Iterator[_Test]:
    for line, blocks in lines.items():
        dealt = rank_sum_p([_better(block, line.metric) for block in blocks])
        yield _Test(line, dealt.p, dealt.least)
        tossed = signed_rank_p(np.concatenate([_differences(block, line.metric) for block in blocks]))
        yield _Test(line, tossed.p, tossed.least)


def _better(block: Block, metric: str) -> tuple[Floats, Floats]:
    """Return values of which larger ones are better."""
    return (-block.old, -block.new) if metric == EVIDENCE else (block.old, block.new)


def _gross_tests(lines: Lines) -> Iterator[_Test]:
    groups: dict[tuple[str, str], dict[Line, Block]] = {}
    for line, blocks in lines.items():
        if line.metric in SCALES and line.place.model != ALL_MODELS:
            groups.setdefault((line.place.attack, line.metric), {})[line] = blocks[0]
    for (_, metric), rows in groups.items():
        scale = SCALES[metric]
        apart = [TwoSamples(*(seed_means(scale.values(side)) for side in (b.old, b.new))) for b in rows.values()]
        within = [_differences(block, metric) for block in rows.values()]
        for found in (gross_p(apart, scale.least_deviation), paired_t_p(within, scale.least_deviation)):
            yield from (_Test(line, p, 0.0) for line, p in zip(rows, found, strict=True) if p is not None)


def _sides(blocks: Sequence[Block]) -> tuple[Side, Side]:
    return _side([block.old for block in blocks]), _side([block.new for block in blocks])


def _side(values: Sequence[Floats]) -> Side:
    means = np.concatenate([seed_means(one) for one in values])
    return Side(float(means.mean()), float(means.min()), float(means.max()), len(means))


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
