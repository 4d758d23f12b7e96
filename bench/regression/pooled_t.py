"""A t-test for changes far beyond all variation between seeds, for rows of too few seeds for an exact test.

With three seeds a side, no exact test of one row reaches p = 1e-5, yet an accuracy that fell from 98 to 50 % on
all of them must not pass. This test supposes what the exact one does not, a normal law, and is careful where that
fails: seeds may fall into two kinds (a training that collapsed, a message that is gone), and three of one kind say
nothing of the other. So a row is not believed to vary less than the row that varies most among those of its attack.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import nct
from scipy.stats import t as student

from bench.regression.curves import Floats

FREEDOM = 4  # degrees of freedom below which the test is not made: three seeds a side


@dataclass(frozen=True)
class TwoSamples:
    """The values of one row, a seed each."""

    old: Floats
    new: Floats

    @property
    def freedom(self) -> int:
        """Return the degrees of freedom of `variance`."""
        return len(self.old) + len(self.new) - 2

    @property
    def variance(self) -> float:
        """Return the variance between seeds, pooled over old and new; needs a degree of freedom."""
        return float(sum(((v - v.mean()) ** 2).sum() for v in (self.old, self.new)) / self.freedom)


def gross_p(rows: Sequence[TwoSamples], least_deviation: float) -> list[float | None]:
    """Return for each row the one-sided p-value of "the new values are not lower"; None below `FREEDOM`.

    Args:
        rows: those of one attack and metric.
        least_deviation: between seeds, below which no row is believed to vary.
    """
    variance = _believed(rows, least_deviation)
    return [
        float(student.cdf((row.new.mean() - row.old.mean()) / _error(row, variance), row.freedom))
        if row.freedom >= FREEDOM
        else None
        for row in rows
    ]


def gross_change(
    rows: Sequence[TwoSamples], least_deviation: float, level: float, power: float
) -> list[float | None]:
    """Return for each row by how much its mean must fall to be seen with a probability; None below `FREEDOM`.

    The statistic of such a fall has the noncentral t law.

    Args:
        rows, least_deviation: as for `gross_p`.
        level: at or below which a p-value counts as seen. power: the probability.
    """
    variance = _believed(rows, least_deviation)
    return [
        _shift(row.freedom, level, power) * _error(row, variance) if row.freedom >= FREEDOM else None
        for row in rows
    ]


def _shift(freedom: int, level: float, power: float) -> float:
    critical = float(student.isf(level, freedom))
    found = brentq(lambda shift: nct.sf(critical, freedom, shift) - power, 0.0, 3 * critical + 10)
    return float(found)


def _believed(rows: Sequence[TwoSamples], least_deviation: float) -> float:
    known = [row.variance for row in rows if row.freedom >= FREEDOM]
    return max([*known, least_deviation**2])


def _error(row: TwoSamples, variance: float) -> float:
    return float(np.sqrt(variance * (1 / len(row.old) + 1 / len(row.new))))
