"""Scheme `st-dm`: a loss moves keyed projections of a layer's filter-averaged weights to a dithered lattice.

After Li, Tondi and Barni, "Spread-Transform Dither Modulation Watermarking of Deep Neural Network", 2020
(arXiv 2012.14171): Uchida's loss with the activation Theta(u) = sigmoid(alpha * sin(beta * u)), so a bit is
the half-period of the sine that its projection falls in, and the nearest fitting one is never far. No law of
survival is known: pruning turns the weight vector and shrinks it, and either leaves the half-period.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cwwm.ownership.keys import Streams
from cwwm.schemes.common.projected import LogitsOf, ProjectedScheme, keyed_gaussian
from cwwm.support.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class SpreadTransformDither(ProjectedScheme):
    """Dithered, quantised keyed projections.

    Choices of ours: each row of the Gaussian matrix is scaled to length sqrt(M), so that beta means the same
    for every bit (N(0, 1) entries have it on average); each bit has a keyed dither phase, uniform on a period,
    inside the sine, without which small projections would all read alike.

    Attributes:
        strength: lambda, factor of the cross-entropy summed over the bits.
        layer: name of the host weight; empty chooses the longest vector.
        alpha: steepness of the activation, 10 in the paper.
        beta: lattice density, 10 in the paper: a bit's period is 2 pi / beta of the projection.
    """

    name: ClassVar[str] = "st-dm"

    alpha: float = 10.0
    beta: float = 10.0

    def __post_init__(self) -> None:
        """Refuse an activation that carries nothing."""
        super().__post_init__()
        if not (0 < self.alpha < math.inf and 0 < self.beta < math.inf):
            raise BadInput(f"st-dm needs finite alpha and beta above 0, not {self.alpha} and {self.beta}")

    def keyed_map(self, streams: Streams, like: Tensor) -> LogitsOf:
        """Return x -> alpha * sin(beta * A x + phase)."""
        matrix = keyed_gaussian(streams.stream("projection"), self.symbols, len(like)).double()
        matrix *= math.sqrt(len(like)) / matrix.norm(dim=1, keepdim=True)
        uniform = torch.from_numpy(streams.stream("dither").uniform(self.symbols))
        rows, phase = (self.beta * matrix).to(like), (2 * math.pi * uniform).to(like)
        return lambda vector: self.alpha * torch.sin(rows @ vector + phase)
