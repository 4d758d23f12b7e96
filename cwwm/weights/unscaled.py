"""Weights without the scales of their channels, which whoever has a network may change at no cost.

A factor on every output channel, and one on every input channel, leave |w| = exp(r_o + c_i) |u|. The factors are
fitted by least squares on log |w| over the weights that are not zero, as main effects of a two-way table, so that
u does not depend on them at all: exactly, whichever weights are zero. Derived for this project.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from cwwm.weights.carrier import prunable
from cwwm.weights.view import Weights

_ROUNDS = 50  # of the alternating fit; one is exact where no weight is zero
_CLOSE = 1e-9  # of a logarithm: a fit that moves less is done
_GEOMETRIC_MEAN = math.exp(-(0.5772156649015329 + math.log(2)) / 2)  # of |z|, z ~ N(0, 1)


def unscaled(weight: Tensor) -> Tensor:
    """Return a weight (o, ...) without the scales of its outputs and inputs, float32: N(0, 1) if it is normal.

    Zeros stay zero, and so do values that are not finite.
    """
    table = weight.detach().double().nan_to_num(0.0, 0.0, 0.0)
    table = table.reshape(*table.shape[:2], -1) if table.dim() > 1 else table.reshape(len(table), 1, 1)
    there = table != 0
    logs = table.abs().log().masked_fill(~there, 0.0)
    effects = _main_effects(logs, there)
    flat = torch.where(there, table.sign() * (logs - effects).exp() * _GEOMETRIC_MEAN, 0.0)
    return flat.reshape(weight.shape).float()


def _main_effects(logs: Tensor, there: Tensor) -> Tensor:
    """Return r_o + c_i, float64 (o, i, 1), least squares over the places (o, i, k) that are there."""
    rows, columns = (there.sum(axis, keepdim=True).clamp(min=1) for axis in ((1, 2), (0, 2)))
    places = there.sum(2, keepdim=True)
    sums = logs.sum(2, keepdim=True)
    row, column = torch.zeros_like(sums[:, :1]), torch.zeros_like(sums[:1])
    for _ in range(_ROUNDS):
        row = (sums - places * column).sum(1, keepdim=True) / rows
        new = (sums - places * row).sum(0, keepdim=True) / columns
        moved = float((new - column).abs().max())
        column = new
        if moved < _CLOSE:
            break
    return row + column


class UnscaledWeights(Weights):
    """A suspect whose convolution and linear weights are `unscaled`; its other tensors are as they are."""

    def __init__(self, suspect: Weights) -> None:
        """View `suspect`."""
        self._suspect = suspect
        self._scaled = frozenset(prunable(suspect))
        self._unscaled = lru_cache(maxsize=None)(lambda name: unscaled(suspect.tensor(name)))

    def names(self) -> Sequence[str]:
        """Return the suspect's names."""
        return self._suspect.names()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the suspect's shape."""
        return self._suspect.shape(name)

    def tensor(self, name: str) -> Tensor:
        """Return the tensor, without scales if it is a convolution or linear weight."""
        return self._unscaled(name) if name in self._scaled else self._suspect.tensor(name)

    def write(self, name: str, index: Tensor, values: Tensor) -> None:
        """Refuse: a view without scales is for reading."""
        raise TypeError("unscaled weights are read only")
