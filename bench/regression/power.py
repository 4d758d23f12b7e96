"""What a comparison of so few seeds could have seen: how large a change must be to be found nine times in ten."""

from collections.abc import Sequence
from math import comb
from typing import NamedTuple

import numpy as np

from bench.records.record import Record
from bench.regression.compare import FAMILY_WISE, SCALES
from bench.regression.curves import EVIDENCE, EXACT, Place, curves
from bench.regression.lines import ALL_MODELS, Block, compared_lines, seed_means
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
    lines = {line: blocks[0] for line, blocks in compared_lines(curves(old), curves(new)).items()
             if line.place.model != ALL_MODELS}  # fmt: skip
    level = FAMILY_WISE / max(1, len(lines))
    found = []
    for (place, metric), block in lines.items():
        group = [b for (other, m), b in lines.items() if (other.attack, m) == (place.attack, metric)]
        value = _by_all_seeds(block, level) if metric == EXACT else _by_size(block, group, metric, level)
        found.append(Seen(place, metric, (len(block.old), len(block.new)), float(block.old.mean()), value))
    return found


def _by_all_seeds(block: Block, level: float) -> float | None:
    old, new = len(block.old), len(block.new)
    return None if 1 / comb(old + new, new) <= level else float("nan")


def _by_size(block: Block, group: Sequence[Block], metric: str, level: float) -> float:
    """Return the value of the metric that is just found."""
    scale = SCALES[metric]
    samples = [
        TwoSamples(*(seed_means(scale.values(side)) for side in (one.old, one.new))) for one in [block, *group]
    ]
    change = gross_change(samples, scale.least_deviation, level, POWER)[0]
    if change is None:
        return float("nan")
    worse = float(samples[0].old.mean()) - change
    if metric == EVIDENCE:  # its scale is in deviations: back to log10 p
        return -(max(0.0, worse) ** 2) / (2 * np.log(10)) if worse > 0 else float("nan")
    return worse if worse > 0 else float("nan")
