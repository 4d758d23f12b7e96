"""Encodings that add a keyed pattern to all weights of a carrier: embedding, and despreading however it is read."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from cwwm.codes import Bits
from cwwm.codes.linear import LinearCode
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.residual.expected import Expected
from cwwm.residual.law import CHANNELS, Pattern
from cwwm.schemes.base import EmbedContext, Embedding
from cwwm.schemes.common.coded import CodedScheme, SoftWord
from cwwm.schemes.common.spreading import (
    CHANNEL,
    POOL,
    Amplitudes,
    Spreading,
    of_their_rows,
    pieces,
    row_rms,
)
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier, Layer
from cwwm.weights.moments import carrier_deviation
from cwwm.weights.sensitivity import layer_gains
from cwwm.weights.view import FLOAT_DTYPES, Weights

_SMALL = 1 << 25  # weights of a pool whose marked pieces are kept between looking and writing
GAINS = "gains"  # of a mark's state


@dataclass(frozen=True, kw_only=True)
class SpreadScheme(CodedScheme):
    """A word of n coded bits, each of them on its share of the pool, as keyed signs of one amplitude a channel."""

    per: str
    carrier: str

    @property
    def weighs_layers(self) -> bool:
        """Say whether amplitudes differ by layer."""
        return self.per == CHANNEL

    @abstractmethod
    def gain_for(self, pool: int) -> float:
        """Return g for a pool of so many weights."""

    def fitted_to(self, pool: int) -> "SpreadScheme":
        """Return the scheme with a code that fits a pool of so many weights."""
        return self

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "SpreadEmbedding":
        """Choose the carrier; the pattern is added by `finish`."""
        return SpreadEmbedding(self, weights, message, key, context)

    def amplitudes(self, carrier: Carrier, gains: Mapping[str, float]) -> Amplitudes:
        """Return how large the pattern is."""
        return Amplitudes(self.gain_for(carrier.size), self.per, gains)

    def soft_word(self, suspect: Weights, key: Key, mark: Mark) -> SoftWord | str:
        """Despread by correlation; missing layers and non-finite weights add nothing."""
        if mark.carrier is None:
            return "the mark names no carrier"
        missing = mark.carrier.missing(suspect)
        if len(missing) == len(mark.carrier.layers):
            return missing[0]
        symbols = self.fitted_to(mark.carrier.size).symbols
        spreading = Spreading.keyed(mark.streams(key), mark.carrier.size, symbols)
        sums, squares = np.zeros(symbols), 0.0
        read = _Filter(self.per, _gains_of(mark), suspect)
        for layer, start, stop, first in pieces(mark.carrier):
            if layer not in missing:
                finite = read(mark.carrier.layers[layer], start, stop)
                sums += spreading.despread(first, finite)
                squares += float(finite @ finite)
        return SoftWord(sums, float(np.sqrt(squares)))

    def expected(self, original: Weights, mark: Mark) -> Mapping[str, Expected]:
        """Return the pattern's amplitude in each layer of the original."""
        if mark.carrier is None:
            return {}
        amplitudes = self.amplitudes(mark.carrier, _gains_of(mark)).of(original, mark.carrier)
        return {
            layer.name: Expected(_spread_out(rows, layer))
            for layer, rows in zip(mark.carrier.layers, amplitudes, strict=True)
        }

    def pattern_in(self, original: Weights, mark: Mark) -> Pattern:
        """Return the pattern of a mark in the layers of its original, as the law of its strength takes it."""
        assert mark.carrier is not None
        amplitudes = self.amplitudes(mark.carrier, _gains_of(mark))
        relative = {layer.name: amplitudes.gain * amplitudes.gamma(layer) for layer in mark.carrier.layers}
        return Pattern.of(original, mark.carrier.layers, relative)

    def survival_against(self, original: Weights, mark: Mark, attack: str, strength: float) -> float | None:
        """Return the outer code's law at the SNR2 of `cwwm.residual.law`, of amplitudes that follow channels."""
        code = self.code_of(mark)
        if self.per != CHANNEL or mark.carrier is None or attack not in CHANNELS or code is None:
            return None
        snr2 = self.pattern_in(original, mark).after(CHANNELS[attack](strength))
        return None if isinstance(code.code, LinearCode) else code.code.success(snr2)


def _gains_of(mark: Mark) -> Mapping[str, float]:
    """Return gamma by layer; BadInput if the mark's state holds something else."""
    gains = mark.state.get(GAINS, {})
    if not isinstance(gains, Mapping) or not all(_is_gain(value) for value in gains.values()):
        raise BadInput("the mark is damaged: its state has gains that are no finite numbers from 0 on")
    return gains


def _is_gain(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


def _spread_out(rows: Tensor, layer: Layer) -> Tensor:
    """Return the amplitudes of rows, (o,), as float32 of the layer's shape."""
    return rows.float().reshape(-1, *[1] * (len(layer.shape) - 1)).expand(layer.shape)


class _Filter:
    """What a suspect's weights add to the sums: themselves, or matched to an amplitude that follows the channels.

    Read blind the host is the noise, of a channel's root mean square r, and the pattern is gamma r: the matched
    filter is w gamma / r.
    """

    def __init__(self, per: str, gains: Mapping[str, float], suspect: Weights) -> None:
        """Read `suspect`."""
        self._amplitudes, self._suspect = Amplitudes(1.0, per, gains), suspect
        self._plain = per == POOL or suspect.matched
        self._name, self._flat, self._rows = "", torch.zeros(0), torch.zeros(0)

    def __call__(self, layer: Layer, start: int, stop: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return weights of a layer by their numbers in the pool, finite float64 (stop - start,)."""
        if self._name != layer.name:
            weight = self._suspect.tensor(layer.name)
            self._name, self._flat = layer.name, layer.living(weight)
            if not self._plain:
                rms = row_rms(weight)
                self._rows = torch.where(rms > 0, self._amplitudes.gamma(layer) / rms, 0.0)
        values = self._flat[start:stop].float()
        finite = torch.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).cpu().double()
        if not self._plain:
            finite *= of_their_rows(layer, self._rows, start, stop)
        return np.asarray(finite.numpy(), np.float64)


class SpreadEmbedding(Embedding):
    """Adds the pattern when the weights are final."""

    def __init__(
        self, scheme: SpreadScheme, weights: Weights, message: Bits, key: Key, context: EmbedContext
    ) -> None:
        """Choose the carrier and the gains of its layers, bind the mark and draw the spreading."""
        self.weights, self.message = weights, message
        self.carrier = Carrier.choose(weights, scheme.carrier, context.dead)
        self.scheme = scheme = scheme.fitted_to(self.carrier.size)
        if self.carrier.size < scheme.symbols:
            raise BadInput(
                f"carrier '{scheme.carrier}' has {self.carrier.size:,} weights, the code needs "
                f"{scheme.symbols:,}; choose a larger carrier or a shorter payload"
            )
        carrier_deviation(weights, self.carrier)  # refuses a carrier that training would not mend
        gains = layer_gains(self.carrier.layers, context.sensitivity) if scheme.per == CHANNEL else {}
        state = {GAINS: gains} if gains else {}
        self.mark = scheme.bind(weights, message, key, context, carrier=self.carrier, state=state)
        self.streams = self.mark.streams(key)
        self.spreading = Spreading.keyed(self.streams, self.carrier.size, scheme.symbols)
        self._word = scheme.codeword(message, self.streams)
        self._gains = gains
        self._pieces: dict[int, tuple[Tensor, Tensor]] = {}

    @cached_property
    def amplitudes(self) -> list[Tensor]:
        """Return what is added in each row of each layer, for the carrier as it is at the first call."""
        return self.scheme.amplitudes(self.carrier, self._gains).of(self.weights, self.carrier)

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
            before, after = self._marked(index, start, stop, first)
            change = after.double() - before.double()
            touched, energy = touched + int(torch.count_nonzero(change)), energy + float(change.square().sum())
            self.weights.write(layer.name, layer.places(torch.arange(start, stop)), after)
        facts = {"touched": touched, "squared_change": energy, **self._size()}
        return replace(self.mark, report={"pool": self.carrier.size, **facts})

    def _size(self) -> dict[str, float]:
        """Return the amplitude, in weight units, or relative to channels and, by layer, from least to most."""
        if self.scheme.per == POOL:
            return {"gain": float(self.amplitudes[0][0])}
        gammas = self._gains.values()
        gain = self.scheme.gain_for(self.carrier.size)
        return {"relative_gain": gain, "least_gain": gain * min(gammas), "most_gain": gain * max(gammas)}

    def _marked(self, index: int, start: int, stop: int, first: int) -> tuple[Tensor, Tensor]:
        """Return a piece of a layer as it is and as it will be, in its own dtype; of a small pool made once."""
        if self.carrier.size > _SMALL:
            return self._made(index, start, stop, first)
        if first not in self._pieces:
            self._pieces[first] = self._made(index, start, stop, first)
        return self._pieces[first]

    def _made(self, index: int, start: int, stop: int, first: int) -> tuple[Tensor, Tensor]:
        layer = self.carrier.layers[index]
        before = layer.living(self.weights.tensor(layer.name))[start:stop]
        pattern = torch.from_numpy(self.spreading.pattern(first, stop - start, self._word))
        added = of_their_rows(layer, self.amplitudes[index], start, stop) * pattern
        after = (before.double() + added.to(before.device)).to(FLOAT_DTYPES[layer.dtype])
        return before, after

    def _require_readable(self) -> None:
        """Refuse a pattern that does not read back: from the marked weights, or, of one a channel, from the change.

        The latter is made to be read against the original, and may be far below what its host leaves readable.
        """
        sums, squares = np.zeros(self.scheme.symbols), 0.0
        for index, start, stop, first in pieces(self.carrier):
            before, after = self._marked(index, start, stop, first)
            read = after.double() - (before.double() if self.scheme.per == CHANNEL else 0.0)
            values = np.asarray(read.cpu().numpy(), np.float64)
            sums += self.spreading.despread(first, values)
            squares += float(values @ values)
        found = self.scheme.decode(sums, self.streams, float(np.sqrt(squares)))
        if not (found.ok and np.array_equal(found.bits, self.message)):
            raise BadInput(
                f"the message does not read back at a gain of {self.scheme.gain_for(self.carrier.size):.3g}; use a "
                "larger ratio or gain, a larger carrier, a shorter payload, or a finer dtype"
            )
