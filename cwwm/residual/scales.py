"""Robust fit of a suspect's layer to the original's: a factor a row and a factor an input, whatever else happened.

A common scale, batch norm folded into a convolution with its sign, or factors moved between layers leave
S = alpha_o beta_i O. Least squares is thrown off by a few weights drawn anew by an attacker, so the fit starts from
weighted medians of S / O and is reweighted by Cauchy's weights (Holland and Welsch 1977), which bound what a single
weight can do. Layers are matrices (o, f), whose columns are the inputs' kernel places.
"""

import torch
from torch import Tensor

from cwwm.residual.alive import Alive

ROUNDS = 6
CAUCHY = 3.0  # deviations at which a weight counts half
MAD = 1.4826  # deviations of a normal law in its median magnitude
_FEW = 8  # weights left in a row, below which its own factor is not trusted
_COLUMNS = 128  # of a row, from which medians are taken
_SPARSE = 0.25  # share of weights left, below which they are taken from all
_OUTPUTS, _INPUTS = 16, 4  # of a layer, from which on factors of inputs are fitted
_SETTLED = 0.02  # deviations of the noise by which fitted weights still move when the fit is done
_WORTH = 0.35  # mean log of the ratio of the deviations without and with a fit, from which on it is taken
_TINY = 1e-30


def scales(suspect: Tensor, original: Tensor, alive: Alive, floor: Tensor, inputs: int) -> Tensor:
    """Return alpha beta, float32 (o, f), or one where fitted scales explain little more of the suspect.

    An attack that takes part of the weights away, by low rank say, leaves rows that look shrunk, each by another
    factor, and a fit follows them: there it costs nearly all of a pattern, while true scales leave a residual many
    times smaller than none. See `fit_scales` for the arguments.
    """
    plain = row_deviation(suspect - original, alive, floor)
    alpha, beta = fit_scales(suspect, original, alive, floor, inputs)
    fitted = row_deviation(suspect - alpha * beta * original, alive, floor * alpha.abs())
    gained = (plain.log() - fitted.log() + alpha.abs().log()).mean()
    return alpha * beta if float(gained) > _WORTH else torch.ones_like(original)


def fit_scales(
    suspect: Tensor, original: Tensor, alive: Alive, floor: Tensor, inputs: int
) -> tuple[Tensor, Tensor]:
    """Return alpha, float32 (o, 1), negative where a row was turned, and beta, float32 (1, f), one an input.

    Args:
        suspect, original: float32 (o, f), finite.
        alive: weights of the suspect that were not removed; all others are zero.
        floor: float32 (o, 1), least deviation of a row, in units of the original's weights.
        inputs: i; column c belongs to input c // (f / i).
    """
    enough = alive.per_row >= _FEW
    alpha = _or_typical(_first_alpha(suspect, original, alive), enough)
    beta = suspect.new_ones(1, suspect.shape[1])
    by_input = suspect.shape[0] >= _OUTPUTS and inputs >= _INPUTS
    kept = alive.per_column.view(inputs, -1).sum(1) >= _FEW
    product, square = suspect * original, (original * original).masked_fill_(~alive.mask, 0.0)
    size = square.mean(1, keepdim=True).sqrt()
    for _ in range(ROUNDS):
        weights, deviation = _cauchy(suspect, alpha * beta * original, alive, floor * alpha.abs())
        above, below = weights * product, weights.mul_(square)
        found = _ratio(above @ beta.T, below @ beta.square().T, alpha)
        moved = ((found - alpha).abs() * size / deviation)[enough]
        alpha = _or_typical(found, enough)
        if by_input:
            sums = [_by_input(s, inputs) for s in (alpha.T @ above, alpha.square().T @ below)]
            each = torch.where(kept, _ratio(sums[0], sums[1], torch.ones_like(sums[0])), 1.0)
            beta = each.repeat_interleave(suspect.shape[1] // inputs)[None]
        if not len(moved) or float(moved.max()) < _SETTLED:
            break
    return alpha, beta


def row_deviation(residual: Tensor, alive: Alive, floor: Tensor) -> Tensor:
    """Return the deviation of each row, (o, 1), from the median magnitude of what is alive, at least `floor`."""
    chosen = _columns(alive)
    magnitudes = residual[:, chosen].abs().masked_fill(~alive.mask[:, chosen], torch.nan)
    row = magnitudes.nanmedian(1).values[:, None]
    row = torch.where(row.isnan(), row.nanmedian(), row).nan_to_num(0.0)
    return (MAD * row).maximum(floor).clamp(min=_TINY)


def _cauchy(suspect: Tensor, fitted: Tensor, alive: Alive, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights (o, f) of the next fit, which those not alive need not have, and the rows' deviations."""
    residual = suspect - fitted
    deviation = row_deviation(residual, alive, floor)
    weights = residual.div_(CAUCHY * deviation).square_().add_(1).mul_(deviation.square()).reciprocal_()
    return weights, deviation


def _by_input(sums: Tensor, inputs: int) -> Tensor:
    """Return sums of columns, (1, f), for each input, (i,)."""
    return sums.view(inputs, -1).sum(1)


def _ratio(above: Tensor, below: Tensor, otherwise: Tensor) -> Tensor:
    """Return the weighted least-squares factors, `otherwise` where there is nothing to fit."""
    found = above / below.clamp(min=_TINY)
    return torch.where((below > _TINY) & (found != 0), found, otherwise)


def _or_typical(alpha: Tensor, enough: Tensor) -> Tensor:
    """Return the factors, the median of the trusted ones where too little of a row is left."""
    typical = alpha[enough].median() if bool(enough.any()) else alpha.new_ones(())
    return torch.where(enough, alpha, typical)


def _first_alpha(suspect: Tensor, original: Tensor, alive: Alive) -> Tensor:
    """Return the median of S / O of each row, (o, 1), weighted by |O|."""
    chosen = _columns(alive)
    suspect, original = suspect[:, chosen], original[:, chosen]
    there = alive.mask[:, chosen] & (original != 0)
    ratios, order = torch.where(there, suspect / original, 0.0).sort(1)
    sums = torch.where(there, original.abs(), 0.0).gather(1, order).cumsum(1)
    middle = (sums < sums[:, -1:] / 2).sum(1, keepdim=True).clamp(max=ratios.shape[1] - 1)
    found = ratios.gather(1, middle)
    return torch.where(found == 0, 1.0, found)


def _columns(alive: Alive) -> Tensor | slice:
    """Return columns, evenly spread, that medians are taken from: all where less would tell too little."""
    columns = alive.mask.shape[1]
    if columns <= _COLUMNS or alive.share < _SPARSE:
        return slice(None)
    return torch.linspace(0, columns - 1, _COLUMNS, device=alive.mask.device).round().long()
