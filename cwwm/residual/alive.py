"""Which weights of a suspect's layer are left, and how many in each row and column."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Alive:
    """The weights that were not removed.

    Attributes:
        mask: bool (o, f). per_row: float32 (o, 1). per_column: float32 (1, f). share: of all weights.
    """

    mask: Tensor
    per_row: Tensor
    per_column: Tensor
    share: float

    @classmethod
    def of(cls, mask: Tensor) -> "Alive":
        """Count."""
        there = mask.float()
        per_row = there.sum(1, keepdim=True)
        return cls(mask, per_row, there.sum(0, keepdim=True), float(per_row.sum()) / max(mask.numel(), 1))

    @classmethod
    def everywhere(cls, like: Tensor) -> "Alive":
        """Return all weights of a layer."""
        return cls.of(like.new_ones(like.shape).bool())
