"""Scheme `uchida`: a loss draws keyed projections of a layer's filter-averaged weights to the message's side.

After Uchida, Nagai, Sakazawa and Satoh, "Embedding Watermarks into Deep Neural Networks", ICMR 2017
(arXiv 1701.04082): E = E_0 + lambda * sum_j BCE(sigmoid((A x)_j), b_j), read as (A x)_j > 0. A has
independent N(0, 1) entries (their X_random), x is the layer's weight averaged over its filters.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cwwm.ownership.keys import Streams
from cwwm.schemes.common.projected import LogitsOf, ProjectedScheme, keyed_gaussian


@dataclass(frozen=True, kw_only=True)
class Uchida(ProjectedScheme):
    """Keyed linear projections.

    The cross-entropy is summed over the bits, as in the paper's embedding regulariser. The paper's strength
    0.01 embeds 256 and 512 bits in two epochs of test_resnet on digits (a vector of 1,728). A vector hardly
    longer than the payload needs more of both: 64 bits in one of 288 are whole after 12 epochs at strength 1.

    Attributes:
        strength: lambda of the paper.
        layer: name of the host weight; empty chooses the longest vector.
    """

    name: ClassVar[str] = "uchida"

    def keyed_map(self, streams: Streams, like: Tensor) -> LogitsOf:
        """Return x -> A x."""
        matrix = keyed_gaussian(streams.stream("projection"), self.symbols, len(like)).to(like)
        return lambda vector: matrix @ vector
