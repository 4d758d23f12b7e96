"""Keyed pseudo-noise on all weights of a carrier: which symbol a weight carries, with which sign, how large.

Amplitudes are one for the whole carrier, or follow each channel: g gamma_l rms(channel), with a gain gamma_l of the
layer that spares layers whose changes the answers feel (`cwwm.weights.sensitivity`).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cwwm.codes import Word
from cwwm.ownership.keys import Streams
from cwwm.weights.carrier import NOTHING_DEAD, Carrier, Layer
from cwwm.weights.moments import carrier_deviation
from cwwm.weights.view import Weights

POOL, CHANNEL = "pool", "channel"
_CHUNK = 1 << 20
_ROWS = 1 << 22  # weights whose rows are looked at at once
Reals = npt.NDArray[np.float64]


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
        chips: (start, stop) -> those octets of fair bits, one a position, uint8 (stop - start,).
        offsets: keyed offset of each run, int64 (ceil(N / n),).
    """

    length: int
    chips: Callable[[int, int], npt.NDArray[np.uint8]]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def keyed(cls, streams: Streams, size: int, length: int) -> "Spreading":
        """Draw the spreading of a pool of `size` weights."""
        return cls(
            length,
            streams.stream("chips").packed().octets,
            streams.stream("offsets").below(length, -(-size // length)),
        )

    def signs(self, first: int, count: int) -> npt.NDArray[np.int8]:
        """Return the chips of the pool positions from `first` on, int8 (count,) of -1 and 1."""
        start, skip = first // 8, first % 8
        bits = np.unpackbits(self.chips(start, (first + count + 7) // 8), bitorder="little").view(np.int8)
        return np.asarray(2 * bits[skip : skip + count] - 1, np.int8)

    def pattern(self, first: int, count: int, word: Word) -> Reals:
        """Return what a codeword adds to the positions from `first` on, at unit gain: float64 (count,)."""
        symbols, out = 2.0 * word - 1.0, np.empty(count)
        for places, bits in self._stretches(first, count):
            out[places] = symbols[bits]
        return np.asarray(out * self.signs(first, count))

    def despread(self, first: int, values: Reals) -> Reals:
        """Return the correlation of each coded bit with weights from `first` on, float64 (length,)."""
        turned, sums = values * self.signs(first, len(values)), np.zeros(self.length)
        for places, bits in self._stretches(first, len(values)):
            sums[bits] += turned[places]
        return sums

    def _stretches(self, first: int, count: int) -> Iterator[tuple[slice, slice]]:
        """Yield positions, counted from `first`, and their coded bits, in stretches over which both ascend."""
        at = first
        while at < first + count:
            run, place = divmod(at, self.length)
            bit = (place + int(self.offsets[run])) % self.length
            size = min(self.length - place, self.length - bit, first + count - at)
            yield slice(at - first, at - first + size), slice(bit, bit + size)
            at += size


@dataclass(frozen=True)
class Amplitudes:
    """How large a pattern is at each weight.

    Attributes:
        gain: g, in units of what `per` says.
        per: `POOL`, one amplitude for all, in standard deviations of the carrier; or `CHANNEL`, in root mean
            squares of a weight's own output channel.
        gains: gamma of each layer by name, of `CHANNEL` alone; one where it says nothing.
    """

    gain: float
    per: str
    gains: Mapping[str, float]

    def of(self, weights: Weights, carrier: Carrier) -> list[Tensor]:
        """Return the amplitude of each row of each layer, float64 (o,), for the weights as they are."""
        if self.per == POOL:
            one = self.gain * carrier_deviation(weights, carrier)
            return [torch.full((layer.shape[0],), one, dtype=torch.float64) for layer in carrier.layers]
        return [self.gain * self.gamma(layer) * row_rms(weights.tensor(layer.name)) for layer in carrier.layers]

    def gamma(self, layer: Layer) -> float:
        """Return the gain of a layer."""
        return self.gains.get(layer.name, 1.0)


def row_rms(weight: Tensor) -> Tensor:
    """Return the root mean square of each row's finite, non-zero weights, float64 (o,), on the CPU; 0 of none."""
    rows = weight.detach().reshape(len(weight), -1)
    return torch.cat([_rms(piece) for piece in torch.split(rows, max(1, _ROWS // max(1, rows.shape[1])))])


def _rms(rows: Tensor) -> Tensor:
    finite = rows.double().nan_to_num(0.0, 0.0, 0.0)
    there = (finite != 0).sum(1).clamp(min=1)
    return (finite.square().sum(1) / there).sqrt().cpu()


def of_their_rows(layer: Layer, values: Tensor, start: int, stop: int) -> Tensor:
    """Return what each weight's row has, of the weights of the pool by their numbers in a layer.

    Args:
        layer: of the pool. values: one a row of the layer, (o,).
        start, stop: the first number, and the one after the last.
    """
    long = math.prod(layer.shape[1:])
    if layer.dead != NOTHING_DEAD:
        return values[layer.places(torch.arange(start, stop)).div(long, rounding_mode="floor")]
    first, end = start // long, -(-stop // long)
    return values[first:end].repeat_interleave(long)[start - first * long : stop - first * long]
