"""How strongly a pattern stands in a suspect that is read against the original: SNR2, by law.

SNR2 is the squared correlation with the right word over the sum of the squared terms: log10 p is about -SNR2 / 4.6
(`cwwm.ownership.evidence.log10_bound_of_signs`), and whether a message is recovered follows from it alone. With N_l
weights in layer l, a pattern of relative amplitude a_l = g gamma_l, and an attack that changes the layer by E_l of
its square beside the pattern, SNR2 = sum_l N_l a_l^2 / (E_l + a_l^2). Derived for this project.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from cwwm.weights.carrier import Layer
from cwwm.weights.view import Weights

#: (a layer's own strength) -> SNR2 that it adds
Change = Callable[["LayerStrength"], float]


@dataclass(frozen=True)
class LayerStrength:
    """What the law needs of a layer.

    Attributes:
        weights: N; 0 of a layer of zeros, in which no pattern is.
        amplitude: a, of the pattern, in root mean squares of its channels.
        rms: root mean square of the layer in that of the pool. peak: largest magnitude in the layer's own.
    """

    weights: int
    amplitude: float
    rms: float
    peak: float

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
        """Measure the layers of an original; `amplitudes` are g gamma by name."""
        tensors = [weights.tensor(layer.name).detach().float() for layer in layers]
        squares = [float(tensor.square().mean()) for tensor in tensors]
        pool = sum(s * layer.size for s, layer in zip(squares, layers, strict=True)) / sum(la.size for la in layers)
        rms = [math.sqrt(square / (pool or 1.0)) for square in squares]
        sizes = [layer.size if square else 0 for layer, square in zip(layers, squares, strict=True)]
        peaks = map(_peak, tensors, squares)
        return cls(list(map(LayerStrength, sizes, (amplitudes[layer.name] for layer in layers), rms, peaks)))

    @cached_property
    def weights(self) -> int:
        """Number of weights."""
        return sum(layer.weights for layer in self.layers)

    def after(self, change: Change) -> float:
        """Return SNR2 after a change that says what is left of each layer."""
        return sum(change(layer) for layer in self.layers)


def _peak(tensor: Tensor, square: float) -> float:
    return float(tensor.abs().max()) / math.sqrt(max(square, 1e-30))


def pruned(rate: float) -> Change:
    """Return the change by pruning, magnitude or random: survivors are as they were."""
    return lambda layer: layer.weights * (1 - rate)


def noise(deviation: float) -> Change:
    """Return the change by noise of a standard deviation in root mean squares of the pool."""
    return lambda layer: layer.beside((deviation / max(layer.rms, 1e-30)) ** 2)


def drift(share: float) -> Change:
    """Return the change by training on that moves every layer by a share of its norm, in no special direction."""
    return lambda layer: layer.beside(share**2)


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
    "noise",
    "pruned",
    "quantised",
]
