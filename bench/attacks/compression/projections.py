"""Sets that compression constrains a weight tensor to, each as its Euclidean projection."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bench.attacks.compression.levels import assign, kmeans, nearest_level
from cwwm.support.errors import BadInput


class Projection(Protocol):
    """A constraint on one tensor."""

    def __call__(self, values: Tensor) -> Tensor:
        """Return the nearest tensor of the set, of the shape and dtype of `values`."""
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
    """Whole filters, input channels and shapes (columns of the GEMM view) kept, in that order (arXiv 1807.11091).

    Of a convolution (A, B, C, D) a filter is W[a], a channel W[:, b], a shape W[:, b, c, d]; of a linear
    weight (A, B) channels and shapes are both columns. Each is ranked by its L2 norm after the ones before
    it have been zeroed.

    Attributes:
        filters, channels, shapes: how many to keep; None for all.
    """

    filters: int | None = None
    channels: int | None = None
    shapes: int | None = None

    def __call__(self, values: Tensor) -> Tensor:
        """Return `values` with the weaker groups set to zero."""
        out = values.clone(memory_format=torch.contiguous_format)  # channels_last has no views as below
        filters, channels = out.shape[:2]
        views = (
            (out.reshape(filters, -1), 1, self.filters),
            (out.reshape(filters, channels, -1), (0, 2), self.channels),
            (out.reshape(filters, -1), 0, self.shapes),
        )
        for view, axes, keep in views:  # views share memory: each sees the zeros of the ones before
            if keep is not None:
                norms = view.square().sum(axes, keepdim=True)
                view.mul_(_largest(norms, keep))
        return out


def _largest(norms: Tensor, keep: int) -> Tensor:
    """Return which `keep` entries are the largest, as zeros and ones of the shape and dtype of `norms`."""
    kept = torch.zeros_like(norms)
    kept.view(-1)[norms.reshape(-1).topk(keep, sorted=False).indices] = 1
    return kept


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
