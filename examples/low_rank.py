"""Attack `low-rank`: every layer becomes its best approximation by a matrix of lower rank.

Compression by truncated singular values (Denton, Zaremba, Bruna, LeCun and Fergus 2014), here without retraining.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.attacks import Attack, AttackContext, Attacked, Cost
from bench.attacks.base import measure_change, timed
from bench.attacks.pruning import apply_masks, prunable_tensors
from cwwm.support.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class LowRank(Attack):
    """Drops the smallest singular values of every layer; nothing is trained."""

    name: ClassVar[str] = "low-rank"
    strength: ClassVar[str] = "share of the singular values dropped, in each layer"

    def check_strength(self, strength: float) -> None:
        if not 0 <= strength < 1:
            raise BadInput(f"low-rank: the share of singular values dropped is in [0, 1), not {strength:g}")

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        self.check_strength(strength)
        tensors = prunable_tensors(model)
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        stored = 0
        with timed(context.device) as watch:
            for tensor in tensors.values():
                stored += truncate(tensor, strength)
            apply_masks(model, dict(context.masks))
        share = stored / sum(tensor.numel() for tensor in tensors.values())
        achieved = {"stored": share, **measure_change(before, tensors)}
        return Attacked(model, strength, achieved, context.masks, Cost(seconds=watch.seconds))


def truncate(tensor: Tensor, dropped: float) -> int:
    """Lower the rank of a weight in place, filters as rows; return how many numbers store what is left."""
    matrix = tensor.flatten(1)
    rank = max(1, round((1 - dropped) * min(matrix.shape)))
    if rank < min(matrix.shape) and bool(matrix.isfinite().all()):
        left, values, right = torch.linalg.svd(matrix.float(), full_matrices=False)
        tensor.copy_(((left[:, :rank] * values[:rank]) @ right[:rank]).view_as(tensor))
    return min(matrix.numel(), rank * sum(matrix.shape))
