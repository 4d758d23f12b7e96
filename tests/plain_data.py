"""A few images that train a small network in a second, in the order that a seed and an epoch give."""

from collections.abc import Iterator

import torch
from sklearn.datasets import load_digits
from torch import Tensor


class Shuffled:
    """Images and labels as the training loop asks for them; neither shifted nor flipped."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.y)

    def batches(
        self, batch_size: int, *, seed: int, epoch: int, shift: int, flip: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed((1000 * seed + epoch) % 2**63))
        for part in torch.split(order, batch_size):
            yield self.x[part], self.y[part]


def digits(images: int, channels: int = 1) -> Shuffled:
    """Return the first digits of scikit-learn, (images, channels, 8, 8), in [-1, 1]."""
    found = load_digits()
    x = torch.tensor(found.images[:images], dtype=torch.float32).unsqueeze(1).expand(-1, channels, -1, -1) / 8 - 1
    return Shuffled(x, torch.tensor(found.target[:images]))


def blobs(images: int = 60) -> Shuffled:
    """Return two Gaussian blobs of 3x8x8 images."""
    y = torch.arange(images) % 2
    noise = torch.randn(images, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return Shuffled(noise * 0.5 + y.view(-1, 1, 1, 1), y)
