"""An exact test of whether new values are lower than old ones, in blocks, each unit with several readings."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from bench.regression.curves import Floats


@dataclass(frozen=True)
class ExactP:
    """A one-sided p-value.

    Attributes:
        p: probability of what was seen or worse, had "old" and "new" been dealt by lot.
        least: the smallest p that these values could have given, however they had been dealt.
    """

    p: float
    least: float


def rank_sum_p(blocks: Sequence[tuple[Floats, Floats]]) -> ExactP:
    """Return the exact conditional p-value of O'Brien's rank-sum test, stratified by block.

    Each reading is ranked among the units of its block (ties get their mean rank), and a unit scores the sum of
    its ranks; under the null hypothesis every dealing of a block's scores to old and new is equally likely. For
    one reading that is yes or no and one block, this is Fisher's exact test. Readings of one unit may depend on
    each other as they like: they are never dealt apart (P. C. O'Brien, Biometrics 40, 1984).

    Old and new units of the same seed may agree; dealing them freely then only makes p larger.

    Args:
        blocks: (old, new), each of shape (units, readings), with equal numbers of readings.
    """
    dealt = [_dealings(*block) for block in blocks]
    distribution = reduce(np.convolve, (d.distribution for d in dealt), np.ones(1))
    seen = sum(d.seen for d in dealt)
    return ExactP(min(1.0, float(distribution[: seen + 1].sum())), float(distribution[0]))


@dataclass(frozen=True)
class _Dealings:
    """The probability of each sum of the new units' scores, from the least possible on, and the sum seen."""

    distribution: Floats
    seen: int


def _dealings(old: Floats, new: Floats) -> _Dealings:
    ranks = rankdata(np.vstack([old, new]), axis=0)
    scores = np.rint(2 * ranks.sum(axis=1)).astype(np.int64)  # mean ranks are whole or half
    scores -= scores.min()
    counts = _subset_sums(scores, len(new))
    (possible,) = counts.nonzero()
    seen = int(scores[len(old) :].sum())
    return _Dealings(counts[possible[0] :] / counts.sum(), seen - int(possible[0]))


def _subset_sums(scores: NDArray[np.int64], size: int) -> Floats:
    """Return how many subsets of `size` scores have each sum; exact below 2**53."""
    counts = np.zeros((size + 1, int(scores.sum()) + 1))
    counts[0, 0] = 1.0
    for score in scores:
        for taken in range(size, 0, -1):
            counts[taken, score:] += counts[taken - 1, : counts.shape[1] - score]
    return np.asarray(counts[size])
