"""What lowering the rank of a layer takes of it, and leaves of a pattern in it.

A layer is the matrix of its outputs as rows, (o, f), a vector one of one column. Nothing is computed before it is
asked for.
"""

import math
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from cwwm.weights.view import Weights

_COLUMNS = 4096  # of a matrix that are multiplied at once


class Spectrum:
    """The squared singular values of one layer."""

    def __init__(self, weights: Weights, name: str) -> None:
        """Take the layer; nothing is read yet."""
        self._weights, self._name = weights, name

    def lost(self, share: float) -> float:
        """Return the share of the layer's squares that lies in the smallest singular values.

        That is the squared error of the best approximation of the rank that is left (Eckart and Young).

        Args:
            share: of the singular values, at least 0 and below 1; one is always left.
        """
        return float(self._shares[self._rank(share) :].sum())

    def kept(self, share: float) -> float:
        """Return the share of its square that a small pattern of no special direction keeps.

        It is 1 - (1 - r/o)(1 - r/f): the kept spaces of rank r take it from rows and columns. Exact to first order
        where the singular values that are dropped are zero, and a lower bound else.
        """
        rank = self._rank(share)
        return 1 - math.prod(1 - rank / side for side in self._sides)

    def _rank(self, share: float) -> int:
        return max(1, round((1 - share) * min(self._sides)))

    @property
    def _sides(self) -> tuple[int, int]:
        outputs, *inputs = self._weights.shape(self._name) or (1,)
        return outputs, math.prod(inputs)

    @cached_property
    def _shares(self) -> npt.NDArray[np.float64]:
        """Return squared singular values, descending, as shares of the layer's squares: float64 (min(o, f),).

        They are the eigenvalues of the product of the matrix with itself over its longer side.
        """
        matrix = self._weights.tensor(self._name).detach().reshape(self._sides)
        matrix = matrix if len(matrix) <= matrix.shape[1] else matrix.T
        product = torch.zeros(len(matrix), len(matrix), dtype=torch.float64, device=matrix.device)
        for piece in torch.split(matrix, _COLUMNS, dim=1):
            wide = piece.double()
            product += wide @ wide.T
        squares = torch.linalg.eigvalsh(product).flip(0).clamp(min=0).cpu().numpy()
        return np.asarray(squares / max(squares.sum(), 1e-300), np.float64)
