"""Weights in the shapes of ResNet-50, or of a small likeness of it, in layers that compute nothing."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn


def resnet50_shapes(narrower: int = 1) -> Iterator[tuple[int, ...]]:
    """Yield the shapes of ResNet-50's convolutions and its classifier (He et al. 2016, table 1).

    Args:
        narrower: divides the widths; 1 gives 25.5 million weights.
    """
    channels = 64 // narrower
    yield channels, 3, 7, 7
    for blocks, full in ((3, 64), (4, 128), (6, 256), (3, 512)):
        width = full // narrower
        for block in range(blocks):
            yield from ((width, channels, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1))
            if block == 0:
                yield 4 * width, channels, 1, 1
            channels = 4 * width
    yield 1000 // narrower, channels


class Holder(nn.Module):
    """A layer that has a weight and computes nothing."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)


def large_network(narrower: int = 1) -> nn.Module:
    """Return the layers with Gaussian weights of He's scale, float32, on the CPU, always the same."""
    generator = torch.Generator().manual_seed(0)
    return nn.Sequential(
        *(
            Holder(torch.randn(shape, generator=generator) * (2 / np.prod(shape[1:])) ** 0.5)
            for shape in resnet50_shapes(narrower)
        )
    )
