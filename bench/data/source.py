"""What a source of data hands over: images as they are stored, before resizing and normalising."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.data.dataset import Split
from cwwm.support.errors import EnvironmentFault

# ImageNet's, in units of 0 to 255: the values that torchvision and timm train and evaluate with.
IMAGENET_STATISTICS = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


# timm's models of the Inception and Lite families map 0 to 255 to -1 to 1 instead.
INCEPTION_STATISTICS = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))


@dataclass(frozen=True)
class Request:
    """What the user asked of a source.

    Attributes:
        size: pixels a side in the end; only sources of photographs of many sizes need it.
        root: folder for files that are looked for or downloaded.
        argument: what followed the colon in the name, or nothing.
        fold: which part of the images is for testing, 0 or more; only sources that have folds look at it.
    """

    size: int
    root: Path
    argument: str = ""
    fold: int = 0


@dataclass(frozen=True, eq=False)
class Raw:
    """A data set before preprocessing.

    Attributes:
        train: x uint8 (n, c, h, w), y int64 (n,).
        test: the same.
        classes: number of outputs of a model for it.
        validation: the same; None to cut it from `train`.
        statistics: mean and standard deviation of each channel to normalise with, in the units of x;
            None to take those of the training images.
        labelled: see `Dataset`.
        content: digest of the files it was decoded from; empty to digest the arrays. Decoders differ by
            a level between machines, and such a difference shall not make another data set.
    """

    train: Split
    test: Split
    classes: int
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    labelled: bool = True
    content: str = ""
    validation: Split | None = None

    def digest(self) -> str:
        """Return what stands for the content: its files' digest, or that of shapes, images and labels."""
        if self.content:
            return self.content
        state = hashlib.sha256()
        for split in filter(None, (self.train, self.test, self.validation)):
            for tensor in (split.x, split.y):
                state.update(str(tuple(tensor.shape)).encode())
                state.update(np.ascontiguousarray(tensor.numpy()).data)
        return state.hexdigest()


def hashed(*parts: object) -> int:
    """Return a 256-bit number that depends on `parts` only: no generator, so no version of one."""
    return int.from_bytes(hashlib.sha256(" ".join(map(str, parts)).encode()).digest(), "big")


def files_digest(paths: Iterable[Path]) -> str:
    """Return the SHA-256 of the contents of files, in the order given, in hex."""
    state = hashlib.sha256()
    for path in paths:
        state.update(hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()


def split_from_arrays(images: np.ndarray, labels: object) -> Split:
    """Return uint8 images (n, h, w) or (n, h, w, c) and their labels (n,) as a split."""
    x = torch.from_numpy(np.ascontiguousarray(images))
    channels_first = x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2).contiguous()
    return Split(channels_first, torch.as_tensor(labels, dtype=torch.int64))


def default_root() -> Path:
    """Return the folder for downloads: ``cwwm-bench/data`` in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "cwwm-bench" / "data"


def missing(name: str, hint: str, reason: BaseException | None = None) -> EnvironmentFault:
    """Return the one-line error for data that is neither here nor within reach."""
    because = f" ({str(reason).splitlines()[0][:120]})" if reason and str(reason) else ""
    return EnvironmentFault(f"data set '{name}' is not on this machine and cannot be fetched{because}; {hint}")


def stack(images: list[Tensor], size: int) -> Tensor:
    """Stack uint8 images (3, size, size) into (n, 3, size, size), n possibly 0."""
    return torch.stack(images) if images else torch.empty(0, 3, size, size, dtype=torch.uint8)
