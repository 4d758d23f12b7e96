"""Which channel of a suspect each channel of the owner's copy went to: partial, one to one."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
NONE = -1  # the channel was removed, or is not recognised


@dataclass(frozen=True, eq=False)
class ChannelMap:
    """A matching of the n channels of the owner's copy to those of a suspect.

    Attributes:
        partner: int64 (n,), the suspect's channel, or -1.
        width: how many channels the suspect has.
    """

    partner: Indices
    width: int

    @classmethod
    def identity(cls, size: int) -> "ChannelMap":
        """Return the map that moves nothing."""
        return cls(np.arange(size), size)

    @property
    def size(self) -> int:
        """Number of channels of the owner's copy."""
        return len(self.partner)

    @property
    def matched(self) -> Indices:
        """Return the owner's channels that have a partner, ascending."""
        return np.flatnonzero(self.partner != NONE)

    def agreement(self, other: "ChannelMap") -> float:
        """Return the share of channels matched by either that both match alike."""
        either = (self.partner != NONE) | (other.partner != NONE)
        return float(np.mean(self.partner[either] == other.partner[either])) if either.any() else 0.0

    def expanded(self, factor: int) -> "ChannelMap":
        """Return the map of a flattened feature map: each channel is `factor` neighbouring inputs."""
        inner = np.arange(factor)
        partner = np.where(self.partner[:, None] == NONE, NONE, self.partner[:, None] * factor + inner)
        return ChannelMap(partner.reshape(-1), self.width * factor)

    def chunk(self, number: int, parts: int) -> "ChannelMap | None":
        """Return one of equal parts, such as the values of fused queries, keys and values; None if it is torn."""
        if self.size % parts or self.width % parts:
            return None
        part, width = np.split(self.partner, parts)[number], self.width // parts
        inside = (part >= number * width) & (part < (number + 1) * width)
        if np.any((part != NONE) & ~inside):
            return None
        return ChannelMap(np.where(part == NONE, NONE, part - number * width), width)

    def then(self, other: "ChannelMap") -> "ChannelMap":
        """Return the map of two sets of channels that are concatenated."""
        shifted = np.where(other.partner == NONE, NONE, other.partner + self.width)
        return ChannelMap(np.concatenate([self.partner, shifted]), self.width + other.width)
