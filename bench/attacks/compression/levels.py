"""Shared values for the weights that survive pruning: fixed zero-free levels, and one-dimensional k-means.

The levels are those of the unified ADMM compression of arXiv 1811.01907: 2^b values, symmetric about zero, equally
spaced, zero not among them, since a weight of zero is one that was pruned.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cwwm.support.errors import BadInput

LEVEL_BITS = range(1, 9)  # both papers use up to 8 bits
_STEP = 1e-3  # of the released code's scan for q: 0.1 %
_POLISHING = 20


def best_interval(weights: Tensor, bits: int, offset: float = 0.0) -> float:
    """Return the spacing q of the 2^bits levels with the smallest squared error over the non-zero weights.

    The paper searches q by bisection; its released code scans +-10 % of max|w| / (levels a side) in steps of
    0.1 %. The error has many local minima, which mislead a bisection, and heavy-tailed weights have their optimum
    far below that window. So here q falls from the largest value that can be optimal, an octave at a time in steps
    of 0.1 % of its top, one tensor operation each, until the error of the weights beyond the outermost level alone
    exceeds the best error found: no smaller q can then win. The winner is polished to a stationary point by
    q = sum(c |w|) / sum(c^2), c the level numbers.

    Args:
        weights: floating, any shape and device; exact zeros do not count.
        bits: 1 to 8.
        offset: of the levels +-(i - offset) q, i = 1..2^(bits-1): 0, or 0.5 for levels halfway between.

    Raises:
        BadInput: for other bits or offsets, or if there is no non-zero weight, or one that is not finite.
    """
    scan = _Scan.of(weights, bits, offset)
    highest = float(scan.ordered[-1]) / scan.first
    octave = torch.arange(0, 0.5, _STEP, dtype=torch.float64, device=weights.device).neg().add(1)
    best, least = highest, float("inf")
    while True:
        candidates = highest * octave
        errors = scan.errors(candidates)
        place = int(errors.argmin())
        if float(errors[place]) < least:
            best, least = float(candidates[place]), float(errors[place])
        highest /= 2
        if float(scan.clipped(highest)) >= least:
            return scan.polished(best)


@dataclass(frozen=True)
class _Scan:
    """Sorted magnitudes with their running sums, so that an error costs a search per level, not per weight."""

    ordered: Tensor  # (n,) float64, ascending
    sums: Tensor  # (n + 1,) float64, sums of the first 0..n magnitudes
    numbers: Tensor  # (levels a side,) float64, the levels at q = 1

    @classmethod
    def of(cls, weights: Tensor, bits: int, offset: float) -> "_Scan":
        sides = _sides(bits, offset)
        ordered = weights.detach()[weights != 0].abs().sort().values.double()
        if len(ordered) == 0 or not bool(ordered[-1].isfinite()):
            raise BadInput("levels are fitted to finite weights of which at least one is not zero")
        numbers = torch.arange(1, sides + 1, dtype=torch.float64, device=ordered.device) - offset
        return cls(ordered, _running_sums(ordered), numbers)

    @property
    def first(self) -> float:
        """The innermost level at q = 1; for q above max|w| over it all weights share it and errors only grow."""
        return float(self.numbers[0])

    def moments(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Return sum(c |w|) and sum(c^2), where c q is the level nearest to |w|, for every candidate q (m,)."""
        c = self.numbers
        ends = torch.searchsorted(self.ordered, q[:, None] * (c[:-1] + c[1:]) / 2)
        cross = c[-1] * self.sums[-1] - self.sums[ends].sum(1)  # Abel summation: neighbours differ by one
        square = c[-1] ** 2 * len(self.ordered) - (ends * (c[1:] ** 2 - c[:-1] ** 2)).sum(1)
        return cross, square

    def errors(self, q: Tensor) -> Tensor:
        """Return the squared errors (m,) of the candidates q (m,)."""
        cross, square = self.moments(q)
        return self.ordered.square().sum() - 2 * q * cross + q.square() * square

    def clipped(self, q: float) -> Tensor:
        """Return the squared error of magnitudes beyond the outermost level; any smaller q errs by no less."""
        return (self.ordered - q * self.numbers[-1]).clamp(min=0).square().sum()

    def polished(self, q: float) -> float:
        """Return the stationary point downhill of q: the best q for its own assignment, repeated."""
        value = self.ordered.new_tensor([q])
        for _ in range(_POLISHING):
            cross, square = self.moments(value)
            value = cross / square
        return float(value)


def nearest_level(
    weights: Tensor, q: float | Tensor, bits: int, mask: Tensor | None = None, offset: float = 0.0
) -> Tensor:
    """Return the weights, each moved to its nearest level; the same shape, dtype and device.

    Args:
        weights: floating, any shape.
        q: the spacing of the levels, above 0.
        bits: 1 to 8; half of the 2^bits levels are on each side of zero.
        mask: bool, True is a survivor, which takes a level even if it is zero now (the lowest positive one); all
            else becomes zero. None: exact zeros are pruned and stay.
        offset: as in `best_interval`.

    Raises:
        BadInput: for other bits or offsets.
    """
    sides = _sides(bits, offset)
    numbers = (weights.abs() / q + offset).round().clamp(1, sides) - offset
    levels = torch.where(weights < 0, -numbers, numbers) * q
    return torch.where(weights != 0 if mask is None else mask, levels.to(weights.dtype), 0.0)


def kmeans(values: Tensor, k: int, start: Tensor | None = None, iterations: int = 1000) -> Tensor:
    """Return the centroids of one-dimensional k-means (Lloyd's algorithm), run until no value changes its cluster.

    Values are sorted once; an iteration then costs k binary searches and k differences of running sums. A cluster
    left empty restarts at the value farthest from its centroid, one for each of the widest clusters. Deterministic.

    Args:
        values: floating, any shape and device: the survivors of a layer; not NaN.
        k: how many clusters.
        start: where to start, (up to k,) centroids; None: the middles of k runs of equal length in sorted order.
        iterations: a bound that is hardly ever met; 1 gives a single update of `start`.

    Returns:
        The centroids, ascending and distinct, in the dtype of the values; fewer than k only if the values have
        fewer than k distinct ones, and none if there are no values.

    Raises:
        BadInput: if k is below 1, or there are more than k initial centroids.
    """
    if values.numel() == 0:
        return values.new_empty(0)
    if k < 1 or (start is not None and start.numel() > k):
        raise BadInput(f"k-means needs 1 cluster or more, and no more than k = {k} initial centroids")
    ordered = values.detach().reshape(-1).sort().values.double()
    lloyd = _Lloyd(ordered, _running_sums(ordered))
    centroids = _first_centroids(ordered, k, start)
    edges = torch.empty(0)
    for _ in range(iterations):
        previous, (edges, centroids) = edges, lloyd.step(centroids)
        if previous.shape == edges.shape and torch.equal(previous, edges):
            reseeded = lloyd.reseeded(edges, centroids)
            if reseeded is None:
                break
            edges, centroids = lloyd.step(reseeded)
    return centroids[edges.diff() > 0].to(values.dtype)


def _first_centroids(ordered: Tensor, k: int, start: Tensor | None) -> Tensor:
    """Return k ascending centroids (float64); missing ones repeat the last, to be reseeded."""
    if start is None or start.numel() == 0:
        return ordered[((torch.arange(k, device=ordered.device) + 0.5) * len(ordered) / k).long()]
    given = start.detach().to(ordered).reshape(-1).sort().values
    return torch.cat([given, given[-1:].expand(k - len(given))])


@dataclass(frozen=True)
class _Lloyd:
    """The sorted values of a k-means problem and their running sums, float64."""

    ordered: Tensor
    sums: Tensor

    def step(self, centroids: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the clusters of ascending centroids begin and end (k + 1,), and the means of the clusters.

        An empty cluster keeps its centroid.
        """
        inner = torch.searchsorted(self.ordered, (centroids[:-1] + centroids[1:]) / 2, right=True)
        edges = torch.nn.functional.pad(inner, (1, 0))
        edges = torch.nn.functional.pad(edges, (0, 1), value=len(self.ordered))
        counts = edges.diff()
        first, last = self._ends(edges)
        means = (self.sums[edges].diff() / counts.clamp(min=1)).clamp(first, last)  # exact where all are equal
        return edges, torch.where(counts > 0, means, centroids)

    def reseeded(self, edges: Tensor, centroids: Tensor) -> Tensor | None:
        """Return the centroids with the empty ones moved into the widest clusters; None if that gains nothing."""
        empty = edges.diff() == 0
        first, last = self._ends(edges)
        low, high = centroids - first, last - centroids
        spread = torch.maximum(low, high).masked_fill(empty, 0.0)
        if not bool(empty.any() & (spread > 0).any()):
            return None
        widest = spread.topk(int(empty.sum().clamp(max=(spread > 0).sum()))).indices
        moved = centroids.clone()
        moved[empty.nonzero().view(-1)[: len(widest)]] = torch.where(low > high, first, last)[widest]
        return moved.sort().values

    def _ends(self, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the greatest value of every cluster; meaningless for an empty one."""
        bound = len(self.ordered) - 1
        return self.ordered[edges[:-1].clamp(max=bound)], self.ordered[(edges[1:] - 1).clamp(min=0)]


def assign(values: Tensor, centroids: Tensor) -> Tensor:
    """Return the index of the nearest centroid for every value, int64 in the shape of the values.

    Args:
        values: floating, any shape.
        centroids: ascending, (k,), k at least 1 unless there are no values. A value midway goes to the lower one.
    """
    exact = (centroids[:-1].double() + centroids[1:].double()) / 2
    dtype = torch.promote_types(values.dtype, torch.float32)
    bounds = exact.to(dtype)  # rounded down, so that no value changes sides
    bounds = torch.where(bounds.double() > exact, bounds.nextafter(bounds.new_tensor(-torch.inf)), bounds)
    return torch.searchsorted(bounds, values.detach().to(dtype).contiguous())


def _running_sums(ordered: Tensor) -> Tensor:
    return torch.nn.functional.pad(ordered.cumsum(0), (1, 0))


def _sides(bits: int, offset: float) -> int:
    """Return how many levels are on each side of zero."""
    if bits not in LEVEL_BITS:
        raise BadInput(
            f"levels have an integer number of bits from {LEVEL_BITS[0]} to {LEVEL_BITS[-1]}, not {bits:g}"
        )
    if not 0 <= offset < 1:
        raise BadInput(f"levels are offset by 0 or more and less than 1 interval, not {offset:g}")
    return int(2 ** (int(bits) - 1))
