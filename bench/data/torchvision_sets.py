"""CIFAR-10, CIFAR-100 and Flowers-102, downloaded by torchvision for users with a network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.data.dataset import Split
from bench.data.image_folder import Sample, raw_from_files
from bench.data.source import Raw, Request, missing, split_from_arrays

_HINT = "connect to a network once; torchvision keeps it under {root}"


def read_cifar10(request: Request) -> Raw:
    """Return CIFAR-10: 50,000 to train, 10,000 to test, colour 32x32."""
    return _cifar("cifar10", "CIFAR10", 10, request.root)


def read_cifar100(request: Request) -> Raw:
    """Return CIFAR-100: 50,000 to train, 10,000 to test, colour 32x32."""
    return _cifar("cifar100", "CIFAR100", 100, request.root)


def read_flowers102(request: Request) -> Raw:
    """Return Flowers-102: its train and val parts (2,040) to train, its test part (6,149) to test."""
    train, val, test = (_flowers_part(part, request.root) for part in ("train", "val", "test"))
    return raw_from_files(train + val, test, 102, request.size)


def _cifar(name: str, torchvision_name: str, classes: int, root: Path) -> Raw:
    def part(train: bool) -> Split:
        found = _fetched(name, root, lambda sets: getattr(sets, torchvision_name)(root, train=train, download=True))
        return split_from_arrays(found.data, found.targets)

    return Raw(part(True), part(False), classes)


def _flowers_part(part: str, root: Path) -> list[Sample]:
    found = _fetched("flowers102", root, lambda sets: sets.Flowers102(root, split=part, download=True))
    return list(zip(found._image_files, found._labels, strict=True))


def _fetched(name: str, root: Path, build: Callable[[Any], Any]) -> Any:  # noqa: ANN401
    """Build a torchvision data set, or say in one line why it is not to be had."""
    import torchvision

    try:
        return build(torchvision.datasets)
    except (OSError, RuntimeError) as error:
        raise missing(name, _HINT.format(root=root), error) from error
