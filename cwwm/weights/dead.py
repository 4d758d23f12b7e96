"""Which rows and columns of a layer no answer depends on, so that a carrier can leave them out.

A row is an output channel, a column one weight of every output channel: an input of a linear layer, or an input
channel at one place of the kernel. That covers what is found dead in practice: channels that a ReLU silences,
inputs that never see anything, and kernel places that meet nothing but padding where maps are small. Single weights
that are dead in a row and a column that are not stay.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cwwm.support.bounds import whole
from cwwm.support.errors import BadInput

Runs = tuple[tuple[int, int], ...]  # start and stop of each, ascending, with a gap between two


@dataclass(frozen=True)
class Dead:
    """The dead rows and columns of a weight seen as a matrix (outputs, the rest), as runs."""

    rows: Runs = ()
    columns: Runs = ()

    @classmethod
    def of(cls, alive: Tensor) -> "Dead":
        """Return the rows and columns in which nothing is alive; `alive` is bool, of the shape of the weight."""
        matrix = alive.reshape(len(alive), -1)
        return cls(_runs(~matrix.any(1)), _runs(~matrix.any(0)))

    def living(self, shape: Sequence[int]) -> tuple[int, int]:
        """Return how many rows and columns are left of a weight of this shape."""
        rows, columns = matrix_shape(shape)
        return rows - _length(self.rows), columns - _length(self.columns)

    def places(self, ranks: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the flat indices, int64, of the living weights with these numbers, int64, from 0 on."""
        left, columns = self.living(shape)[1], matrix_shape(shape)[1]
        row = _skipping(ranks.div(left, rounding_mode="floor"), self.rows)
        return row * columns + _skipping(ranks % left, self.columns)

    def without(self, tensor: Tensor) -> Tensor:
        """Return the living weights of a tensor, flat, in order."""
        matrix = tensor.reshape(len(tensor), -1)
        rows, columns = _others(self.rows, len(matrix)), _others(self.columns, matrix.shape[1])
        return matrix[rows.to(tensor.device)][:, columns.to(tensor.device)].reshape(-1)

    def to_json(self) -> dict[str, Any]:
        """Return the runs as a JSON object."""
        return {"rows": [list(run) for run in self.rows], "columns": [list(run) for run in self.columns]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], shape: Sequence[int]) -> "Dead":
        """Read what `to_json` wrote; KeyError, TypeError or BadInput if it is something else, or leaves nothing."""
        rows, columns = matrix_shape(shape)
        found = cls(_checked(value["rows"], rows), _checked(value["columns"], columns))
        if found == cls():
            raise BadInput("a layer without dead rows or columns lists none")
        if 0 in found.living(shape):
            raise BadInput("a layer of a carrier is not dead as a whole")
        return found


def matrix_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Return rows and columns of a weight seen as a matrix: its first axis, and the rest."""
    return shape[0], math.prod(shape[1:])


def _runs(chosen: Tensor) -> Runs:
    """Return where a bool (n,) is True, as runs."""
    edges = torch.nn.functional.pad(chosen.cpu().int(), (1, 1)).diff().nonzero().view(-1).tolist()
    return tuple(zip(edges[::2], edges[1::2], strict=True))


def _length(runs: Runs) -> int:
    return sum(stop - start for start, stop in runs)


def _others(runs: Runs, size: int) -> Tensor:
    """Return the numbers below `size` that are in no run, int64, ascending."""
    kept = torch.ones(size, dtype=torch.bool)
    for start, stop in runs:
        kept[start:stop] = False
    return kept.nonzero().view(-1)


def _skipping(ranks: Tensor, runs: Runs) -> Tensor:
    """Return the numbers outside the runs with these ranks, int64; nothing as long as a layer is allocated."""
    if not runs:
        return ranks
    lengths = np.cumsum([stop - start for start, stop in runs], dtype=np.int64)
    first = np.array([start for start, _ in runs], np.int64) - np.append(0, lengths[:-1])  # ranks that a run lifts
    before = np.searchsorted(first, ranks.cpu().numpy(), side="right")
    return ranks + torch.from_numpy(np.append(0, lengths)[before]).to(ranks.device)


def _checked(value: Iterable[Any], size: int) -> Runs:
    runs = tuple((whole(start, "a run", 0, size - 1), whole(stop, "a run", 1, size)) for start, stop in value)
    edges = [edge for run in runs for edge in run]
    if any(later <= earlier for earlier, later in pairwise(edges)):
        raise BadInput("runs of dead rows or columns ascend, with a gap between two")
    return runs
