"""How strongly a pattern stands in a suspect that is read against the original: SNR2, by law.

SNR2 is the squared correlation with the right word over the sum of the squared terms: log10 p is about -SNR2 / 4.6
(`cwwm.ownership.evidence.log10_bound_of_signs`), and whether a message is recovered follows from it alone. With N_l
weights in layer l, a pattern of relative amplitude a_l = g gamma_l, and an attack that changes the layer by E_l of
its square beside the pattern, SNR2 = sum_l N_l a_l^2 / (E_l + a_l^2). Derived for this project.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from cwwm.residual.spectrum import Spectrum
from cwwm.weights.carrier import Layer
from cwwm.weights.view import Weights

_PIECE = 1 << 24  # weights that are looked at at once

#: (a layer's own strength) -> SNR2 that it adds
Change = Callable[["LayerStrength"], float]


@dataclass(frozen=True)
class LayerStrength:
    """What the law needs of a layer.

    Attributes:
        weights: N; 0 of a layer of zeros, in which no pattern is.
        amplitude: a, of the pattern, in root mean squares of its channels.
        rms: root mean square of the layer in that of the pool. peak: largest magnitude in the layer's own.
        spectrum: of its singular values; None if nobody knows them.
    """

    weights: int
    amplitude: float
    rms: float
    peak: float
    spectrum: Spectrum | None = None

    def beside(self, energy: float) -> float:
        """Return what the layer adds beside a change of so much of its square."""
        mark = self.amplitude**2
        return self.weights * mark / (energy + mark)


@dataclass(frozen=True)
class Pattern:
    """A pattern in the layers of a carrier."""

    layers: Sequence[LayerStrength]

    @classmethod
    def of(cls, weights: Weights, layers: Sequence[Layer], amplitudes: Mapping[str, float]) -> "Pattern":
        """Measure the layers of an original, one at a time; `amplitudes` are g gamma by name."""
        measured = [_measured(weights, layer) for layer in layers]
        pool = sum(m.square * la.size for m, la in zip(measured, layers, strict=True)) / sum(
            la.size for la in layers
        )
        return cls([
            LayerStrength(
                layer.size if found.square else 0, amplitudes[layer.name], math.sqrt(found.square / (pool or 1.0)),
                found.peak, Spectrum(weights, layer.name),
            )
            for found, layer in zip(measured, layers, strict=True)
        ])  # fmt: skip

    def times(self, factor: float) -> "Pattern":
        """Return the pattern with each amplitude times a factor."""
        return Pattern([replace(layer, amplitude=factor * layer.amplitude) for layer in self.layers])

    @cached_property
    def weights(self) -> int:
        """Number of weights."""
        return sum(layer.weights for layer in self.layers)

    def after(self, change: Change) -> float:
        """Return SNR2 after a change that says what is left of each layer."""
        return sum(change(layer) for layer in self.layers)


@dataclass(frozen=True)
class _Measured:
    """The mean square of a layer, and its largest magnitude in root mean squares."""

    square: float
    peak: float


def _measured(weights: Weights, layer: Layer) -> _Measured:
    tensor = weights.tensor(layer.name).detach().reshape(-1)
    squares, largest = 0.0, 0.0
    for piece in torch.split(tensor, _PIECE):
        values = piece.float()
        squares += float(values.square().mean()) * len(values)
        largest = max(largest, float(values.abs().max()))
    square = squares / len(tensor)
    return _Measured(square, largest / math.sqrt(max(square, 1e-30)))


def pruned(rate: float) -> Change:
    """Return the change by pruning, magnitude or random: survivors are as they were."""
    return lambda layer: layer.weights * (1 - rate)


def noise(deviation: float) -> Change:
    """Return the change by noise of a standard deviation in root mean squares of the pool."""
    return lambda layer: layer.beside((deviation / max(layer.rms, 1e-30)) ** 2)


def drift(share: float) -> Change:
    """Return the change by training on that moves every layer by a share of its norm, in no special direction."""
    return lambda layer: layer.beside(share**2)


def low_rank(share: float) -> Change:
    """Return the change by dropping a share of each layer's singular values, the smallest ones.

    Of a pattern of amplitude a the share s of its square is left, and of its correlation (`Spectrum.kept`). Beside
    it lies what the host lost, a share E of the layer's square (`Spectrum.lost`): N a^2 s^2 / (E + s a^2). That is
    a careful bound: what the host lost is of low rank, which the reader damps, and measurements find more
    (results/informed.md: svd). Nothing is left of a layer whose spectrum nobody knows.
    """

    def left(layer: LayerStrength) -> float:
        if layer.spectrum is None:
            return 0.0
        kept, mark = layer.spectrum.kept(share), layer.amplitude**2
        return layer.weights * mark * kept**2 / max(layer.spectrum.lost(share) + kept * mark, 1e-300)

    return left


def blind(layer: LayerStrength) -> float:
    """Return what is left without the original: the pattern beside the whole host, whose square is then noise."""
    return layer.beside(1.0)


def averaged(copies: float) -> Change:
    """Return the change by averaging copies whose patterns are independent."""
    return lambda layer: layer.weights / copies


def quantised(bits: float) -> Change:
    """Return the change by symmetric rounding to 2^bits - 1 levels a layer.

    Read linearly the step D leaves noise of D^2 / 12; where the original is rounded alike, what is left are weights
    that the pattern carried across a border, a share a / D of them, and SNR2 is a / D a weight. The reader takes
    the latter, which is more for patterns below a twelfth of a step, and no more than one in all.
    """

    def left(layer: LayerStrength) -> float:
        step = 2 * layer.peak / (2**bits - 2)
        return layer.weights * min(1.0, layer.amplitude / step) if step else 0.0

    return left


#: by channel of an attack, its change at a strength
CHANNELS: Mapping[str, Callable[[float], Change]] = {
    "magnitude": pruned,
    "random": pruned,
    "noise": noise,
    "quantise": quantised,
    "average": averaged,
}


__all__ = [
    "CHANNELS",
    "Change",
    "LayerStrength",
    "Pattern",
    "averaged",
    "blind",
    "drift",
    "low_rank",
    "noise",
    "pruned",
    "quantised",
]
