"""A suspect that holds few values: what the original would have become under the same rounding.

Rounding to few levels hides a small mark in a residual of half a level. Where the levels are known, the original
can be rounded to them, too; what is left then are the weights that the mark moved across a border.
"""

import torch
from torch import Tensor

MOST_LEVELS = 512
_WEIGHTS_A_LEVEL = 8
_SAMPLE = 4096
_UNSCALED = 0.05  # a median factor within this of one is one: rounding alone shifts it


def levels_of(suspect: Tensor) -> Tensor | None:
    """Return the values, ascending, that a quantised layer holds; None if it is not quantised."""
    flat = suspect.reshape(-1)
    step = max(1, len(flat) // _SAMPLE)
    if len(torch.unique(flat[::step])) > MOST_LEVELS:
        return None
    found = torch.unique(flat)
    return found if len(found) <= MOST_LEVELS and _WEIGHTS_A_LEVEL * len(found) <= len(flat) else None


def requantised(fitted: Tensor, levels: Tensor) -> Tensor:
    """Return the level that is nearest to each fitted weight."""
    return levels[torch.bucketize(fitted, (levels[1:] + levels[:-1]) / 2)]


def is_unscaled(alpha: Tensor) -> bool:
    """Say whether the factors of a layer are those of rounding alone."""
    return abs(float(alpha.median()) - 1) < _UNSCALED
