"""What a mark makes of a weight, given the original: what reading against the original compares a suspect with."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Expected:
    """The two values that a symbol gives each weight of a layer: center + half for one, center - half for zero.

    Attributes:
        half: float32, of the layer's shape.
        center: float32, of the layer's shape; None: the original itself, to which a pattern was added.
        ranked: whether the scheme ranks magnitudes instead of summing weights: then what says most for a one is
            shown as the largest magnitude.
    """

    half: Tensor
    center: Tensor | None = None
    ranked: bool = False
