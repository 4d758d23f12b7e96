"""Low rank: every layer becomes its best approximation by a matrix of lower rank, recomposed in its own shape."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import Attack, AttackContext, Attacked, Cost, measure_change, timed
from bench.attacks.pruning import apply_masks, prunable_tensors
from cwwm.support.errors import BadInput

RANK, ENERGY = "rank", "energy"


@dataclass(frozen=True, kw_only=True)
class TruncatedSVD(Attack):
    """Drops the smallest singular values of every layer (Denton et al., arXiv 1404.0736); nothing is trained.

    A weight is the matrix of its filters as rows, (outputs, inputs x kernel). What is left is the best
    approximation of its rank: its squared error is the sum of the dropped squared singular values (Eckart and
    Young). The layers keep their names and shapes, as after the product of both factors is stored.

    A small change D of a weight of shape (m, n), such as a mark, keeps what touches the kept spaces of rank r: of
    U U^T D + D V V^T - U U^T D V V^T what is spread evenly, like a spread-spectrum mark, keeps the share

        1 - (1 - r/m) (1 - r/n)

    of its energy and of its correlation. That is exact in first order where the dropped values are zero, and a
    lower bound else. A repair (``then`` with ``finetune``) fills all ranks again, and not with the mark.

    Attributes:
        by: ``"rank"``, the strength is the share of the singular values dropped, or ``"energy"``, the share of the
            layer's squared norm that may be lost at most.
    """

    name: ClassVar[str] = "svd"
    strength: ClassVar[str] = "share dropped of each layer's singular values, or of its energy"

    by: str = RANK

    def __post_init__(self) -> None:
        """Refuse an unknown choice."""
        if self.by not in (RANK, ENERGY):
            raise BadInput(f"svd: by is '{RANK}' or '{ENERGY}', not '{self.by}'")

    def check_strength(self, strength: float) -> None:
        """Refuse what is no share, or everything."""
        if not 0 <= strength < 1:
            raise BadInput(f"svd: the share dropped is at least 0 and below 1, not {strength:g}")

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Lower the ranks in place; weights that a mask holds at zero stay zero, which may raise a rank again.

        `achieved` has ``stored``, the numbers that both factors take over those of the layers, and ``ranks``.

        Raises:
            BadInput: unless the share is at least 0 and below 1.
        """
        self.check_strength(strength)
        tensors = prunable_tensors(model)
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        with timed(context.device) as watch:
            ranks = {name: self._truncate(tensor, strength) for name, tensor in tensors.items()}
            apply_masks(model, dict(context.masks))
        stored = sum(min(t.numel(), ranks[n] * sum(t.flatten(1).shape)) for n, t in tensors.items())
        share = stored / max(1, sum(tensor.numel() for tensor in tensors.values()))
        achieved = {"stored": share, "ranks": ranks, **measure_change(before, tensors)}
        return Attacked(model, strength, achieved, context.masks, Cost(seconds=watch.seconds))

    def _truncate(self, tensor: Tensor, share: float) -> int:
        """Lower the rank of one weight in place, if its values are finite; return the rank kept."""
        matrix = tensor.flatten(1).double()
        full = min(matrix.shape)
        if not bool(matrix.isfinite().all()):
            return full
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        rank = max(1, round((1 - share) * full)) if self.by == RANK else energy_rank(values, share)
        if rank < full:
            tensor.copy_(((left[:, :rank] * values[:rank]) @ right[:rank]).view_as(tensor))
        return rank


def energy_rank(values: Tensor, share: float) -> int:
    """Return the lowest rank, at least 1, that loses at most a share of the energy.

    Args:
        values: singular values, descending, float64 (k,).
        share: of their sum of squares.
    """
    energy = values.square()
    tails = energy.flip(0).cumsum(0).flip(0)  # what is lost if this one and all below go
    return max(1, int((tails > share * energy.sum()).sum()))
