"""Scheme `tattooed`: every symbol of an LDPC word adds its own keyed signs, scaled by one small gain, to a share of
the weights at once.

After Pagnotta, Hitaj, Hitaj, Perez-Cruz and Mancini, "TATTOOED: A Robust Deep Neural Network Watermarking Scheme
based on Spread-Spectrum Channel Coding", ACSAC 2024 (arXiv 2202.06091), and the settings that come with its code.
Where we differ from these:
- Pool: there all tensors with "weight" in their names but the last, so scales of batch norms as well. Here
  convolution and linear weights; `carrier` "body" leaves out the classifier. Networks that have nothing to do with
  each other share what norms say, so marks there prove nothing.
- Positions: there drawn with replacement, and of two writes to a place the later one stays. Here distinct, drawn
  from the key's own stream, so that all symbols are sums.
- Signs: there one generator of a small seed gives them all. Here they come from the cryptographic stream of key and
  salt, symbol after symbol in blocks, and are made again for each reading: no matrix of symbols times weights is
  ever held.
- The message is whitened by a keyed pad. What fills the last word is known to the reader, and is used.
- LDPC: Gallager's public (3, 12) matrix and min-sum of 30 rounds in place of a library's belief propagation.
- When: there at the end of one of the last epochs, here when training is over; no later step touches the mark.
The published gain is the default, in weight units. It was found for large networks: a share R of N weights reads at
gain sqrt(R) / sqrt(sigma^2 + gain^2 L) standard deviations for L symbols, too little in small ones. `ratio` sets
that amplitude as in `spread-spectrum`, and is what calibration tunes.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from cwwm.codes import Bits
from cwwm.codes.ldpc import LdpcCode
from cwwm.ownership.evidence import Evidence, log10_bound_of_signs
from cwwm.ownership.keys import Key, Streams
from cwwm.ownership.mark import Mark
from cwwm.residual.expected import Expected
from cwwm.schemes.base import Claim, EmbedContext, Embedding, Extraction, Scheme
from cwwm.schemes.common.keyed import pad_bits, place, read_hosts
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier
from cwwm.weights.moments import carrier_deviation
from cwwm.weights.view import Weights

Reals = npt.NDArray[np.float64]

PREAMBLE = 200  # symbols known to the reader, from which amplitude and noise are measured
_SHORT, _LONG, _LONG_FROM = (
    384,
    12_192,
    4_000,
)  # lengths of a word, and from how many message bits it is the long one
_BLOCK = 1 << 18  # chips made at a time: what a processor's cache holds


@dataclass(frozen=True, kw_only=True)
class Tattooed(Scheme):
    """Code-division multiple access over a share of all weights.

    Evidence is a bound, not a fit: under a random key the correlation of the symbols read with the claimed ones is
    a sum of independent fair signs times weights, whatever these are (Hoeffding 1963). It is about L times the
    amplitude squared over two, in natural logarithms: far more than the message's own bits.

    Attributes:
        share: R / N, part of the pool that carries. The code's settings go from 0.00125 to 0.75, the one for its
            smallest network.
        gain: gamma, added to or taken from a weight by each symbol, in weight units; 9e-4 in the paper's code.
        ratio: amplitude of a symbol over the standard deviation of what the host adds to it; sets the gain from the
            host in place of `gain` where given.
        row_weight: d_c of the (3, d_c) code: 12 for the paper's rate 3/4, 6 for 1/2, 4 for 1/4.
        word: n, symbols of a word; 0 for the paper's 384, or 12,192 above 4,000 message bits.
        carrier: rule that chooses the pool.
    """

    name: ClassVar[str] = "tattooed"

    share: float = 0.75
    gain: float = 9e-4
    ratio: float | None = None
    row_weight: int = 12
    word: int = 0
    carrier: str = "body"

    def __post_init__(self) -> None:
        """Refuse strengths that add nothing, shares that are none, and words that make no code."""
        super().__post_init__()
        strength = self.gain if self.ratio is None else self.ratio
        if not 0 < strength < math.inf:
            raise BadInput(f"tattooed needs a finite gain or ratio above 0, not {strength}")
        if not 0 < self.share <= 1:
            raise BadInput(f"tattooed marks a share of the weights above 0 and up to 1, not {self.share}")
        _ = self.code

    @property
    def strength_parameter(self) -> str:
        """Return the ratio where it is given, else the gain."""
        return "gain" if self.ratio is None else "ratio"

    @cached_property
    def code(self) -> LdpcCode:
        """Return the code of a word."""
        length = self.word or (_LONG if self.payload_bits > _LONG_FROM else _SHORT)
        return LdpcCode(length=length, row_weight=self.row_weight)

    @property
    def words(self) -> int:
        """Return how many words carry the message."""
        return -(-self.payload_bits // self.code.information)

    @property
    def symbols(self) -> int:
        """Return L, the symbols of preamble and words."""
        return PREAMBLE + self.words * self.code.length

    @property
    def least(self) -> int:
        """Return how many weights a pool needs, for as many that carry as there are symbols."""
        return math.ceil(self.symbols / self.share)

    def places(self, carrier: Carrier) -> int:
        """Return R, how many weights of a pool carry; BadInput if they are fewer than the symbols."""
        count = int(self.share * carrier.size)
        if count < self.symbols:
            raise BadInput(
                f"carrier '{carrier.rule}' has {carrier.size:,} weights, the code needs "
                f"{self.least:,}; choose a larger carrier or a shorter payload"
            )
        return count

    def frame(self, message: Bits, streams: Streams) -> Reals:
        """Return preamble and code symbols of a message, float64 (L,) of -1 and 1."""
        padded = pad_bits(message, streams, self.words * self.code.information)
        word = self.code.encode(padded.reshape(self.words, -1)).reshape(-1)
        return np.concatenate([_preamble(streams), 2.0 * word - 1.0])

    def expected(self, original: Weights, mark: Mark) -> Mapping[str, Expected]:
        """Return the root mean square of the sum of all symbols, which a weight is moved by either way."""
        if mark.carrier is None:
            return {}
        size = self.gain_for(original, mark.carrier) * math.sqrt(self.symbols)
        return {layer.name: Expected(half=torch.full(layer.shape, size)) for layer in mark.carrier.layers}

    def gain_for(self, weights: Weights, carrier: Carrier) -> float:
        """Return gamma in weight units, for the carrier as it is."""
        if self.ratio is None:
            return self.gain
        return self.ratio * carrier_deviation(weights, carrier) / math.sqrt(self.places(carrier))

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "TattooedEmbedding":
        """Choose pool and positions; the signs are added by `finish`."""
        return TattooedEmbedding(self, weights, message, key, context)

    def read(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Return the symbols as read, the message not decoded.

        `symbols` are the correlations with each symbol's signs over the norm of the weights, float64 (L,): of unit
        variance under a random key, zero if all weights are.
        """
        if mark.carrier is None:
            return Extraction.not_applicable(self.payload_bits, "the mark names no carrier")
        found = read_hosts(suspect, key, mark, self.places(mark.carrier))
        if isinstance(found, str):
            return Extraction.not_applicable(self.payload_bits, found)
        values = found.values / np.float32(max(float(np.abs(found.values).max()), 2.0**-126))
        norm = float(np.sqrt(np.square(values, dtype=np.float64).sum()))
        symbols = np.zeros(self.symbols)
        if norm:
            chips = self._chips(mark.streams(key), len(values))
            symbols[:] = (
                2.0 * np.concatenate([some @ values for some in chips]) - values.sum(dtype=np.float64)
            ) / norm
        nothing = np.zeros(self.payload_bits, np.uint8)
        return Extraction(nothing, False, np.abs(symbols), int(np.sum(symbols == 0)), symbols)

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Measure amplitude and noise on the preamble, then decode; `ok` if every check of every word holds."""
        found = self.read(suspect, key, mark)
        if not found.applicable:
            return found
        streams = mark.streams(key)
        known = found.symbols[:PREAMBLE] * _preamble(streams)
        amplitude = float(known.mean())
        if amplitude <= 0:
            return found
        noise = max(float(known.std()) / amplitude, 1e-3)
        odds = (2 / noise**2) * (found.symbols[PREAMBLE:] / amplitude).reshape(self.words, -1)
        filling = pad_bits(np.zeros(0, np.uint8), streams, self.words * self.code.information)[self.payload_bits :]
        bits, good = self.code.decode(odds, len(filling), filling)
        if not good.all():
            return found
        message = pad_bits(bits.reshape(-1), streams)[: self.payload_bits]
        return replace(found, bits=message, ok=True)

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        """Return Hoeffding's bound on the correlation with the claimed frame."""
        if not extraction.applicable:
            return Evidence({})
        total = float(extraction.symbols @ self.frame(claim.message, claim.streams))
        deviations = total / math.sqrt(self.symbols)
        return Evidence(
            {"correlation": log10_bound_of_signs(deviations)},
            {"standard deviations": deviations, "symbols": self.symbols},
        )

    def overlap(self, extraction: Extraction, claim: Claim) -> float:
        """Return the share of the symbols whose sign was read right."""
        if not extraction.applicable:
            return 0.0
        return float(np.mean(extraction.symbols * self.frame(claim.message, claim.streams) > 0))

    def pattern(self, frame: Reals, streams: Streams, count: int) -> npt.NDArray[np.float32]:
        """Return the sum of all symbols' signs times their symbol, float32 (R,): at unit gain, exact."""
        total, done = np.zeros(count, np.float32), 0
        for chips in self._chips(streams, count):
            total += frame[done : done + len(chips)].astype(np.float32) @ chips
            done += len(chips)
        return 2 * total - np.float32(frame.sum())

    def _chips(self, streams: Streams, count: int) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the chips of some symbols at a time, float32 (symbols, count): one for a sign of 1, zero for -1."""
        stream, words = streams.stream("chips"), -(-count // 64)
        most = max(1, _BLOCK // count)
        for start in range(0, self.symbols, most):
            rows = min(most, self.symbols - start)
            packed = stream.words(rows * words).astype("<u8").view(np.uint8).reshape(rows, -1)
            yield np.unpackbits(packed, axis=1, count=count, bitorder="little").astype(np.float32)


def _preamble(streams: Streams) -> Reals:
    """Return the keyed symbols that the reader knows, float64 (200,)."""
    return streams.stream("preamble").signs(PREAMBLE).astype(np.float64)


class TattooedEmbedding(Embedding):
    """Adds all symbols when the weights are final."""

    def __init__(self, scheme: Tattooed, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> None:
        """Choose the pool, bind the mark and draw the positions."""
        self.weights, self.scheme, self.message, self.key = weights, scheme, message, key
        self.carrier = Carrier.choose(weights, scheme.carrier, context.dead)
        count = scheme.places(self.carrier)
        carrier_deviation(weights, self.carrier)  # refuses a carrier that training would not mend
        self.mark = scheme.bind(weights, message, key, context, carrier=self.carrier)
        self.hosts = place(self.carrier, self.mark.streams(key), count)

    @torch.no_grad()
    def finish(self) -> Mark:
        """Add the symbols and return the mark.

        Raises:
            BadInput: if the message would not read back; the weights are then as they were.
        """
        before = self.hosts.gather(self.weights)
        gain, streams = self.scheme.gain_for(self.weights, self.carrier), self.mark.streams(self.key)
        pattern = self.scheme.pattern(self.scheme.frame(self.message, streams), streams, len(before))
        self.hosts.scatter(self.weights, before + gain * torch.from_numpy(pattern).to(before.device))
        read = self.scheme.extract(self.weights, self.key, self.mark)
        if not (read.ok and np.array_equal(read.bits, self.message)):
            self.hosts.scatter(self.weights, before)
            raise BadInput(
                f"the message does not read back at a gain of {gain:.3g}; use a larger gain or ratio, a larger "
                "share or carrier, a code of lower rate, or a finer dtype"
            )
        return replace(self.mark, report=self._report(before, gain))

    def _report(self, before: torch.Tensor, gain: float) -> dict[str, Any]:
        change = self.hosts.gather(self.weights) - before
        return {
            "pool": self.carrier.size,
            "touched": int(torch.count_nonzero(change)),
            "squared_change": float(change.double().square().sum()),
            "gain": gain,
            "symbols": self.scheme.symbols,
        }
