"""Trigger images for encodings that answer a secret set of inputs: made from the key, and asked of a model."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cwwm.channels.graph import evaluating
from cwwm.ownership.keys import Streams
from cwwm.schemes.common.projected import keyed_gaussian
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed
from cwwm.training import Batches

ABSTRACT, NOISE, CONTENT = "abstract", "noise", "content"
KINDS = (ABSTRACT, NOISE, CONTENT)

_CHUNK = 256  # images in one forward pass
_SURVEYED = 1024  # images that the statistics of the data are taken from
_DIGITS = 4  # of these statistics: what the mark keeps is what was embedded, on every machine
_GRID = 4  # cells a side of an abstract image
_CORNER = 4  # the patch is a quarter of the image a side


@dataclass(frozen=True)
class Look:
    """What the training images look like: (c, h, w), and mean and standard deviation of each channel."""

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def survey(cls, data: Batches, seed: int) -> "Look":
        """Measure a thousand images of `data`, drawn by `seed`; BadInput unless they have three axes."""
        x, _ = next(iter(data.batches(_SURVEYED, seed=seed, epoch=0, shift=0, flip=False)))
        if x.ndim != 4:
            raise BadInput(f"trigger images are made for images (c, h, w), not for inputs of {x.ndim - 1} axes")
        std, mean = torch.std_mean(x.double(), dim=(0, 2, 3))
        channels, height, width = x.shape[1:]
        rounded = (tuple(round(value, _DIGITS) for value in row.tolist()) for row in (mean, std))
        return cls((channels, height, width), *rounded)

    def to_json(self) -> dict[str, Any]:
        """Return the look as JSON values."""
        return {"shape": list(self.shape), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Look":
        """Read what `to_json` wrote."""
        channels, height, width = value["shape"]
        return cls((channels, height, width), tuple(value["mean"]), tuple(value["std"]))

    def scaled(self, standard: Tensor) -> Tensor:
        """Return images of mean 0 and deviation 1, (n, c, h, w), at the mean and deviation of the data."""
        mean, std = (torch.tensor(row)[:, None, None] for row in (self.mean, self.std))
        return mean + std * standard


def trigger_images(
    kind: str, look: Look, streams: Streams, *, count: int, amplitude: float, bases: Tensor | None
) -> Tensor:
    """Return `count` trigger images, float32 (count, c, h, w), on the CPU; the same for the same streams.

    Args:
        kind: ``"abstract"`` (a keyed Gaussian grid of 4x4 colours, smoothly enlarged: nothing of the task),
            ``"noise"`` (one keyed Gaussian pattern added to all bases) or ``"content"`` (one keyed patch of
            two extreme colours a channel, a quarter of the image a side, over the same place of all bases).
        look: of the training images.
        streams: of the mark.
        amplitude: of grid, pattern or patch, in standard deviations of the training images.
        bases: training images, float32 (count, c, h, w), for all kinds but ``"abstract"``.
    """
    stream = streams.stream(f"{kind} images")
    channels, height, width = look.shape
    if kind == ABSTRACT or bases is None:
        grid = keyed_gaussian(stream, count, channels * _GRID**2).view(count, channels, _GRID, _GRID)
        smooth = functional.interpolate(grid, (height, width), mode="bilinear", align_corners=False)
        return look.scaled(amplitude * smooth)
    spread = look.scaled(torch.ones(1, channels, 1, 1)) - look.scaled(torch.zeros(1, channels, 1, 1))
    if kind == NOISE:
        return bases + amplitude * spread * keyed_gaussian(stream, 1, channels * height * width).view(look.shape)
    rows, columns = max(1, height // _CORNER), max(1, width // _CORNER)
    top, left = int(stream.below(height - rows + 1, 1)[0]), int(stream.below(width - columns + 1, 1)[0])
    signs = torch.from_numpy(stream.signs(channels * rows * columns)).float().view(1, channels, rows, columns)
    images = bases.clone()
    images[:, :, top : top + rows, left : left + columns] = look.scaled(amplitude * signs)
    return images


def base_images(data: Batches, streams: Streams, *, count: int, seed: int) -> Tensor:
    """Return `count` different training images, float32 (count, c, h, w), on the CPU, chosen by streams and `seed`.

    Raises:
        BadInput: if the data has too few.
    """
    available = len(data) - 1  # the last one may be left out of the last batch
    if count > available:
        raise BadInput(f"{count} trigger images need as many training images; the data has {available}")
    places = {int(place): i for i, place in enumerate(streams.stream("bases").sample(available, count))}
    found: dict[int, Tensor] = {}
    start = 0
    for x, _ in data.batches(_CHUNK, seed=seed, epoch=0, shift=0, flip=False):
        found |= {places[start + row]: x[row].cpu() for row in range(len(x)) if start + row in places}
        start += len(x)
    return torch.stack([found[i] for i in range(count)])


def answers_to(model: nn.Module, images: Tensor, *, gradients: bool = False) -> Tensor:
    """Return the model's logits, (n, classes), for images (n, c, h, w), as it answers in use.

    In evaluation mode, each module's own mode restored: batch norm uses its running statistics and does not
    learn the images' own, with gradients (for training) or without.
    """
    device = next(model.parameters()).device
    with evaluating(model, gradients=gradients):
        return torch.cat([model(chunk.to(device)) for chunk in torch.split(images, _CHUNK)])


@dataclass(frozen=True, eq=False)
class TriggerSet:
    """Trigger images with labels, to train on: shuffled, never augmented, alone or among the task's data.

    Attributes:
        x: float32 (n, c, h, w). y: int64 (n,), both on the device of `data` and of the model.
        data: if given, an epoch is one over it, and every batch holds its share of the trigger images too.
    """

    x: Tensor
    y: Tensor
    data: Batches | None = None

    def __len__(self) -> int:
        """Return the number of samples of an epoch."""
        return len(self.y) if self.data is None else len(self.data) + len(self.y)

    def batches(
        self, batch_size: int, *, seed: int, epoch: int, shift: int, flip: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each sample once; `shift` and `flip` are for the task's data."""
        generator = torch.Generator().manual_seed(derive_seed(trigger_images=seed, epoch=epoch))
        order = torch.randperm(len(self.y), generator=generator).to(self.y.device)
        if self.data is None:
            for part in torch.split(order, batch_size):
                yield self.x[part], self.y[part]
            return
        share = min(batch_size - 1, -(-batch_size * len(self.y) // len(self)))
        parts = iter(torch.split(order, share))
        for x, y in self.data.batches(batch_size - share, seed=seed, epoch=epoch, shift=shift, flip=flip):
            part = next(parts, order[:0])
            yield torch.cat([x, self.x[part]]), torch.cat([y, self.y[part]])
