"""Scheme `fixed-weights`: keyed weights set to keyed Laplacian values before training, and never trained.

After Tondi, Costanzo and Barni 2022 (fixed, distribution-optimised weights): each bit sits in S weights of value
sign(bit) |Laplace(0, C sigma / sqrt 2)|, sigma the standard deviation of the carrier, and is read as the sign
of their sum. The paper spreads a bit over S = 6 to 50 weights; of C >= 1 we take 1, the host's own variance.
Our choice: sigma is that of the whole carrier at the start, one number for all of its layers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from cwwm.codes import Bits
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.residual.expected import Expected
from cwwm.schemes.base import EmbedContext
from cwwm.schemes.common.coded import OuterCoded, SoftWord
from cwwm.schemes.common.keyed import KeyedEmbedding
from cwwm.schemes.sign import soft_sums
from cwwm.support.errors import BadInput
from cwwm.weights.moments import carrier_deviation
from cwwm.weights.view import Weights


@dataclass(frozen=True, kw_only=True)
class FixedWeights(OuterCoded):
    """Fixed Laplacian weights.

    Attributes:
        repetition: S, weights a bit.
        spread: C, the marked weights' standard deviation in standard deviations of the carrier.
        carrier: rule that chooses the host layers.
    """

    name: ClassVar[str] = "fixed-weights"

    repetition: int = 6
    spread: float = 1.0
    carrier: str = "all"

    def __post_init__(self) -> None:
        """Refuse parameters that carry nothing."""
        super().__post_init__()
        if self.repetition < 1 or not 0 < self.spread < float("inf"):
            raise BadInput("fixed-weights needs repetition >= 1 and a finite spread above 0")

    @property
    def strength_parameter(self) -> str:
        """Return the spread of the values."""
        return "spread"

    @property
    def hosts(self) -> int:
        """Return L, the number of host weights."""
        return self.symbols * self.repetition

    def expected(self, original: Weights, mark: Mark) -> Mapping[str, Expected]:
        """Return the mean magnitude of the values with either sign; their own are keyed, and not looked at."""
        if mark.carrier is None:
            return {}
        mean = self.spread * carrier_deviation(original, mark.carrier) / math.sqrt(2)
        shapes = {layer.name: layer.shape for layer in mark.carrier.layers}
        return {
            name: Expected(half=torch.full(shape, mean), center=torch.zeros(shape))
            for name, shape in shapes.items()
        }

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "FixedEmbedding":
        """Overwrite the host weights with their fixed values."""
        return FixedEmbedding(self, weights, message, key, context)

    def soft_word(self, suspect: Weights, key: Key, mark: Mark) -> SoftWord | str:
        """Return the sum of the S weights of each symbol."""
        return soft_sums(suspect, key, mark, self.symbols, self.repetition)

    def lost(self, attack: str, rate: float) -> float | None:
        """Return the law's probability that a host is zeroed by pruning at `rate`, or None for other attacks.

        Of magnitude pruning: P(|Laplace| <= tau(R)) = 1 - exp(-sqrt 2 tau / C), tau(R) = PhiInv((1 + R) / 2) the
        quantile of a Gaussian pool in which the hosts are few; at C = 1 it is above R below a rate of about 0.9.
        """
        if attack != "magnitude":
            return rate if attack == "random" else None
        return -math.expm1(-math.sqrt(2) * float(ndtri((1 + rate) / 2)) / self.spread)

    def survival(self, attack: str, strength: float) -> float | None:
        """Return the law for magnitude and random pruning: a symbol is erased where its S hosts are all zeroed."""
        lost = self.lost(attack, strength)
        return None if lost is None else self.recovered_after(lost**self.repetition)


class FixedEmbedding(KeyedEmbedding):
    """Keeps the host weights at their fixed values."""

    def __init__(
        self, scheme: FixedWeights, weights: Weights, message: Bits, key: Key, context: EmbedContext
    ) -> None:
        """Choose the hosts, draw their values and write them."""
        super().__init__(scheme, weights, message, key, context, rule=scheme.carrier, count=scheme.hosts)
        self.scheme = scheme
        deviation = scheme.spread * carrier_deviation(weights, self.carrier)
        uniform = self.streams.stream("magnitudes").uniform(scheme.hosts) + 2.0**-54  # never exactly 0
        magnitudes = -np.log(uniform) * deviation / math.sqrt(2)
        signs = 2.0 * scheme.symbols_of(message, self.streams).repeat(scheme.repetition) - 1.0
        self._values: Tensor = torch.from_numpy((signs * magnitudes).astype(np.float32)).to(self.device)
        self.project()

    @torch.no_grad()
    def project(self) -> None:
        """Restore the fixed values."""
        self.hosts.scatter(self.weights, self._values)

    def finish(self) -> Mark:
        """Return the mark; the weights are in their final form since the last projection."""
        return self.reported({})
