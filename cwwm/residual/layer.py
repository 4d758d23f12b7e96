"""One layer read against the original: what each weight says for a one, from both and what is expected alone.

S is the suspect's layer, O the original's. No step sees the key, so under a random key the coefficients are fixed,
and sums of them with keyed signs or places have the exact laws of `cwwm.ownership.evidence`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cwwm.residual.alive import Alive
from cwwm.residual.expected import Expected
from cwwm.residual.levels import is_unscaled, levels_of, requantised
from cwwm.residual.scales import CAUCHY, row_deviation, scales
from cwwm.residual.whitening import damped, two_way_deviation

_FLOOR = 0.5  # of the pattern's amplitude: least deviation while scales are fitted
_WHITE_FLOOR = 0.7  # and while noise is measured
_LEVELS_FLOOR = 1e-2  # of a row's weights, where values are replaced, not added to
_CLIP = 9.0  # variances at which squares are cut before noise is measured
_TINY = 1e-30
_QUANTISED_FLOOR = 1e-2  # of the amplitude: a layer of which the mark moved nothing says nothing


@dataclass(frozen=True)
class Steps:
    """Which steps are taken.

    Attributes:
        fit: the suspect's scales are fitted to the original's.
        requantise: the original is rounded to the levels of a suspect that has few.
        whiten: noise is measured by row and column, and outliers are bounded.
        damp: directions in which the residual stands out are damped, as fine-tuning leaves them.
    """

    fit: bool = True
    requantise: bool = True
    whiten: bool = True
    damp: bool = True


ALL_STEPS = Steps()


def coefficients(suspect: Tensor, original: Tensor, expected: Expected, steps: Steps = ALL_STEPS) -> Tensor:
    """Return what each weight says for a one, float32 of the layer's shape; zero where nothing is left.

    To first order a log-likelihood ratio: (S - alpha beta center) alpha beta half / sigma^2 behind the bounded
    influence of Cauchy's law; of a scheme that ranks, a magnitude that grows with it.

    Args:
        suspect, original: of one shape (o, i, ...), at least two axes; what is not finite counts as removed.
        expected: what the mark makes of the original's weights.
        steps: to be taken.
    """
    layer = _Layer(suspect, original, expected.half, steps)
    if not layer.alive.share:
        return torch.zeros(original.shape, device=suspect.device)
    found = layer.added() if expected.center is None else layer.replaced(expected.center)
    if expected.ranked:
        found = torch.where(found >= 0, 1 + found, 1 / (1 - found)).masked_fill_(~layer.alive.mask, 0.0)
    return found.reshape(original.shape)


class _Layer:
    """A layer as matrices, float32 (o, f).

    Attributes:
        alive: weights of the suspect that were not removed.
    """

    def __init__(self, suspect: Tensor, original: Tensor, half: Tensor, steps: Steps) -> None:
        self._inputs = original.shape[1]
        self._read = _matrix(suspect, suspect).nan_to_num(0.0, 0.0, 0.0)
        self._known, self._half = _matrix(original, suspect), _matrix(half, suspect)
        self.alive, self._steps = Alive.of(self._read != 0), steps

    def added(self) -> Tensor:
        """Return the matched filter of a pattern that was added to every weight."""
        scale = self._scale(_FLOOR * self._half.square().mean(1, keepdim=True).sqrt())
        levels = levels_of(self._read) if self._steps.requantise else None
        if levels is None:
            residual = scale * self._known
            torch.sub(self._read, residual, out=residual)
            amplitude = scale.mul_(self._half)
            del self._read, self._known, self._half  # a layer may take much of the memory
            return self._filtered(residual, amplitude)
        fitted = self._known if is_unscaled(scale) else scale * self._known
        return self._quantised(self._read - requantised(fitted, levels), scale * self._half)

    def replaced(self, center: Tensor) -> Tensor:
        """Return the log-likelihood ratio under Cauchy's law of two values of a weight.

        Scaled so that for small differences it is the score of `_filtered`.
        """
        floor = _LEVELS_FLOOR * self._known.square().mean(1, keepdim=True).sqrt()
        scale = self._scale(floor)
        deviation = row_deviation(
            self._read - scale * self._known, self.alive, floor * scale.abs().mean(1, keepdim=True)
        )
        middle = _matrix(center, self._read)
        one, zero = ((self._read - scale * (middle + sign * self._half)) / (CAUCHY * deviation) for sign in (1, -1))
        ratio = (CAUCHY**2 / 4) * (zero.square().log1p() - one.square().log1p())
        return ratio.masked_fill_(~self.alive.mask, 0.0)

    def _scale(self, floor: Tensor) -> Tensor:
        """Return alpha beta, float32 (o, f); one where scales are not fitted."""
        if not self._steps.fit:
            return torch.ones_like(self._read)
        return scales(self._read, self._known, self.alive, floor, self._inputs)

    def _filtered(self, residual: Tensor, amplitude: Tensor) -> Tensor:
        """Return a residual's coefficients: noise whitened and bounded, what stands out damped."""
        residual = residual.masked_fill_(~self.alive.mask, 0.0)
        if not self._steps.whiten:
            return residual * amplitude
        floor = (_WHITE_FLOOR * amplitude.abs()).clamp_(min=_TINY)
        first = row_deviation(residual, self.alive, floor.mean(1, keepdim=True))
        squares = residual.square()
        torch.minimum(squares, _CLIP * first.square(), out=squares)
        deviation = _at_least(floor, two_way_deviation(squares, self.alive))
        score = residual.div_(deviation)
        score.div_(torch.div(score, CAUCHY, out=squares).square_().add_(1))
        calm = damped(score, self.alive) if self._steps.damp else None
        if calm is not None:
            again = _at_least(floor.div_(deviation), two_way_deviation(torch.square(calm, out=squares), self.alive))
            score, deviation = calm.div_(again), deviation.mul_(again)
        return score.mul_(amplitude).div_(deviation)

    def _quantised(self, residual: Tensor, amplitude: Tensor) -> Tensor:
        """Return the coefficients of weights that moved by whole levels; zero is a level like others."""
        if not self._steps.whiten:
            return residual * amplitude
        floor = (_QUANTISED_FLOOR * amplitude.abs()).clamp_(min=_TINY)
        everywhere = Alive.everywhere(residual)
        deviation = two_way_deviation(residual.square(), everywhere).maximum(floor)
        score = (residual / deviation).clamp_(-CAUCHY, CAUCHY)
        return score.mul_(amplitude).div_(deviation)


def _at_least(floor: Tensor, deviation: Tensor) -> Tensor:
    """Return a deviation, raised in place where it is below its floor."""
    return torch.maximum(deviation, floor, out=deviation)


def _matrix(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a weight as float32 (o, f), on the device of another."""
    return tensor.detach().to(like.device).float().reshape(len(tensor), -1)
