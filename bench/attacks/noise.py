"""Gaussian noise on every prunable weight, in units of the weights' own spread."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import Attack, AttackContext, Attacked, Cost, measure_change, timed
from bench.attacks.pruning import GLOBAL, LAYER, apply_masks, prunable_tensors
from cwwm.support.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Noise(Attack):
    """Adds independent Gaussian noise to every convolution and linear weight; nothing is trained.

    All strengths scale one and the same draw, so that a stronger attack differs in length, not in direction.
    Drift of the weights is stated in units of the marked pool's sigma (0.2 sigma, say), hence the global
    scope by default: one sigma for all layers, which drowns layers of small weights first.

    Attributes:
        scope: ``"global"``, sigma is the standard deviation of all prunable weights together, or
            ``"layer"``, each layer's own.
    """

    name: ClassVar[str] = "noise"
    strength: ClassVar[str] = "standard deviation of the noise, relative to that of the weights"

    scope: str = GLOBAL

    def __post_init__(self) -> None:
        """Refuse an unknown scope."""
        if self.scope not in (GLOBAL, LAYER):
            raise BadInput(f"noise: scope is '{GLOBAL}' or '{LAYER}', not '{self.scope}'")

    def check_strength(self, strength: float) -> None:
        """Refuse a negative or infinite strength."""
        if not 0 <= strength < math.inf:
            raise BadInput(f"noise: a strength is 0 or a positive number of sigmas, not {strength:g}")

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Add the noise in place; weights that a mask holds at zero stay zero.

        Raises:
            BadInput: for a negative or infinite strength.
        """
        self.check_strength(strength)
        tensors = prunable_tensors(model)
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        with timed(context.device) as watch:
            spreads = self._spreads(tensors)
            generator = torch.Generator().manual_seed(context.seed)
            for name, tensor in tensors.items():
                draw = torch.randn(tensor.shape, generator=generator).to(tensor.device)
                tensor.copy_(tensor.float() + strength * spreads[name] * draw)
            apply_masks(model, dict(context.masks))
        achieved = measure_change(before, tensors)
        return Attacked(model, strength, achieved, context.masks, Cost(seconds=watch.seconds))

    def _spreads(self, tensors: Mapping[str, Tensor]) -> dict[str, float]:
        """Return sigma for each layer."""
        groups = [[name] for name in tensors] if self.scope == LAYER else [list(tensors)]
        spreads: dict[str, float] = {}
        for group in groups:
            spreads |= dict.fromkeys(group, _standard_deviation([tensors[name] for name in group]))
        return spreads

    def predicted(self, strength: float) -> tuple[str, float] | None:
        """Return the noise channel, which speaks of the pool's sigma: None under the layers' own."""
        return ("noise", strength) if self.scope == GLOBAL else None


def _standard_deviation(tensors: list[Tensor]) -> float:
    """Return the standard deviation of all entries together, about their common mean."""
    count = sum(tensor.numel() for tensor in tensors)
    mean = sum(float(tensor.double().sum()) for tensor in tensors) / count
    return math.sqrt(sum(float((tensor.double() - mean).square().sum()) for tensor in tensors) / count)
