"""Which rows and columns of a matrix hold the most energy together: alternating searches from many starts.

Choosing both at once is NP-hard (in a matrix of zeros and ones a full block is a biclique), so what is found is a
good block, not always the best one. Given the rows, the best columns are the heaviest ones, and the other way
round: each search repeats that until nothing changes, and never loses energy.
"""

from collections.abc import Callable

import torch
from torch import Tensor

_STARTS = 32  # strongest rows, and strongest columns, that a search starts from
_ROUNDS = 20  # of a search; on Gaussian matrices of up to 512 x 4608 nearly all have settled after eight

Choice = Callable[[Tensor], Tensor]


def heaviest(scores: Tensor, keep: int | None) -> Tensor:
    """Return the `keep` largest entries of each column (all for None) as ones among zeros, like `scores`."""
    if keep is None:
        return torch.ones_like(scores)
    return torch.zeros_like(scores).scatter_(0, scores.topk(keep, dim=0, sorted=False).indices, 1.0)


def heaviest_block(energy: Tensor, rows: Choice, columns: Choice) -> tuple[Tensor, Tensor]:
    """Return the rows and columns of the block with the most energy that was found.

    The first search chooses the rows by their whole energy and then the columns inside them: the result is never
    worse than that.

    Args:
        energy: float (m, n), not negative.
        rows: takes scores (m, k), those of one search in each column, and chooses as zeros and ones of that shape.
        columns: the same of scores (n, k).

    Returns:
        zeros and ones of the dtype of `energy`, (m,) and (n,).
    """
    chosen = rows(_starts(energy, columns))
    best_weight, best = energy.new_tensor(-1.0), (chosen[:, 0], energy.new_ones(energy.shape[1]))
    for _ in range(_ROUNDS):
        across = columns(energy.T @ chosen)
        scores = energy @ across
        weights = (chosen * scores).sum(0)
        search = int(weights.argmax())
        if weights[search] > best_weight:
            best_weight, best = weights[search], (chosen[:, search], across[:, search])
        before, chosen = chosen, rows(scores)
        if torch.equal(chosen, before):
            break
    return best


def _starts(energy: Tensor, columns: Choice) -> Tensor:
    """Return scores of the rows, (m, k): whole, in strong columns, and in those that strong rows would choose."""
    across, down = energy.sum(0), energy.sum(1)
    strong_columns = across.topk(min(_STARTS, len(across))).indices
    strong_rows = down.topk(min(_STARTS, len(down))).indices
    choosers = torch.cat([across[:, None], energy[strong_rows].T], 1)
    return torch.cat([down[:, None], energy[:, strong_columns], energy @ columns(choosers)], 1)
