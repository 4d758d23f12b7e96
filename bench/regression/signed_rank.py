"""An exact test of whether paired values got lower: Wilcoxon's signed ranks, and McNemar's test for yes and no."""

from functools import reduce

import numpy as np
from scipy.stats import rankdata
from scipy.stats import t as student

from bench.regression.curves import Floats
from bench.regression.rank_sum import ExactP

FREEDOM = 3  # degrees of freedom below which no paired t-test is made: four pairs


def signed_rank_p(differences: Floats) -> ExactP:
    """Return the exact conditional p-value of "the new values are not lower", given the sizes of the differences.

    Under the null hypothesis old and new of a pair are dealt by lot, so every difference has either sign, by the
    toss of a coin (F. Wilcoxon, Biometrics Bulletin 1, 1945). Pairs that agree say nothing; equal sizes get their
    mean rank. Where all differences are of one size, as with messages recovered or not, it is McNemar's exact test.

    Args:
        differences: new minus old, one a pair, larger being better; shape (pairs,).
    """
    moved = differences[differences != 0]
    ranks = np.rint(2 * rankdata(np.abs(moved))).astype(np.int64)  # mean ranks are whole or half
    tosses = (np.bincount([0, rank], minlength=rank + 1) / 2 for rank in ranks)
    chance = reduce(np.convolve, tosses, np.ones(1))
    gained = int(ranks[moved > 0].sum())
    return ExactP(min(1.0, float(chance[: gained + 1].sum())), float(2.0 ** -len(moved)))


def paired_t_p(rows: list[Floats], least_deviation: float) -> list[float | None]:
    """Return for each row the one-sided p-value of "the new values are not lower"; None below `FREEDOM`.

    As `bench.regression.pooled_t`, it supposes a normal law, of differences, and believes no row to vary less than
    that which varies most.

    Args:
        rows: differences, new minus old, of one attack and metric; each of shape (pairs,).
        least_deviation: of differences, below which no row is believed to vary.
    """
    tested = [row for row in rows if len(row) > FREEDOM]
    deviation = max([*(float(row.std(ddof=1)) for row in tested), least_deviation])
    return [
        float(student.cdf(row.mean() / (deviation / len(row) ** 0.5), len(row) - 1)) if len(row) > FREEDOM else None
        for row in rows
    ]
