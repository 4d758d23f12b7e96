"""A data set as tensors that live on the device, and its shuffled, augmented batches."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from cwwm.support.errors import BadInput

PERIOD = 8  # one training image of so many of a class is kept for validation, where a set has no such part itself


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels of one part of a data set, on one device.

    Attributes:
        x: (n, c, h, w); float32 and normalised once loaded, uint8 as a source hands it over. Grey
            images shown in three channels may share memory between them: do not write into it.
        y: int64 (n,), from 0 up.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device | str) -> "Split":
        """Return the same split on `device`; nothing is copied if it is there already."""
        return Split(self.x.to(device), self.y.to(device))

    def batches(
        self, batch_size: int, *, seed: int, epoch: int, shift: int = 0, flip: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every image once, in an order that depends on seed and epoch only.

        The draws are made on the CPU and sent in one go, so that every device sees the same batches. The
        last batch may be short; it is left out if it is a single image, which batch norm cannot take.

        Args:
            batch_size: images a batch.
            seed: of the whole training.
            epoch: number of this pass; each has its own order and augmentation.
            shift: pad with this many zeros (the mean colour) on each side and crop at a random place.
            flip: mirror half of the images left to right.

        Yields:
            x (b, c, h, w) float32 and y (b,) int64, on the device of the split.
        """
        generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
        count, device = len(self), self.x.device
        order = torch.randperm(count, generator=generator).to(device)
        offsets = torch.randint(2 * shift + 1, (count, 2), generator=generator).to(device)
        mirrored = (torch.rand(count, generator=generator) < 0.5).to(device)
        for start in range(0, count, batch_size):
            part = slice(start, start + batch_size)
            if count - start == 1:
                return
            x = self.x[order[part]]
            if shift:
                x = shifted(x, offsets[part], shift)
            if flip:
                x = torch.where(mirrored[part, None, None, None], x.flip(3), x)
            yield x, self.y[order[part]]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set ready for training and evaluation, all of it on one device.

    Attributes:
        name: as given to `bench.data.load`.
        classes: number of outputs that a model for it has.
        train: what models are trained on; empty for sets that only measure.
        validation: what recipes, strengths and thresholds are chosen on; empty where there is too little.
        test: what accuracy is measured on, and nothing is chosen on. No two of the three share a pixel.
        identity: hash of name, preprocessing and content; the same on every device.
        labelled: False if y does not number the model's classes, so that accuracy has no meaning and
            only the agreement of two models can be measured.
    """

    name: str
    classes: int
    train: Split
    validation: Split
    test: Split
    identity: str
    labelled: bool = True

    def to(self, device: torch.device | str) -> "Dataset":
        """Return the same data set on `device`; nothing is copied if it is there already."""
        train, validation, test = (part.to(device) for part in (self.train, self.validation, self.test))
        return replace(self, train=train, validation=validation, test=test)

    def to_choose_on(self) -> Split:
        """Return the validation split; BadInput if it is empty."""
        if not len(self.validation):
            raise BadInput(
                f"data set '{self.name}' has no validation images, on which strengths are chosen: some are kept of "
                f"each class with {PERIOD} training images or more"
            )
        return self.validation


def epoch_seed(seed: int, epoch: int) -> int:
    """Return the 63-bit seed of one epoch; a hash, so that neighbouring seeds share no epochs."""
    digest = hashlib.sha256(f"batches {seed} {epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def shifted(x: Tensor, offsets: Tensor, shift: int) -> Tensor:
    """Pad images with zeros and crop each one back to its size at its own place.

    Args:
        x: (b, c, h, w).
        offsets: int64 (b, 2), top and left corner of each crop, 0 to 2 `shift`; `shift` is no move.
        shift: pixels of padding on each side.

    Returns:
        (b, c, h, w): image i moved down by ``shift - offsets[i, 0]``, right by ``shift - offsets[i, 1]``.
    """
    height, width = x.shape[2:]
    padded = functional.pad(x, (shift,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (b, c, top, left, h, w)
    rows = torch.arange(len(x), device=x.device)
    return windows[rows, :, offsets[:, 0], offsets[:, 1]]
