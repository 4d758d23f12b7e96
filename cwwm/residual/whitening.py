"""Noise of a residual: its size by row and column, and the directions in which it is more than noise.

Fine-tuning drifts in few directions, a mark goes in all. What stands above the edge of white noise (Marchenko and
Pastur 1967: singular values of rows x columns of unit noise stay below sqrt(rows) + sqrt(columns)) is damped to the
power that leaves it below that edge: s becomes e^2 / s.
"""

import math

import torch
from torch import Tensor

from cwwm.residual.alive import Alive
from cwwm.support.seeds import derive_seed

_ROUNDS = 4
_TINY = 1e-30
_LEAST_COLUMN = 1e-3  # of the mean column: where next to nothing happened, nothing is divided by
_EDGE = 0.8  # of the edge of white noise, from which on directions are damped
_EDGE_ROUNDS = 4
_OUT = 1.05  # of the edge of white noise: below it there is nothing to damp
_POWER = 6  # steps of power iteration
_SMALL = 8  # rows and columns, below which there is no bulk to compare with
_DENSE = 0.5  # share of weights alive among the rows and columns that are, below which nothing is damped


def two_way_deviation(squares: Tensor, alive: Alive) -> Tensor:
    """Return sqrt(r_o c_f), (o, f): the variance of a row times that of a column, by Sinkhorn scaling.

    Args:
        squares: (o, f), squared residuals, zero where nothing is alive. alive: of them.
    """
    column = squares.new_ones(1, squares.shape[1])
    per_row, per_column = alive.per_row.clamp(min=1), alive.per_column
    row = column
    for _ in range(_ROUNDS):
        row = (squares @ column.reciprocal().T / per_row).clamp(min=_TINY)
        column = row.reciprocal().T @ squares / per_column.clamp(min=1)
        column = torch.where(per_column > 0, column.maximum(_LEAST_COLUMN * column.mean()), 1.0).clamp(min=_TINY)
    return row.sqrt() * column.sqrt()


def damped(noise: Tensor, alive: Alive) -> Tensor | None:
    """Return whitened residuals, float32 (o, f), without what stands out; None where it cannot be told.

    Args:
        noise: (o, f) of unit variance. alive: of it; the rest is zero before and after.
    """
    rows, columns = alive.per_row[:, 0] > 0, alive.per_column[0] > 0
    if min(int(rows.sum()), int(columns.sum())) < _SMALL:
        return None
    if bool(rows.all()) and bool(columns.all()):
        out = _damp(noise) if alive.share >= _DENSE else None
    elif alive.share * alive.mask.numel() >= _DENSE * int(rows.sum()) * int(columns.sum()):
        out = torch.zeros_like(noise)
        out[rows.nonzero(), columns.nonzero()[:, 0]] = _damp(noise[rows][:, columns])
    else:
        out = None
    return None if out is None else out.masked_fill(~alive.mask, 0.0)


def _damp(part: Tensor) -> Tensor:
    """Return a matrix with singular values s above the edge e taken down to e^2 / s, if any is more than noise.

    By eigenvectors of the smaller Gram matrix: only the directions that stand out are needed.
    """
    wide = part.shape[0] <= part.shape[1]
    matrix = part if wide else part.T
    if not _stands_out(matrix):
        return part
    squares, vectors = torch.linalg.eigh(matrix @ matrix.T)
    singular = squares.double().clamp(min=0).sqrt().flip(0)
    edge = _edge(singular, matrix.shape)
    count = int((singular > edge).sum())
    top = vectors.flip(1)[:, :count]
    factors = ((edge / singular[:count]).square() - 1).to(matrix.dtype)
    calm: Tensor = matrix + (top * factors) @ (top.T @ matrix)
    return calm if wide else calm.T


def _stands_out(matrix: Tensor) -> bool:
    """Say whether the largest singular value, by a few steps of power iteration, is beyond that of white noise."""
    rows, columns = matrix.shape
    limit = _OUT * float(matrix.square().mean().sqrt()) * (math.sqrt(rows) + math.sqrt(columns))
    generator = torch.Generator().manual_seed(derive_seed(part="power iteration"))
    vector = torch.randn(rows, 1, generator=generator).to(matrix)
    for _ in range(_POWER):
        vector = matrix @ (matrix.T @ (vector / vector.norm().clamp(min=_TINY)))
    return float(vector.norm().sqrt()) > limit


def _edge(singular: Tensor, shape: tuple[int, ...]) -> float:
    """Return the edge, from the bulk that is left when all above it is taken away."""
    rows, columns = shape
    total = float(singular.square().sum())
    rms, edge = math.sqrt(total / (rows * columns)), math.inf
    for _ in range(_EDGE_ROUNDS):
        edge = _EDGE * rms * (math.sqrt(rows) + math.sqrt(columns))
        count = int((singular > edge).sum())
        left = float(singular[count:].square().sum())
        bulk = math.sqrt(left / max((rows - count) * (columns - count), 1))
        if abs(bulk - rms) < 1e-3 * rms:
            break
        rms = bulk
    return edge
