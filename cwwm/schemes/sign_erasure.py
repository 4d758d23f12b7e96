"""Scheme `sign-erasure`: a linear or polar code over the signs of keyed weights, in which exact zeros are erasures.

Our own competitor of the comparison table: pruning is an erasure channel for signs, and a random linear code
reaches the limit of that channel, R = 1 - rate, but for about ten positions.
"""

from dataclasses import dataclass
from typing import ClassVar

from cwwm.codes import Bits, polar
from cwwm.codes.linear import shortest_length
from cwwm.ownership.keys import Key, Streams
from cwwm.ownership.mark import Mark
from cwwm.schemes.common.coded import CodedScheme, SoftWord
from cwwm.schemes.common.keyed import read_hosts
from cwwm.schemes.common.outer import LINEAR
from cwwm.schemes.sign import SignScheme
from cwwm.support.errors import BadInput
from cwwm.weights.view import Weights


@dataclass(frozen=True, kw_only=True)
class SignErasure(CodedScheme, SignScheme):
    """Coded signs.

    Attributes:
        length: n, coded bits and host weights; by default the least with which fewer than k + 42 hosts survive
            pruning at `survive` with probability at most 1e-3; of the polar code the least power of two that fails
            there with at most that probability.
        survive: pruning rate R that the default length is made for.
    """

    name: ClassVar[str] = "sign-erasure"

    survive: float = 0.9

    def __post_init__(self) -> None:
        """Refuse a rate that no length survives."""
        if not 0 < self.survive < 1:
            raise BadInput(f"{self.name} needs 0 < survive < 1, not survive={self.survive}")
        super().__post_init__()

    def default_length(self) -> int:
        """Return the least length for `survive`."""
        if self.outer == LINEAR:
            return shortest_length(self.information, self.survive)
        return polar.length_for_erasures(self.payload_bits, self.survive)

    @property
    def hosts(self) -> int:
        """Return n, the number of host weights."""
        return self.code.length

    def signs(self, message: Bits, streams: Streams) -> Bits:
        """Return the codeword, uint8 (n,)."""
        return self.symbols_of(message, streams)

    def soft_word(self, suspect: Weights, key: Key, mark: Mark) -> SoftWord | str:
        """Return the host weights: larger magnitudes are trusted more, exact zeros never."""
        hosts = read_hosts(suspect, key, mark, self.hosts)
        if isinstance(hosts, str):
            return hosts
        return SoftWord(hosts.values)

    def survival(self, attack: str, strength: float) -> float | None:
        """Return the law for magnitude and random pruning; the survivors are Binomial(n, 1 - p), p the law's share.

        Linear: the erasure limit. Polar: a lower bound.
        """
        lost = self.lost(attack, strength)
        return None if lost is None else self.recovered_after(lost)
