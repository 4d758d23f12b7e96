"""Scheme `spread-spectrum`: coded bits added to all weights of the carrier as keyed pseudo-noise of small gain.

After TATTOOED (Pagnotta and others, arXiv 2202.06091), which adds coded bits by code-division multiple access with
a gain far below the weights, and decodes what a correlator reads; scheme `tattooed` keeps to it. Our choices, where
we differ:
- There every coded bit has a code over all weights, and the sum of all codes is added: the bits disturb each
  other, and time grows with weights times bits. Here each weight belongs to one coded bit (direct sequence,
  disjoint hence orthogonal codes): the same energy a bit, no disturbance, time linear in the weights.
- The outer code is a keyed random linear code of rate 1/2, or a polar code, with a keyed check, not LDPC.
- The pattern is added once, when training is over, to the final weights: no step of training adds it again.
- The gain follows the pool's size by default: TATTOOED's fixed one reads badly in small models.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import chndtrix, ndtr, ndtri
from torch import Tensor

from cwwm.codes import Bits, Word
from cwwm.codes.polar import PolarCode
from cwwm.ownership.keys import Key, Streams
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import EmbedContext, Embedding
from cwwm.schemes.common.coded import CodedScheme, SoftWord
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier, Layer
from cwwm.weights.moments import carrier_deviation
from cwwm.weights.view import FLOAT_DTYPES, Weights

_CHUNK = 1 << 20
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SpreadSpectrum(CodedScheme):
    """Direct-sequence spreading.

    Attributes:
        length: n, coded bits; by default twice the message and check bits (rate 1/2); of the polar code a power of
            two, by default the least of six times the message and check bits.
        ratio: amplitude of a despread coded bit over the standard deviation of what the host adds to it:
            gain * sqrt(N / n) for a pool of N weights.
        gain: gamma, what is added to or taken from each weight, in standard deviations of the carrier; None
            takes it from `ratio`, and no law is known for a given gain without the pool.
        carrier: rule that chooses the host layers.
    """

    name: ClassVar[str] = "spread-spectrum"

    ratio: float = 4.0
    gain: float | None = None
    carrier: str = "all"

    def __post_init__(self) -> None:
        """Refuse strengths that add nothing."""
        super().__post_init__()
        strength = self.ratio if self.gain is None else self.gain
        if not 0 < strength < float("inf"):
            raise BadInput(f"spread-spectrum needs a finite ratio or gain above 0, not {strength}")

    @property
    def strength_parameter(self) -> str:
        """Return the gain where it is given, else the ratio that it is taken from."""
        return "ratio" if self.gain is None else "gain"

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "SpreadEmbedding":
        """Choose the carrier; the pattern is added by `finish`."""
        return SpreadEmbedding(self, weights, message, key, context)

    def soft_word(self, suspect: Weights, key: Key, mark: Mark) -> SoftWord | str:
        """Despread by correlation; missing layers and non-finite weights add nothing."""
        if mark.carrier is None:
            return "the mark names no carrier"
        missing = mark.carrier.missing(suspect)
        if len(missing) == len(mark.carrier.layers):
            return missing[0]
        spreading = Spreading.keyed(mark.streams(key), mark.carrier.size, self.code.length)
        sums, squares = np.zeros(self.code.length), 0.0
        for layer, start, stop, first in pieces(mark.carrier):
            if layer not in missing:
                there = mark.carrier.layers[layer]
                values = there.living(suspect.tensor(there.name))[start:stop].float()
                finite = torch.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).cpu().double().numpy()
                sums += spreading.despread(first, finite)
                squares += float(finite @ finite)
        return SoftWord(sums, float(np.sqrt(squares)))

    def coded_bit_error(self, attack: str, rate: float) -> float | None:
        """Return the law's error of coded bits before decoding, Q(ratio sqrt(s)), or None where none is known.

        s is the energy that pruning at `rate` leaves: 1 - R for random pruning; for magnitude pruning of a
        Gaussian pool E[w^2; |w| > tau] = 2 (tau phi(tau) + Q(tau)), since a shift of all weights by a small
        gain moves the sum of the survivors by that much a unit (by parts). It is the limit of small gains: at
        a gain of 0.175 and R = 0.99 the error is 0.14, not 0.12.
        """
        left = _energy_left(attack, rate)
        return None if left is None or self.gain is not None else float(ndtr(-self.ratio * np.sqrt(left)))

    def survival(self, attack: str, strength: float) -> float | None:
        """Return the law of the outer code, whose positions read N(m, 1), m = -Q^-1 of their error.

        Linear: P(at most one of the most reliable positions is wrong), when order-1 decoding succeeds; the share
        `information / n` with |read| > t is taken for the basis, independent of each other. Polar: its curve.
        """
        error = self.coded_bit_error(attack, strength)
        if error is None:
            return None
        mean = -float(ndtri(error))
        if isinstance(self.code, PolarCode):
            return self.code.success(self.code.length * max(mean, 0.0) ** 2)
        return _at_most_one(self.information, _error_in_basis(mean, self.information / self.code.length))


def _error_in_basis(mean: float, share: float) -> float:
    """Return P(a read N(mean, 1) is negative) among the `share` of reads that are largest in magnitude."""
    threshold = np.sqrt(chndtrix(1 - share, 1, mean * mean))  # the square of a read is noncentral chi-squared
    return float(ndtr(-mean - threshold) / share)


def _at_most_one(trials: int, chance: float) -> float:
    """Return P(Binomial(trials, chance) <= 1), exact where it rounds to 1."""
    rest = trials - 1
    return float(np.exp(rest * np.log1p(-chance) + np.log1p(rest * chance)))


def _energy_left(attack: str, rate: float) -> float | None:
    if attack == "magnitude" and rate < 1:
        tau = float(ndtri((1 + rate) / 2))
        return float(2 * (tau * np.exp(-tau * tau / 2) / np.sqrt(2 * np.pi) + ndtr(-tau)))
    return 1 - rate if attack in ("magnitude", "random") else None


def pieces(carrier: Carrier) -> Iterator[tuple[int, int, int, int]]:
    """Yield the pool in pieces: index of the layer, start and stop in it, pool position of the start."""
    for index, layer in enumerate(carrier.layers):
        for start in range(0, layer.size, _CHUNK):
            yield index, start, min(start + _CHUNK, layer.size), int(carrier.offsets[index]) + start


@dataclass(frozen=True, eq=False)
class Spreading:
    """Which coded bit each pool position carries, and with which chip.

    In each run of `length` positions every coded bit has one, in an order rotated by a keyed offset: shares are
    equal but for one, a lost channel or layer hurts all coded bits alike, and no permutation of the pool is
    needed. What hides the pattern is the chips.

    Attributes:
        length: n, coded bits.
        chips: fair bits, packed, uint8 (ceil(N / 8),).
        offsets: keyed offset of each run, int64 (ceil(N / n),).
    """

    length: int
    chips: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def keyed(cls, streams: Streams, size: int, length: int) -> "Spreading":
        """Draw the spreading of a pool of `size` weights."""
        chips = streams.stream("chips").words(-(-size // 64)).astype("<u8").view(np.uint8)
        return cls(length, chips, streams.stream("offsets").below(length, -(-size // length)))

    def owner(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """Return the coded bit of each pool position from `first` on, int64 (count,)."""
        run, place = np.divmod(np.arange(first, first + count), self.length)
        return np.asarray((place + self.offsets[run]) % self.length)

    def signs(self, first: int, count: int) -> Reals:
        """Return the chips of the pool positions from `first` on, float64 (count,) of -1 and 1."""
        start, skip = first // 8, first % 8
        bits = np.unpackbits(self.chips[start : (first + count + 7) // 8], bitorder="little")
        return np.asarray(2.0 * bits[skip : skip + count] - 1.0, np.float64)

    def pattern(self, first: int, count: int, word: Word) -> Reals:
        """Return what a codeword adds to the positions from `first` on, at unit gain: float64 (count,)."""
        return np.asarray(self.signs(first, count) * (2.0 * word - 1.0)[self.owner(first, count)])

    def despread(self, first: int, values: Reals) -> Reals:
        """Return the correlation of each coded bit with weights from `first` on, float64 (length,)."""
        chips = self.signs(first, len(values))
        return np.asarray(np.bincount(self.owner(first, len(values)), chips * values, self.length), np.float64)


class SpreadEmbedding(Embedding):
    """Adds the pattern when the weights are final."""

    def __init__(
        self, scheme: SpreadSpectrum, weights: Weights, message: Bits, key: Key, context: EmbedContext
    ) -> None:
        """Choose the carrier, bind the mark and draw the spreading."""
        self.weights, self.scheme, self.message = weights, scheme, message
        self.carrier = Carrier.choose(weights, scheme.carrier, context.dead)
        if self.carrier.size < scheme.code.length:
            raise BadInput(
                f"carrier '{scheme.carrier}' has {self.carrier.size:,} weights, the code needs "
                f"{scheme.code.length:,}; choose a larger carrier or a shorter payload"
            )
        carrier_deviation(weights, self.carrier)  # refuses a carrier that training would not mend
        self.mark = scheme.bind(weights, message, key, context, carrier=self.carrier)
        self.streams = self.mark.streams(key)
        self.spreading = Spreading.keyed(self.streams, self.carrier.size, scheme.code.length)
        self._word = scheme.codeword(message, self.streams)

    @cached_property
    def gain(self) -> float:
        """Return what is added to a weight, in weight units, for the carrier as it is at the first call."""
        scheme = self.scheme
        share = self.carrier.size / scheme.code.length
        gamma = scheme.ratio / np.sqrt(share) if scheme.gain is None else scheme.gain
        return float(gamma) * carrier_deviation(self.weights, self.carrier)

    @torch.no_grad()
    def finish(self) -> Mark:
        """Add the pattern and return the mark.

        Raises:
            BadInput: if the message would not read back: the gain is too small, for the host or for its dtype.
                The weights are then as they were.
        """
        self._require_readable()
        touched, energy = 0, 0.0
        for index, start, stop, first in pieces(self.carrier):
            layer = self.carrier.layers[index]
            before, after = self._marked(layer, start, stop, first)
            change = after.double() - before.double()
            touched, energy = touched + int(torch.count_nonzero(change)), energy + float(change.square().sum())
            self.weights.write(layer.name, layer.places(torch.arange(start, stop)), after)
        facts = {"touched": touched, "squared_change": energy, "gain": self.gain}
        return replace(self.mark, report={"pool": self.carrier.size, **facts})

    def _marked(self, layer: Layer, start: int, stop: int, first: int) -> tuple[Tensor, Tensor]:
        """Return a piece of a layer as it is and as it will be, in its own dtype."""
        before = layer.living(self.weights.tensor(layer.name))[start:stop]
        added = torch.from_numpy(self.gain * self.spreading.pattern(first, stop - start, self._word))
        after = (before.double() + added.to(before.device)).to(FLOAT_DTYPES[layer.dtype])
        return before, after

    def _require_readable(self) -> None:
        sums = np.zeros(self.scheme.code.length)
        for index, start, stop, first in pieces(self.carrier):
            after = self._marked(self.carrier.layers[index], start, stop, first)[1]
            sums += self.spreading.despread(first, after.cpu().double().numpy())
        read = self.scheme.decode(sums, self.streams)
        if not (read.ok and np.array_equal(read.bits, self.message)):
            raise BadInput(
                f"the message does not read back at a gain of {self.gain:.3g}; use a larger ratio or gain, a "
                "larger carrier, a shorter payload, or a finer dtype"
            )
