"""What a comparison of so few seeds could have seen: how large a change must be to be found nine times in ten."""

from collections.abc import Sequence
from math import comb
from typing import NamedTuple

import numpy as np

from bench.records.record import Record
from bench.regression.compare import ALL_MODELS, FAMILY_WISE, SCALES, Pair, compared_lines
from bench.regression.curves import EVIDENCE, EXACT, Place, curves
from bench.regression.pooled_t import TwoSamples, gross_change

POWER = 0.9


class Seen(NamedTuple):
    """What could have been seen of one line.

    Attributes:
        seeds: of the old and the new run.
        mean: of the metric over seeds and strengths: a share, log10 p, percent.
        change: to which value the mean must get worse to be found with a probability of `POWER`; None where only
            a change of every seed can be found, NaN where none can.
    """

    place: Place
    metric: str
    seeds: tuple[int, int]
    mean: float
    change: float | None


def could_see(old: Sequence[Record], new: Sequence[Record]) -> list[Seen]:
    """Return for each line of one model how large a change `compare` could have seen in it.

    By the t-test for log10 p and accuracy, its level shared by all lines (Bonferroni, a little less than Holm's).
    Of a message that comes back or not, whether its loss in every seed could have been found by the exact test.
    """
    lines = {key: pairs[0] for key, pairs in compared_lines(curves(old), curves(new)).items()
             if key[0].model != ALL_MODELS}  # fmt: skip
    level = FAMILY_WISE / max(1, len(lines))
    found = []
    for (place, metric), pair in lines.items():
        group = [p for (other, m), p in lines.items() if (other.attack, m) == (place.attack, metric)]
        value = _by_all_seeds(pair, level) if metric == EXACT else _by_size(pair, group, metric, level)
        found.append(Seen(place, metric, (len(pair[0]), len(pair[1])), float(pair[0].mean()), value))
    return found


def _by_all_seeds(pair: Pair, level: float) -> float | None:
    old, new = map(len, pair)
    return None if 1 / comb(old + new, new) <= level else float("nan")


def _by_size(pair: Pair, group: Sequence[Pair], metric: str, level: float) -> float:
    """Return the value of the metric that is just found."""
    scale = SCALES[metric]
    samples = [TwoSamples(*(scale.values(side).mean(axis=1) for side in one)) for one in [pair, *group]]
    change = gross_change(samples, scale.least_deviation, level, POWER)[0]
    if change is None:
        return float("nan")
    worse = float(samples[0].old.mean()) - change
    if metric == EVIDENCE:  # its scale is in deviations: back to log10 p
        return -(max(0.0, worse) ** 2) / (2 * np.log(10)) if worse > 0 else float("nan")
    return worse if worse > 0 else float("nan")
