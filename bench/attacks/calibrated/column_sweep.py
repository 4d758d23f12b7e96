"""The sweep of SparseGPT and GPTQ: columns change one by one, and those to the right make up for each error."""

from collections.abc import Callable

import torch
from torch import Tensor

DAMPING = 0.01  # of the mean diagonal of X^T X, in both papers' code

#: (weights (groups, rows, block), diagonal of the factor (groups, block)) -> (column, its index) -> changed column
Rounding = Callable[[Tensor, Tensor], Callable[[Tensor, int], Tensor]]


def inverse_factor(moments: Tensor) -> Tensor:
    """Return U, upper triangular, with U^T U = (X^T X + d I)^-1, d a hundredth of the mean diagonal.

    Args:
        moments: X^T X, float64 (groups, columns, columns); a group that read nothing but zeros counts as identity.
    """
    scale = DAMPING * moments.diagonal(dim1=1, dim2=2).mean(1)
    identity = torch.eye(moments.shape[1], dtype=moments.dtype, device=moments.device)
    damped = moments + torch.where(scale > 0, scale, 1.0)[:, None, None] * identity
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def swept(weights: Tensor, moments: Tensor, block: int, rounding: Rounding) -> Tensor:
    """Return the weights after each column was changed, its error made up for by the columns to its right.

    With e_j = (w_j - changed w_j) / U_jj the columns k > j become w_k - e_j U_jk: the optimal brain surgeon's
    update (arXiv 2301.00774, Eq. 3; 2210.17323, Eq. 2) with the inverse of the columns that are left, in Cholesky
    form.

    Args:
        weights: (outputs, inputs, kernel), floats; a convolution's groups are taken from `moments`.
        moments: X^T X of the layer's inputs, float64 (groups, columns, columns).
        block: columns for which `rounding` is asked at once, seeing what the columns before them left.
        rounding: says how the columns of a block change.

    Returns:
        float64, in the shape of `weights`.
    """
    factor = inverse_factor(moments)
    left = weights.double().reshape(len(moments), -1, moments.shape[1]).clone()
    for start in range(0, left.shape[2], block):
        stop = min(start + block, left.shape[2])
        inside = factor[:, start:stop, start:stop]
        errors = _sweep_block(left[:, :, start:stop], inside, rounding)
        left[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    return left.reshape(weights.shape)


def _sweep_block(part: Tensor, factor: Tensor, rounding: Rounding) -> Tensor:
    """Change the columns of a block in place; return the scaled error of each, (groups, rows, block)."""
    changed = rounding(part, factor.diagonal(dim1=1, dim2=2))
    errors = torch.zeros_like(part)
    for j in range(part.shape[2]):
        value = changed(part[:, :, j], j)
        errors[:, :, j] = (part[:, :, j] - value) / factor[:, j, j, None]
        part[:, :, j:] -= errors[:, :, j, None] * factor[:, None, j, j:]
        part[:, :, j] = value
    return errors


def output_error(before: Tensor, after: Tensor, moments: Tensor) -> float:
    """Return ||(W - W') X||^2 / ||W X||^2 of a layer on the images behind `moments`; 0 where it answers zero."""
    rows = [w.double().reshape(len(moments), -1, moments.shape[1]) for w in (before - after, before)]
    wrong, whole = (float(torch.einsum("gri,gij,grj->", w, moments, w)) for w in rows)
    return max(0.0, wrong) / whole if whole > 0 else 0.0
