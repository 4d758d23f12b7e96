"""A user's own photographs in folders, as ImageNet has them: PATH/train/CLASS/* and PATH/val/CLASS/*."""

from pathlib import Path

import torch
from torch import Tensor

from bench.data.dataset import Split
from bench.data.resize import centre_square
from bench.data.source import IMAGENET_STATISTICS, Raw, Request, files_digest, hashed, stack
from cwwm.probing import SUFFIXES
from cwwm.support.errors import BadInput, EnvironmentFault

LIMIT_BYTES = 16 << 30  # of float32 tensors; the whole set is held in memory

Sample = tuple[Path, int]


def read(request: Request) -> Raw:
    """Read ``imagefolder:PATH`` or ``imagefolder:PATH:N``, the latter with at most N images a class.

    Raises:
        BadInput: no path, no such folders, classes that differ between the two, or more images than fit
            in memory.
    """
    folder, limit = _parse(request.argument)
    classes = _classes(folder / "train")
    if _classes(folder / "val") != classes:
        raise BadInput(f"{folder}: train and val do not have the same class folders")
    train, test = (_samples(folder / part, classes, limit) for part in ("train", "val"))
    _refuse_too_much(folder, len(train) + len(test), len(classes), request.size)
    return raw_from_files(train, test, len(classes), request.size)


def raw_from_files(train: list[Sample], test: list[Sample], classes: int, size: int) -> Raw:
    """Return the centre squares of image files, to be normalised as ImageNet's images are."""
    labels = [[label for _, label in samples] for samples in (train, test)]
    content = f"{labels} {files_digest(path for path, _ in train + test)}"
    return Raw(_load(train, size), _load(test, size), classes, IMAGENET_STATISTICS, content=content)


def read_image(path: Path, size: int) -> Tensor:
    """Return the centre square of one image file, uint8 (3, size, size)."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as image:
            array = np.array(image.convert("RGB"))
    except OSError as error:
        raise EnvironmentFault(f"{path} is not an image that can be read ({error})") from error
    return centre_square(torch.from_numpy(array).permute(2, 0, 1), size)


def _parse(argument: str) -> tuple[Path, int | None]:
    path, _, count = argument.rpartition(":")
    if path and count.isdecimal() and int(count):
        return Path(path).expanduser(), int(count)
    if not argument:
        raise BadInput("data set 'imagefolder' needs a folder: imagefolder:PATH with train/ and val/ in it")
    return Path(argument).expanduser(), None


def _classes(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise BadInput(f"data set 'imagefolder': {folder} is not a folder; give PATH with train/ and val/ in it")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if not names:
        raise BadInput(f"data set 'imagefolder': {folder} has no class folders in it")
    return names


def _samples(folder: Path, classes: list[str], limit: int | None) -> list[Sample]:
    """List the images of one part, at most `limit` a class, in an order given by their names."""
    found: list[Sample] = []
    for label, name in enumerate(classes):
        paths = [path for path in (folder / name).iterdir() if path.suffix.lower() in SUFFIXES]
        paths.sort(key=lambda path: hashed("imagefolder", path.name))
        found += [(path, label) for path in paths[:limit]]
    if not found:
        raise BadInput(f"data set 'imagefolder': no images in the class folders of {folder}")
    return found


def _refuse_too_much(folder: Path, count: int, classes: int, size: int) -> None:
    fits = LIMIT_BYTES // (4 * 3 * size * size)
    if count > fits:
        raise BadInput(
            f"{folder}: {count} images at {size}x{size} do not fit in {LIMIT_BYTES >> 30} GiB; "
            f"take fewer of each class, for example imagefolder:{folder}:{max(1, fits // (2 * classes))}"
        )


def _load(samples: list[Sample], size: int) -> Split:
    images = [read_image(path, size) for path, _ in samples]
    return Split(stack(images, size), torch.tensor([label for _, label in samples]))
