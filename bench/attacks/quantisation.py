"""Uniform quantisation of every prunable weight to a few bits, symmetric about zero or between its extremes."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import Attack, AttackContext, Attacked, Cost, measure_change, timed
from bench.attacks.pruning import prunable_tensors
from cwwm.support.errors import BadInput

TENSOR, CHANNEL = "tensor", "channel"
SYMMETRIC, AFFINE = "symmetric", "affine"
_BITS = range(2, 17)  # one bit has no zero; above 16 float32 weights hardly move


@dataclass(frozen=True, kw_only=True)
class Quantisation(Attack):
    """Rounds every weight to the nearest of at most 2^b evenly spaced levels.

    Symmetric: 2^b - 1 levels about zero, the outermost on the largest magnitude, step = max|w| / (2^(b-1) - 1).
    Affine (arXiv 1712.05877, section 2.1): 2^b levels, step = (max - min) / (2^b - 1) over the range widened to
    hold zero, moved by less than half a step so that zero is a level. In both exact zeros stay zero, and the model
    keeps the dequantised floats in its own dtype, so that it runs as before.

    Attributes:
        granularity: ``"tensor"``, one step a tensor, or ``"channel"``, one an output channel (axis 0).
        scheme: ``"symmetric"`` or ``"affine"``.
    """

    name: ClassVar[str] = "quantise"
    strength: ClassVar[str] = "bits a weight"

    granularity: str = TENSOR
    scheme: str = SYMMETRIC

    def __post_init__(self) -> None:
        """Refuse an unknown granularity or scheme."""
        if self.granularity not in (TENSOR, CHANNEL):
            raise BadInput(f"quantise: granularity is '{TENSOR}' or '{CHANNEL}', not '{self.granularity}'")
        if self.scheme not in (SYMMETRIC, AFFINE):
            raise BadInput(f"quantise: scheme is '{SYMMETRIC}' or '{AFFINE}', not '{self.scheme}'")

    def check_strength(self, strength: float) -> None:
        """Refuse what is no integer from 2 to 16."""
        if strength not in _BITS:
            raise BadInput(f"quantise: bits are an integer from {_BITS[0]} to {_BITS[-1]}, not {strength:g}")

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Quantise in place; `achieved` counts the levels that a tensor or channel holds at most.

        Raises:
            BadInput: unless the strength is an integer from 2 to 16.
        """
        self.check_strength(strength)
        tensors = prunable_tensors(model)
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        rounded = affine if self.scheme == AFFINE else quantised
        with timed(context.device) as watch:
            for tensor in tensors.values():
                tensor.copy_(rounded(self._groups(tensor), int(strength)).reshape(tensor.shape))
        levels = max((most_levels(self._groups(tensor)) for tensor in tensors.values()), default=0)
        achieved = {"bits": int(strength), "levels": levels, **measure_change(before, tensors)}
        return Attacked(model, strength, achieved, context.masks, Cost(seconds=watch.seconds))

    def predicted(self, strength: float) -> tuple[str, float] | None:
        """Return the channel of symmetric rounding, which speaks of one step a tensor."""
        return ("quantise", strength) if (self.granularity, self.scheme) == (TENSOR, SYMMETRIC) else None

    def _groups(self, tensor: Tensor) -> Tensor:
        """Return the tensor as (groups, weights), a row for each set of weights that shares a step."""
        return tensor.reshape(len(tensor) if self.granularity == CHANNEL else 1, -1)


def quantised(groups: Tensor, bits: int) -> Tensor:
    """Return `groups` (g, n), each row rounded to its 2^bits - 1 levels, float32; a row of zeros stays."""
    values = groups.float()
    steps = values.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    return torch.where(steps > 0, (values / steps).round() * steps, values)


def affine(groups: Tensor, bits: int) -> Tensor:
    """Return `groups` (g, n), each row rounded to 2^bits levels from its least to its greatest, float32.

    The zero point is an integer, so that zero is a level; a row of zeros stays.
    """
    values = groups.float()
    low, high = values.amin(1, keepdim=True).clamp(max=0), values.amax(1, keepdim=True).clamp(min=0)
    steps = (high - low) / (2**bits - 1)
    zero = (-low / steps).round()
    codes = ((values / steps).round() + zero).clamp(0, 2**bits - 1)
    return torch.where(steps > 0, (codes - zero) * steps, values)


def most_levels(groups: Tensor) -> int:
    """Return how many distinct values the richest row holds."""
    ordered = groups.sort(1).values
    return 1 + int((ordered[:, 1:] != ordered[:, :-1]).sum(1).max())
