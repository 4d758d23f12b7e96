"""Scheme `none`: the control without a mark, which shows what evidence says where there is nothing to find."""

from dataclasses import dataclass, replace
from typing import ClassVar

from cwwm.codes import Bits
from cwwm.ownership.evidence import Evidence
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import Claim, EmbedContext, Extraction, Scheme
from cwwm.schemes.common.keyed import KeyedEmbedding, match_evidence
from cwwm.schemes.sign import read_sums
from cwwm.weights.moments import require_finite_carrier
from cwwm.weights.view import Weights

_PRUNING = ("magnitude", "random")


@dataclass(frozen=True, kw_only=True)
class Unmarked(Scheme):
    """No watermark: embedding changes nothing, extraction reads the signs of keyed weights, never recovered.

    Attributes:
        carrier: rule that chooses the layers read.
    """

    name: ClassVar[str] = "none"

    carrier: str = "all"

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "UnmarkedEmbedding":
        """Choose the weights that will be read."""
        return UnmarkedEmbedding(self, weights, message, key, context)

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Read each bit as the sign of one weight, as scheme `sign` does: fair coins, for the pad whitens them."""
        return replace(read_sums(suspect, key, mark, 1), ok=False)

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        """Return the binomial tail of the matched bits."""
        return match_evidence(extraction, claim)

    def survival(self, attack: str, strength: float) -> float | None:
        """Return 0: there is no message."""
        return 0.0 if attack in _PRUNING else None


class UnmarkedEmbedding(KeyedEmbedding):
    """Leaves the weights alone."""

    def __init__(self, scheme: Unmarked, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> None:
        """Choose the weights, under the conditions of every mark."""
        super().__init__(scheme, weights, message, key, context, rule=scheme.carrier, count=scheme.payload_bits)
        require_finite_carrier(weights, self.carrier)
        self.scheme = scheme

    def finish(self) -> Mark:
        """Return the mark of nothing."""
        return self.reported({})
