"""The lines of a comparison: a curve, or all models of it together, and a metric, with the values of both runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.regression.curves import ACCURACY, EVIDENCE, EXACT, Curve, Floats, Place

ALL_MODELS = "all models"
METRICS = (EXACT, EVIDENCE, ACCURACY)


class Line(NamedTuple):
    """What is judged: a curve, whose model may be ALL_MODELS, and a metric."""

    place: Place
    metric: str


@dataclass(frozen=True)
class Block:
    """The values of a metric on one model.

    Attributes:
        model: its name. strengths: that both runs have, in order.
        old, new: values, shape (seeds, strengths). old_seeds, new_seeds: whose they are, in order.
    """

    model: str
    strengths: tuple[float, ...]
    old: Floats
    new: Floats
    old_seeds: tuple[int, ...]
    new_seeds: tuple[int, ...]

    @property
    def paired(self) -> tuple[Floats, Floats]:
        """Return the values of the seeds that both runs have, old and new, each of shape (pairs, strengths)."""
        both = [seed for seed in self.old_seeds if seed in self.new_seeds]
        sides = ((self.old, self.old_seeds), (self.new, self.new_seeds))
        old, new = (values[[seeds.index(seed) for seed in both]] for values, seeds in sides)
        return old, new

    @property
    def all_paired(self) -> bool:
        """Say whether every seed of the new run has a partner."""
        return set(self.new_seeds) <= set(self.old_seeds)


Lines = Mapping[Line, Sequence[Block]]


def compared_lines(before: Mapping[Place, Curve], after: Mapping[Place, Curve]) -> dict[Line, list[Block]]:
    """Return the blocks of each line: a line a curve, and one for all models of it if there are several."""
    return {Line(place, m): blocks for m in METRICS for place, blocks in _lines(before, after, m).items()}


def _lines(before: Mapping[Place, Curve], after: Mapping[Place, Curve], metric: str) -> dict[Place, list[Block]]:
    single = {
        place: [block]
        for place in before
        if place in after and (block := _block(place.model, before[place], after[place], metric)) is not None
    }
    groups: dict[Place, list[Block]] = {}
    for place, blocks in single.items():
        groups.setdefault(place._replace(model=ALL_MODELS), []).extend(blocks)
    return single | {place: blocks for place, blocks in groups.items() if len(blocks) > 1}


def _block(model: str, old: Curve, new: Curve, metric: str) -> Block | None:
    """Return old and new values at the strengths of both, or None where there is nothing to compare."""
    strengths = old.strengths & new.strengths
    if not strengths or not (old.has(metric) and new.has(metric)):
        return None
    block = Block(
        model,
        tuple(sorted(strengths)),
        old.values(metric, strengths),
        new.values(metric, strengths),
        old.seeds_with(strengths),
        new.seeds_with(strengths),
    )
    return block if len(block.old) and len(block.new) else None


def seed_means(values: Floats) -> Floats:
    """Return the mean over strengths of each seed."""
    return np.asarray(values.mean(axis=1))
