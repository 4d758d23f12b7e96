"""Many tests at once: the chance of one false alarm in the whole table is bounded."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def judgeable(least: Sequence[float], level: float) -> NDArray[np.bool_]:
    """Return which hypotheses can be rejected at all, by Tarone's rule; the others cost the rest nothing.

    A discrete test whose smallest attainable p-value is too large can raise no false alarm. The rule looks only at
    what was attainable, not at what was seen (R. E. Tarone, Biometrics 46, 1990).

    Args:
        least: the smallest p-value that each test can give.
        level: family-wise error.
    """
    values = np.asarray(least)
    for count in range(1, len(values) + 1):
        chosen = values <= level / count
        if chosen.sum() <= count:
            return np.asarray(chosen)
    return np.zeros(len(values), dtype=bool)


def holm(p: Sequence[float]) -> NDArray[np.float64]:
    """Return the p-values as Holm adjusts them: those at most `level` may be rejected at that family-wise error."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)
    steps = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * steps))
    return adjusted
