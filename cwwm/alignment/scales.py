"""By which factors a suspect's channels were scaled: a robust fit of one factor an output and one an input.

log |suspect| - log |owner| = a_i + b_j + noise, over the weights that both have with one sign; weighted by the
square of the owner's weight, since a change of a given size moves the logarithm of a small weight more. Alternating
weighted means (two-way analysis of variance with gaps), reweighted, then once more without the outliers. A factor
that does not stand out from its standard error is 1, so that fine-tuning is not taken for scaling.
"""

import torch
from torch import Tensor

_ROUNDS = 300  # at most; where most weights are left, ten are enough
_SETTLED = 1e-8  # change of a logarithm
_REWEIGHTED = 6
_CLOSE = 1e-3  # residual of a logarithm that is as good as none
_OUTLIER = 4.0  # times the scale of the residuals
_SURE = 3.0  # standard errors
_TINY = 1e-6  # of a logarithm: rounding


def fit_scales(owner: Tensor, suspect: Tensor, *, by_input: bool = True) -> tuple[Tensor, Tensor]:
    """Return the factors of outputs, float32 (outputs,), and of inputs, float32 (inputs,).

    Args:
        owner: (outputs, inputs, kernel); zero where hidden, and where groups do not meet.
        suspect: of the same shape, channels in the owner's order; zero where there is none.
        by_input: fit inputs, too; not those of an image, nor of a depthwise layer, whose outputs they are.
    """
    inputs = owner.shape[1]
    base, other = _surest(owner, suspect) if by_input else (owner.flatten(1), suspect.flatten(1))
    valid = base * other > 0
    logs = torch.where(valid, (other / torch.where(valid, base, 1.0)).abs().clamp(min=1e-30).log(), 0.0).double()
    weights = torch.where(valid, base.double().square(), 0.0)
    rows, columns = _additive(logs, weights, by_input)
    for _ in range(_REWEIGHTED):  # towards least absolute residuals: a channel matched wrongly must not count
        residual = (logs - rows[:, None] - columns).abs()
        rows, columns = _additive(logs, weights / residual.clamp(min=_CLOSE), by_input)
    residual = (logs - rows[:, None] - columns).abs()
    spread = residual[valid].median() if bool(valid.any()) else residual.new_zeros(())
    weights = torch.where(residual <= _OUTLIER * 1.4826 * spread + _CLOSE, weights, 0.0)
    rows, columns = _significant(logs, weights, *_additive(logs, weights, by_input), by_input)
    return rows.exp().float(), columns.exp().float() if by_input else torch.ones(inputs)


def _surest(owner: Tensor, suspect: Tensor) -> tuple[Tensor, Tensor]:
    """Return one weight of each kernel, the owner's largest: it is enough, and moves least."""
    place = owner.abs().argmax(2, keepdim=True)
    return owner.gather(2, place)[..., 0], suspect.gather(2, place)[..., 0]


def _additive(logs: Tensor, weights: Tensor, by_input: bool) -> tuple[Tensor, Tensor]:
    """Return the a and b that fit best by weighted squares; b is zero unless `by_input`."""
    rows, columns = logs.new_zeros(logs.shape[0]), logs.new_zeros(logs.shape[1])
    for _ in range(_ROUNDS):
        before, rows = rows, _means(logs - columns, weights)
        if not by_input or float((rows - before).abs().max()) < _SETTLED:
            break
        columns = _means((logs - rows[:, None]).T, weights.T)
    return rows, columns


def _means(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of each row; the median of the rows' where a row has no weights."""
    totals = weights.sum(1)
    means = (values * weights).sum(1) / totals.clamp(min=1e-300)
    known = totals > 0
    return torch.where(known, means, means[known].median() if bool(known.any()) else 0.0)


def _significant(
    logs: Tensor, weights: Tensor, rows: Tensor, columns: Tensor, by_input: bool
) -> tuple[Tensor, Tensor]:
    """Return the factors that stand out, all others zero.

    Only sums of both are determined: what all outputs share is given to the inputs first.
    """
    middle = rows.median() if by_input else rows.new_zeros(())
    rows, columns = rows - middle, columns + middle
    freedom = int((weights > 0).sum()) - len(rows) - by_input * len(columns)
    variance = ((logs - rows[:, None] - columns).square() * weights).sum() / max(1, freedom)
    rows = _standing_out(rows, weights, variance)
    if by_input:
        columns = _standing_out(_means((logs - rows[:, None]).T, weights.T), weights.T, variance)
    return rows, columns


def _standing_out(means: Tensor, weights: Tensor, variance: Tensor) -> Tensor:
    """Return the weighted means, zero where one is within three standard errors of zero.

    The variance of a logarithm is `variance` over its weight: a change of the weights of one size everywhere.
    """
    error = (variance / weights.sum(1).clamp(min=1e-300)).sqrt()
    return torch.where(means.abs() > _SURE * error + _TINY, means, 0.0)
