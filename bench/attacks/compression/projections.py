"""Sets that compression constrains a weight tensor to, each as its Euclidean projection, or nearly (`Groups`)."""

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from bench.attacks.compression.blocks import heaviest, heaviest_block
from bench.attacks.compression.levels import assign, kmeans, nearest_level
from cwwm.support.errors import BadInput


class Projection(Protocol):
    """A constraint on one tensor."""

    def __call__(self, values: Tensor) -> Tensor:
        """Return the nearest tensor of the set, or one nearly so near, of the shape and dtype of `values`."""
        ...


@dataclass(frozen=True)
class TopK:
    """At most `keep` non-zero weights, inside a mask if there is one (arXiv 1804.03294, Eq. 8).

    Exactly `keep` entries are kept whatever the ties, so that the ratio is the one asked for; percentiles
    are not exact.

    Attributes:
        keep: number of weights.
        mask: bool, of the tensor's shape; where it is False an earlier stage left zeros for good.
    """

    keep: int
    mask: Tensor | None = None

    def __call__(self, values: Tensor) -> Tensor:
        """Return `values` with all but the `keep` largest magnitudes set to zero."""
        flat = (values if self.mask is None else values.masked_fill(~self.mask, 0.0)).reshape(-1)
        chosen = flat.abs().topk(self.keep, sorted=False).indices
        projected = torch.zeros_like(flat)
        projected[chosen] = flat[chosen]
        return projected.view(values.shape)


@dataclass(frozen=True)
class Groups:
    """Whole filters, input channels and shapes (columns of the GEMM view) kept together (arXiv 1807.11091).

    Of a convolution (A, B, C, D) a filter is W[a], a channel W[:, b], a shape W[:, b, c, d]; of a linear
    weight (A, B) channels and shapes are both columns.

    One kind alone is projected exactly: the groups of largest L2 norm stay. Which filters and shapes hold the most
    energy together is NP-hard, so for several kinds the result is only nearly the nearest: the best of many
    searches (`heaviest_block`), never further away than ranking filters first, then channels, then shapes, each
    after the ones before it have been zeroed. Of 1,000 Gaussian 6x8 matrices that order finds the nearest in 32 to
    65 %, by the counts asked for, and is up to 25 % further away in the others; the searches miss it in 4, by at
    most 2 %.

    Attributes:
        filters, channels, shapes: how many to keep; None for all.
    """

    filters: int | None = None
    channels: int | None = None
    shapes: int | None = None

    def __call__(self, values: Tensor) -> Tensor:
        """Return `values` with all but the kept groups set to zero."""
        energy = values.double().square().reshape(len(values), -1)
        columns = partial(self._columns, values.shape[1])
        rows, across = heaviest_block(energy, lambda scores: heaviest(scores, self.filters), columns)
        kept = (rows[:, None] * across).view(values.shape) > 0
        return torch.where(kept, values, 0.0).contiguous()

    def _columns(self, channels: int, scores: Tensor) -> Tensor:
        """Choose among the columns of so many channels by their scores (columns, k): channels first."""
        by_channel = scores.view(channels, -1, scores.shape[1])
        inside = heaviest(by_channel.sum(1), self.channels)[:, None].expand_as(by_channel).reshape_as(scores)
        return heaviest(scores + inside * (1 + scores.amax(0)), self.shapes) * inside


@dataclass(frozen=True)
class Levels:
    """Survivors on 2^bits evenly spaced levels without zero; everything else zero (arXiv 1811.01907, Sec. 4).

    Attributes:
        interval: distance q of two levels; bits: a weight.
        mask: bool, True where a weight survived.
        offset: 0 for the levels +-i q, i = 1..2^(bits-1); 0.5 for +-(i - 0.5) q.
    """

    interval: float
    bits: int
    mask: Tensor
    offset: float = 0.0

    def __call__(self, values: Tensor) -> Tensor:
        """Return the nearest levels."""
        return nearest_level(values, self.interval, self.bits, self.mask, self.offset)


class Clusters:
    """Survivors on at most 2^bits shared values, which follow the weights (arXiv 1811.01907, Sec. 4).

    Every projection assigns survivors to the nearest centroid and moves the centroids to the means.

    Attributes:
        mask: bool, True where a weight survived.
        centroids: (k,) ascending.
    """

    def __init__(self, values: Tensor, bits: int, mask: Tensor) -> None:
        survivors = values[mask]
        if not len(survivors):
            raise BadInput("cluster: a layer has no weight left; prune less")
        self.mask = mask
        self.centroids = kmeans(survivors, min(2**bits, len(survivors)))

    def __call__(self, values: Tensor) -> Tensor:
        """Return each survivor's centroid, after k-means started at the last centroids."""
        survivors = values[self.mask]
        self.centroids = kmeans(survivors, len(self.centroids), start=self.centroids)
        projected = torch.zeros_like(values)
        projected[self.mask] = self.centroids[self.members(values)].to(values.dtype)
        return projected

    def members(self, values: Tensor) -> Tensor:
        """Return each survivor's centroid by number, int64, in the order of `values[mask]`."""
        return assign(values[self.mask], self.centroids)
