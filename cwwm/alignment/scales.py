"""By which factors a suspect's channels were scaled: a robust fit of one factor an output and one an input.

log |suspect| - log |owner| = a_i + b_j + noise, over the weights that both have with one sign; weighted by the
square of the owner's weight, since a change of a given size moves the logarithm of a small weight more. Alternating
weighted means (two-way analysis of variance with gaps), then once more without the outliers. A factor that does not
stand out from its standard error is 1, so that fine-tuning is not taken for scaling.
"""

import torch
from torch import Tensor

_ROUNDS = 12
_OUTLIER = 4.0  # times the scale of the residuals
_SURE = 3.0  # standard errors
_TINY = 1e-6  # of a logarithm: rounding


def fit_scales(owner: Tensor, suspect: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors of outputs, float32 (outputs,), and of inputs, float32 (inputs,).

    Args:
        owner: (outputs, inputs, kernel); zero where hidden.
        suspect: of the same shape, channels in the owner's order; zero where there is none.
    """
    place = owner.abs().argmax(2, keepdim=True)  # one weight of a kernel, the surest, is enough
    base, other = owner.gather(2, place)[..., 0], suspect.gather(2, place)[..., 0]
    valid = base * other > 0
    logs = torch.where(valid, (other / torch.where(valid, base, 1.0)).abs().clamp(min=1e-30).log(), 0.0).double()
    weights = torch.where(valid, base.double().square(), 0.0)
    rows, columns = _additive(logs, weights)
    residual = (logs - rows[:, None] - columns).abs()
    spread = residual[valid].median() if bool(valid.any()) else residual.new_zeros(())
    weights = torch.where(residual <= _OUTLIER * 1.4826 * spread + _TINY, weights, 0.0)
    rows, columns = _additive(logs, weights)
    rows, columns = _centred(rows, columns)
    rows = _significant(logs - columns, rows, weights)
    columns = _significant((logs - rows[:, None]).T, _means((logs - rows[:, None]).T, weights.T), weights.T)
    return rows.exp().float(), columns.exp().float()


def _additive(logs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the a and b that fit best by weighted squares."""
    rows, columns = logs.new_zeros(logs.shape[0]), logs.new_zeros(logs.shape[1])
    for _ in range(_ROUNDS):
        rows = _means(logs - columns, weights)
        columns = _means((logs - rows[:, None]).T, weights.T)
    return rows, columns


def _means(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of each row; the median of the rows' where a row has no weights."""
    totals = weights.sum(1)
    means = (values * weights).sum(1) / totals.clamp(min=1e-300)
    known = totals > 0
    return torch.where(known, means, means[known].median() if bool(known.any()) else 0.0)


def _centred(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Move what all outputs share to the inputs: only sums of both are determined."""
    middle = rows.median()
    return rows - middle, columns + middle


def _significant(values: Tensor, means: Tensor, weights: Tensor) -> Tensor:
    """Return the means, zero where one is within three standard errors of zero."""
    residual = (values - means[:, None]).square() * weights.square()
    error = residual.sum(1).sqrt() / weights.sum(1).clamp(min=1e-300)
    return torch.where(means.abs() > _SURE * error + _TINY, means, 0.0)
