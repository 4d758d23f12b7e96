"""Successive-cancellation list decoding of polar codes, many words at once, on NumPy arrays or torch tensors.

Tal and Vardy 2015, with the path metric of Balatsoukas-Stimming, Parizi and Burg 2015 and the min-sum check node.
Under these a path costs exactly the sum of |y| over the positions in which its word disagrees with what was read,
so whole subtrees without information, or with one bit of it, are taken in one step (Sarkis et al. 2014) with
nothing lost. All arithmetic is on integers: the result depends on no order of summation, and is the same for one
word or many, on any processor and device. Rows are the paths of all words, word by word; nothing is copied but
where paths are chosen.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

#: numpy.ndarray or torch.Tensor
Array: TypeAlias = Any
#: numpy or torch, whose functions of these names agree
Namespace: TypeAlias = Any

_SUM = 1 << 30  # most that the magnitudes of a word come to: everything fits int32
_OUTLIER = 8  # medians beyond which a value is cut, so that it does not drown the others


@dataclass(frozen=True)
class Subtree:
    """A part of the code's tree.

    Attributes:
        size: positions of its word.
        information: bits that it carries; 0: its word is known, 1 (always the last of the inputs): two words.
        halves: the two subtrees that its inputs go to; None where one step is enough.
    """

    size: int
    information: int
    halves: "tuple[Subtree, Subtree] | None"


def tree_of(free: npt.NDArray[np.bool_]) -> Subtree:
    """Return the tree of a code; `free` says which inputs carry information, bool (n,), n a power of two."""
    size, information = len(free), int(free.sum())
    if information == 0 or (information == 1 and free[-1]):
        return Subtree(size, information, None)
    return Subtree(size, information, (tree_of(free[: size // 2]), tree_of(free[size // 2 :])))


def integers(values: Array) -> Array:
    """Return soft values (words, n) as int32 whose magnitudes add up to at most 2^30 a word, signs kept.

    What is beyond 8 medians of a word's non-zero magnitudes is cut there. Only operations that are exact, or
    rounded in the same way everywhere, are used.
    """
    xp = namespace(values)
    exact = values.astype(np.float64) if xp is np else values.to(xp.float64)
    magnitudes = _sorted(abs(exact))
    words, length = exact.shape
    known = (magnitudes > 0).sum(1)
    median = magnitudes[count(exact, words), (length - (known + 1) // 2).clip(None, length - 1)]
    most = xp.minimum(magnitudes[:, -1], _OUTLIER * median)[:, None]
    scale = (_SUM // length) / xp.where(most > 0, most, 1.0)
    return whole(xp.round(xp.minimum(xp.maximum(exact, -most), most) * scale))


def decode_list(tree: Subtree, values: Array, paths: int) -> Array:
    """Return the words that the surviving paths end with, likeliest first: int32 (words, survivors, n) of -1 and 1.

    Args:
        tree: of the code; at least two information bits.
        values: int32 (words, n) from `integers`, positive where a bit 0, which is a 1 in the result, is likelier.
        paths: L, most paths that are kept, a power of two.
    """
    search = _Search(values, paths)
    signs, _ = search.walk(tree, values)
    return signs[search.keep(search.cost.reshape(len(values), -1))].reshape(len(values), -1, tree.size)


class _Search:
    """The paths of all words, and what each costs so far.

    Attributes:
        cost: int32 (words * paths,).
    """

    def __init__(self, values: Array, paths: int) -> None:
        """Start with one path a word."""
        self._xp, self._words, self._paths = namespace(values), len(values), paths
        self._word = count(values, len(values))[:, None]
        self.cost: Array = values[:, 0] * 0

    def walk(self, tree: Subtree, values: Array) -> tuple[Array, Array]:
        """Take a subtree and charge the paths for it.

        Returns:
            Signs of the paths' words, int32 (rows, size), None if all are 1; and the row that each path had before,
            int64 (rows,), None if all are where they were.
        """
        if tree.halves is not None:
            return self._split(*tree.halves, values)
        self.cost = self.cost + total((-values).clip(0, None))
        return (None, None) if tree.information == 0 else self._repeat(values)

    def _split(self, first: Subtree, second: Subtree, values: Array) -> tuple[Array, Array]:
        """Decode the two halves, the second given the first; it always has information, being the better one."""
        xp = self._xp
        left, right = values[:, : first.size], values[:, first.size :]
        signs, origin = self.walk(first, xp.maximum(xp.minimum(left, right), -xp.maximum(left, right)))
        if origin is not None:
            left, right = left[origin], right[origin]
        upper, later = self.walk(second, right + left if signs is None else right + signs * left)
        if later is not None:
            signs = None if signs is None else signs[later]
            origin = later if origin is None else origin[later]
        return xp.concatenate([upper if signs is None else signs * upper, upper], 1), origin

    def _repeat(self, values: Array) -> tuple[Array, Array]:
        """Continue each path with both words of a repetition, charged for all ones, and keep the best."""
        other = self.cost + total(values)
        both = self._xp.concatenate([self.cost.reshape(self._words, -1), other.reshape(self._words, -1)], 1)
        before = len(self.cost) // self._words
        kept = self.keep(both).reshape(self._words, -1) - 2 * before * self._word
        second = kept >= before
        origin = (kept - before * second + before * self._word).reshape(-1)
        signs = (1 - 2 * whole(second)).reshape(-1, 1)
        return self._xp.broadcast_to(signs, (len(signs), values.shape[1])), origin

    def keep(self, cost: Array) -> Array:
        """Keep the cheapest paths, of equal ones the first: int32 (words, paths); return their flat indices."""
        width = cost.shape[1]
        keys = _sorted((cost + 0 * self._word) * width + count(cost, width))[:, : self._paths]
        self.cost = whole(keys // width).reshape(-1)
        return (keys % width + width * self._word).reshape(-1)


#: the same search, for codes of several trees
Search: TypeAlias = _Search


def namespace(values: Array) -> Namespace:
    """Return numpy for an array and torch for a tensor."""
    if isinstance(values, np.ndarray):
        return np
    import torch

    return torch


def count(like: Array, count: int) -> Array:
    """Return 0, 1, ..., int64 (count,), where `like` is."""
    return np.arange(count) if isinstance(like, np.ndarray) else namespace(like).arange(count, device=like.device)


def _sorted(rows: Array) -> Array:
    return np.sort(rows, axis=1) if isinstance(rows, np.ndarray) else rows.sort(1).values


def total(rows: Array) -> Array:
    """Return the sum of each row, int32."""
    return rows.sum(1, dtype=namespace(rows).int32)


def whole(values: Array) -> Array:
    """Return values as int32."""
    return values.astype(np.int32) if isinstance(values, np.ndarray) else values.int()
