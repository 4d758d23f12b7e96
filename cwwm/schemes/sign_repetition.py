"""Scheme `sign-repetition`: each message bit is the sign of S keyed weights, read as the sign of their sum.

The plain sign encoding with repetition of the comparison table: a weight that pruning sets to zero abstains,
so a bit is lost only if all S are gone: bit error R^S / 2 at pruning rate R, magnitude or random, as long as
the host magnitudes are distributed like the pool's.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from cwwm.codes import Bits
from cwwm.errors import BadInput
from cwwm.evidence import Evidence
from cwwm.keys import Key
from cwwm.mark import Mark
from cwwm.order_statistics import MagnitudeTable, at_most
from cwwm.schemes.base import Claim, EmbedContext, Extraction, Scheme, check_message
from cwwm.schemes.keyed import KeyedEmbedding, match_evidence, pad_bits, read_hosts
from cwwm.thresholds import pool_quantile, require_finite
from cwwm.weights import FLOAT_DTYPES, Weights


@dataclass(frozen=True, kw_only=True)
class SignRepetition(Scheme):
    """Signs with repetition.

    Attributes:
        repetition: S, weights a bit.
        carrier: rule that chooses the host layers.
        floor: while training, a weight that would change its sign is held at this quantile of the pool's
            magnitudes, with the sign that it must have. A finished model keeps all its magnitudes.
    """

    name: ClassVar[str] = "sign-repetition"

    repetition: int = 7
    carrier: str = "all"
    floor: float = 0.1

    def __post_init__(self) -> None:
        """Refuse parameters that carry nothing."""
        super().__post_init__()
        if self.repetition < 1 or not 0 < self.floor < 1:
            raise BadInput("sign-repetition needs repetition >= 1 and 0 < floor < 1")

    @property
    def hosts(self) -> int:
        """Return L, the number of host weights."""
        return self.payload_bits * self.repetition

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "SignEmbedding":
        """Give the host weights their signs, magnitudes kept."""
        return SignEmbedding(self, weights, check_message(message, self.payload_bits), key, context.salt)

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Read each bit as the sign of the sum of its S weights; a bit whose sum is zero is erased."""
        hosts = read_hosts(suspect, key, mark, self.hosts)
        if isinstance(hosts, str):
            return Extraction.not_applicable(self.payload_bits, hosts)
        sums = hosts.values.reshape(self.payload_bits, self.repetition).astype(np.float64).sum(axis=1)
        bits = pad_bits((sums > 0).astype(np.uint8), key, mark.salt)
        return Extraction(bits, ok=True, reliabilities=np.abs(sums), erased=int(np.sum(sums == 0)))

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        """Return the binomial tail of the matched bits."""
        return match_evidence(extraction, claim)

    def survival(self, attack: str, strength: float) -> float | None:
        """Return (1 - R^S / 2)^k for magnitude and random pruning: every bit right."""
        if attack not in ("magnitude", "random"):
            return None
        return float((1 - strength**self.repetition / 2) ** self.payload_bits)


class SignEmbedding(KeyedEmbedding):
    """Holds the signs of the host weights."""

    def __init__(self, scheme: SignRepetition, weights: Weights, message: Bits, key: Key, salt: bytes) -> None:
        """Choose the hosts and set their signs."""
        super().__init__(scheme, weights, key, salt, rule=scheme.carrier, count=scheme.hosts)
        self.scheme = scheme
        padded = pad_bits(message, key, salt).repeat(scheme.repetition)
        self._signs = torch.from_numpy(2.0 * padded - 1.0).float().to(self.device)
        self._floor = self._floor_of_each_host()
        magnitudes = self.before.abs()
        self._write(torch.where(magnitudes == 0, self._floor, magnitudes))

    @torch.no_grad()
    def project(self) -> None:
        """Hold a weight that training moved across zero at the floor, on its own side."""
        values = self.hosts.gather(self.weights) * self._signs
        self._write(torch.where(values > 0, values, self._floor))

    def finish(self) -> Mark:
        """Return the mark; the weights are in their final form since the last projection."""
        return self.mark(self.scheme.parameters, {})

    def _write(self, magnitudes: Tensor) -> None:
        self.hosts.scatter(self.weights, self._signs * magnitudes)

    def _floor_of_each_host(self) -> Tensor:
        """Return the floor for each host, float32 (L,), in its layer's dtype."""
        layers = self.carrier.layers
        table = MagnitudeTable([self.weights.tensor(layer.name) for layer in layers])
        require_finite(table, [layer.name for layer in layers])
        floor = pool_quantile(table, tuple(range(len(layers))), self.scheme.floor)
        by_layer = torch.tensor([at_most(floor, FLOAT_DTYPES[layer.dtype]) for layer in layers])
        return by_layer[torch.from_numpy(self.hosts.layer)].to(self.device)
