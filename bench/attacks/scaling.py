"""Scaling of every prunable weight by one common factor."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from bench.attacks.base import Attack, AttackContext, Attacked, Cost, measure_change, timed
from bench.attacks.pruning import prunable_tensors
from cwwm.support.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Scaling(Attack):
    """Multiplies all convolution and linear weights by the strength; biases and norms stay as they are.

    It is aimed at encodings that read absolute values (a lattice of quantisation index modulation); one that
    reads signs or an order of magnitudes does not notice. Nothing undoes the factor, so the answers change:
    little where a norm follows each layer, once its statistics are estimated again (``then`` with ``bn``);
    much elsewhere. Variants that preserve the function layer by layer are not part of it.
    """

    name: ClassVar[str] = "scale"
    strength: ClassVar[str] = "factor on every weight"

    def check_strength(self, strength: float) -> None:
        """Refuse a factor that is not above zero and finite."""
        if not 0 < strength < math.inf:
            raise BadInput(f"scale: a factor is a number above 0, not {strength:g}")

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Scale in place.

        Raises:
            BadInput: for a factor that is not above zero and finite.
        """
        self.check_strength(strength)
        tensors = prunable_tensors(model)
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        with timed(context.device) as watch:
            for tensor in tensors.values():
                tensor.mul_(strength)
        achieved = measure_change(before, tensors)
        return Attacked(model, strength, achieved, context.masks, Cost(seconds=watch.seconds))
