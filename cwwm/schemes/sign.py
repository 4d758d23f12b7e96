"""Scheme `sign`: each message bit is the sign of one keyed weight; and what all encodings in signs share.

The plain encoding of the comparison table. Pruning sets a weight to zero, whose sign is then a coin: the bit
error is R / 2 at pruning rate R, magnitude or random, as long as the host magnitudes are distributed like
the pool's. With a `strength` of s they are raised to s standard deviations: then magnitude pruning, whose
threshold in a Gaussian pool is PhiInv((1 + R) / 2) standard deviations, touches no host while that is below s.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri
from torch import Tensor

from cwwm.codes import Bits
from cwwm.ownership.keys import Key, Streams
from cwwm.ownership.mark import Mark
from cwwm.residual.expected import Expected
from cwwm.schemes.base import EmbedContext, Extraction, Scheme
from cwwm.schemes.common.coded import OuterCoded, SoftWord, read_bits, summed
from cwwm.schemes.common.keyed import KeyedEmbedding, read_hosts
from cwwm.support.errors import BadInput
from cwwm.weights.moments import carrier_deviation
from cwwm.weights.order_statistics import MagnitudeTable, at_most, next_above
from cwwm.weights.thresholds import pool_quantile, require_finite
from cwwm.weights.view import FLOAT_DTYPES, Weights


@dataclass(frozen=True, kw_only=True)
class SignScheme(Scheme):
    """An encoding in the signs of keyed weights.

    Attributes:
        carrier: rule that chooses the host layers.
        floor: while training, a weight that would change its sign is held at this quantile of the pool's
            magnitudes, with the sign that it must have.
        strength: host magnitudes are raised to at least this multiple of the carrier's standard deviation;
            0 keeps all magnitudes of a finished model, the plain encoding.
    """

    carrier: str = "all"
    floor: float = 0.1
    strength: float = 0.0

    def __post_init__(self) -> None:
        """Refuse parameters that carry nothing."""
        super().__post_init__()
        if not 0 < self.floor < 1:
            raise BadInput(f"{self.name} needs 0 < floor < 1, not floor={self.floor}")
        if not 0 <= self.strength < float("inf"):
            raise BadInput(f"{self.name} needs a finite strength of at least 0, not {self.strength}")

    @property
    def strength_parameter(self) -> str:
        """Return the strength, which raises the magnitudes."""
        return "strength"

    @property
    @abstractmethod
    def hosts(self) -> int:
        """Return L, the number of host weights."""

    @abstractmethod
    def signs(self, message: Bits, streams: Streams) -> Bits:
        """Return which hosts are to be positive, uint8 (hosts,), for a message (payload_bits,)."""

    def expected(self, original: Weights, mark: Mark) -> Mapping[str, Expected]:
        """Return the magnitude that a weight has with either sign: its own, or what the strength asks for."""
        if mark.carrier is None:
            return {}
        least = self.strength * carrier_deviation(original, mark.carrier)
        return {
            layer.name: _either_sign(original.tensor(layer.name).detach().float().abs().clamp(min=least))
            for layer in mark.carrier.layers
        }

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "SignEmbedding":
        """Give the host weights their signs."""
        return SignEmbedding(self, weights, message, key, context)

    def lost(self, attack: str, rate: float) -> float | None:
        """Return the law's probability that a host is zeroed by pruning at `rate`, or None for other attacks.

        Of magnitude pruning it assumes a Gaussian pool in which the hosts are few; a host that was raised to
        the strength is safe below it, and above it the hosts left are the pool's own tail.
        """
        if attack == "magnitude":
            return 0.0 if ndtri((1 + rate) / 2) < self.strength else rate
        return rate if attack == "random" else None


def _either_sign(magnitudes: Tensor) -> Expected:
    return Expected(half=magnitudes, center=torch.zeros_like(magnitudes))


@dataclass(frozen=True, kw_only=True)
class RepeatedSigns(OuterCoded, SignScheme):
    """Each symbol in the signs of the same number of weights, read as the sign of their sum."""

    @property
    @abstractmethod
    def weights_a_bit(self) -> int:
        """Return S, the number of host weights of a symbol."""

    @property
    def hosts(self) -> int:
        """Return L, the number of host weights."""
        return self.symbols * self.weights_a_bit

    def signs(self, message: Bits, streams: Streams) -> Bits:
        """Return the symbols, each S times."""
        return self.symbols_of(message, streams).repeat(self.weights_a_bit)

    def soft_word(self, suspect: Weights, key: Key, mark: Mark) -> SoftWord | str:
        """Return the sum of the S weights of each symbol."""
        return soft_sums(suspect, key, mark, self.symbols, self.weights_a_bit)

    def survival(self, attack: str, strength: float) -> float | None:
        """Return the law for magnitude and random pruning: a symbol is erased where its S hosts are all zeroed."""
        lost = self.lost(attack, strength)
        return None if lost is None else self.recovered_after(lost**self.weights_a_bit)


@dataclass(frozen=True, kw_only=True)
class Sign(RepeatedSigns):
    """One sign a bit."""

    name: ClassVar[str] = "sign"

    @property
    def weights_a_bit(self) -> int:
        """Return 1."""
        return 1


def soft_sums(suspect: Weights, key: Key, mark: Mark, symbols: int, repetition: int) -> SoftWord | str:
    """Return the sum of the hosts of each symbol, or why the mark has no place in a suspect."""
    hosts = read_hosts(suspect, key, mark, symbols * repetition)
    return hosts if isinstance(hosts, str) else SoftWord(summed(hosts.values, repetition))


def read_sums(suspect: Weights, key: Key, mark: Mark, repetition: int) -> Extraction:
    """Read each message bit as the sign of the sum of its hosts; a bit whose sum is zero is erased."""
    word = soft_sums(suspect, key, mark, mark.payload_bits, repetition)
    if isinstance(word, str):
        return Extraction.not_applicable(mark.payload_bits, word)
    return read_bits(word.values, mark.streams(key))


def decide(values: npt.NDArray[np.floating[Any]], repetition: int, streams: Streams) -> Extraction:
    """Sum soft values, floats (k * S,), over the S of each bit; decide by sign and remove the pad."""
    return read_bits(summed(values, repetition), streams)


class SignEmbedding(KeyedEmbedding):
    """Holds the signs of the host weights, and their least magnitude."""

    def __init__(
        self, scheme: SignScheme, weights: Weights, message: Bits, key: Key, context: EmbedContext
    ) -> None:
        """Choose the hosts and set their signs."""
        super().__init__(scheme, weights, message, key, context, rule=scheme.carrier, count=scheme.hosts)
        self.scheme = scheme
        positive = scheme.signs(message, self.streams)
        self._signs = torch.from_numpy(2.0 * positive - 1.0).float().to(self.device)
        self._floor = self._floor_of_each_host()
        self._least = self._least_of_each_host()
        self._steps = 0
        magnitudes = self.before.abs()
        self._write(torch.where(magnitudes == 0, self._floor, magnitudes))

    @torch.no_grad()
    def project(self) -> None:
        """Hold a weight that training moved across zero at the floor, on its own side."""
        self._steps += 1
        values = self.hosts.gather(self.weights) * self._signs
        self._write(torch.where(values > 0, values, self._floor))

    @torch.no_grad()
    def finish(self) -> Mark:
        """Raise the hosts to the strength in units of the final pool, and return the mark."""
        if self._steps and self.scheme.strength:  # else the pool is still the one that `begin` measured
            self._least = self._least_of_each_host()
            self._write(self.hosts.gather(self.weights) * self._signs)
        return self.reported({})

    def _write(self, magnitudes: Tensor) -> None:
        self.hosts.scatter(self.weights, self._signs * magnitudes.maximum(self._least))

    def _floor_of_each_host(self) -> Tensor:
        """Return the floor for each host, float32 (L,), in its layer's dtype."""
        layers = self.carrier.layers
        table = MagnitudeTable([self.weights.tensor(layer.name) for layer in layers])
        require_finite(table, [layer.name for layer in layers])
        floor = pool_quantile(table, tuple(range(len(layers))), self.scheme.floor)
        return self._by_layer([at_most(floor, FLOAT_DTYPES[layer.dtype]) for layer in layers])

    def _least_of_each_host(self) -> Tensor:
        """Return the magnitude that the strength asks for, float32 (L,), in its layer's dtype."""
        if not self.scheme.strength:
            return torch.zeros_like(self.before)
        least = self.scheme.strength * carrier_deviation(self.weights, self.carrier)
        return self._by_layer([next_above(least, FLOAT_DTYPES[layer.dtype]) for layer in self.carrier.layers])

    def _by_layer(self, values: list[float]) -> Tensor:
        return torch.tensor(values)[torch.from_numpy(self.hosts.layer)].to(self.device)
