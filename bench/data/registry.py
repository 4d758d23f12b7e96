"""The data sets that can be named, and the one way from a name to normalised tensors."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from bench.data import digits, idx, image_folder, photo_crops, textures, torchvision_sets
from bench.data.dataset import Dataset, Split
from bench.data.resize import resized_floats
from bench.data.source import Raw, Request, default_root
from bench.data.validation import cut
from cwwm.support.errors import BadInput, unknown_name

_PREPROCESSING = 2  # goes into every identity: raise it when the same source would give other tensors


@dataclass(frozen=True)
class Source:
    """Where a data set comes from: one line about it, what reads it, and how many folds it can test in turn."""

    about: str
    read: Callable[[Request], Raw]
    takes_argument: bool = False
    folds: int = 1


DATASETS: dict[str, Source] = {
    "digits": Source("1,797 grey 8x8 digits, inside scikit-learn, 10 classes", digits.read, folds=digits.FOLDS),
    "textures": Source("5,320 colour 32x32 patches of embedded photographs, 14 classes", textures.read),
    "photo-crops": Source(
        "1,000 crops of embedded photographs for ImageNet weights; :inception for mean and deviation 0.5",
        photo_crops.read,
        takes_argument=True,
    ),
    "fashion-mnist": Source(
        "70,000 grey 28x28, 10 classes; Debian's dataset-fashion-mnist or network", idx.read_fashion_mnist
    ),
    "mnist": Source("70,000 grey 28x28 digits, 10 classes; network", idx.read_mnist),
    "cifar10": Source("60,000 colour 32x32, 10 classes; network", torchvision_sets.read_cifar10),
    "cifar100": Source("60,000 colour 32x32, 100 classes; network", torchvision_sets.read_cifar100),
    "flowers102": Source("8,189 photographs, 102 classes; network", torchvision_sets.read_flowers102),
    "imagefolder": Source(
        "imagefolder:PATH[:N], your folder with train/ and val/, at most N images a class",
        image_folder.read,
        takes_argument=True,
    ),
}


def load(
    name: str,
    *,
    size: int,
    channels: int = 3,
    device: torch.device | str = "cpu",
    root: Path | None = None,
    fold: int = 0,
) -> Dataset:
    """Return a data set as float32 tensors (n, channels, size, size), normalised a channel.

    Mean and standard deviation are those of the training images, or ImageNet's for photographs. The
    tensors are kept and shared between calls: do not write into them.

    Args:
        name: a key of `DATASETS`, with ``:argument`` where it takes one.
        size: pixels a side; images are resized bilinearly, smoothed when they get smaller.
        channels: 3, or 1 for grey sets; grey is repeated.
        device: where the tensors shall live.
        root: folder for files to read and to download; by default one in the user's cache.
        fold: which images are for testing, 0 or more, in a circle: seeds in a row take other ones. Only sets
            without a published test split have folds.

    Raises:
        BadInput: an unknown name, data that is neither here nor within reach, or a size or number of
            channels that it cannot have; one line that says what to do.
    """
    folds = _find(name)[0].folds
    return _load(name, size, channels, (root or default_root()).absolute(), fold % folds).to(device)


@lru_cache(maxsize=8)
def _load(name: str, size: int, channels: int, root: Path, fold: int) -> Dataset:
    source, argument = _find(name)
    if size < 1:
        raise BadInput(f"data set '{name}': size {size} is not a number of pixels")
    raw = source.read(Request(size, root, argument, fold))
    stored = raw.test.x.shape[1]
    if stored not in (1, channels):
        raise BadInput(f"data set '{name}' has {stored} channels and cannot be given with {channels}")
    kind = name.partition(":")[0]
    parts = (*cut(raw, kind), raw.test)
    images = [resized_floats(part.x, size) for part in parts]
    mean, std = _statistics(raw, images[0])
    normalised = (_normalised(x, mean, std, channels) for x in images)
    train, validation, test = (Split(x, part.y) for x, part in zip(normalised, parts, strict=True))
    identity = _identity(kind, size, channels, raw.statistics, raw.digest())
    return Dataset(name, raw.classes, train, validation, test, identity, raw.labelled)


def _find(name: str) -> tuple[Source, str]:
    """Split ``name:argument`` and look the name up."""
    kind, colon, argument = name.partition(":")
    if kind not in DATASETS:
        raise unknown_name("data set", kind, DATASETS)
    source = DATASETS[kind]
    if colon and not source.takes_argument:
        raise BadInput(f"data set '{kind}' takes nothing after a colon, but '{argument}' was given")
    return source, argument


def _statistics(raw: Raw, train: Tensor) -> tuple[list[float], list[float]]:
    """Return mean and deviation of each channel.

    They are rounded to four digits, so that the order in which threads add up cannot change them.
    """
    if raw.statistics is not None:
        return list(raw.statistics[0]), list(raw.statistics[1])
    std, mean = torch.std_mean(train, dim=(0, 2, 3))
    return [round(m, 4) for m in mean.tolist()], [max(round(s, 4), 1e-4) for s in std.tolist()]


def _normalised(x: Tensor, mean: list[float], std: list[float], channels: int) -> Tensor:
    """Normalise in place; grey channels are a view of one, so that they cost no memory."""
    x.sub_(torch.tensor(mean)[:, None, None]).div_(torch.tensor(std)[:, None, None])
    return x.expand(-1, channels, -1, -1)


def _identity(*parts: object) -> str:
    return hashlib.sha256(repr((_PREPROCESSING, *parts)).encode()).hexdigest()
