"""A t-test for changes far beyond all variation between seeds, for rows of too few seeds for an exact test.

With three seeds a side, no exact test of one row reaches p = 1e-5, yet an accuracy that fell from 98 to 50 % on
all of them must not pass. This test supposes what the exact one does not, a normal law, and is careful where that
fails: seeds may fall into two kinds (a training that collapsed, a message that is gone), and three of one kind say
nothing of the other. So a row is not believed to vary less than the row that varies most among those of its attack.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
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
    known = [row.variance for row in rows if row.freedom >= FREEDOM]
    variance = max([*known, least_deviation**2])
    return [_p(row, variance) if row.freedom >= FREEDOM else None for row in rows]


def _p(row: TwoSamples, variance: float) -> float:
    error = np.sqrt(variance * (1 / len(row.old) + 1 / len(row.new)))
    return float(student.cdf((row.new.mean() - row.old.mean()) / error, row.freedom))
