"""The validation part of a data set that was published without one: some of each class's training images."""

from collections import Counter

import torch

from bench.data.dataset import PERIOD, Split
from bench.data.source import Raw, hashed


def cut(raw: Raw, name: str) -> tuple[Split, Split]:
    """Return the training and the validation part of a source, uint8.

    Where the source has no validation part, it is every eighth training image of each class, in an order given by a
    hash of the name and the image's number; a class with fewer than eight gives none.
    """
    if raw.validation is not None:
        return raw.train, raw.validation
    kept = torch.tensor(chosen(raw.train.y.tolist(), name), dtype=torch.bool)
    train, validation = (Split(raw.train.x[part], raw.train.y[part]) for part in (~kept, kept))
    return train, validation


def chosen(labels: list[int], name: str) -> list[bool]:
    """Return which images are for validation."""
    found, met = [False] * len(labels), Counter[int]()
    for index in sorted(range(len(labels)), key=lambda index: hashed("validation", name, index)):
        met[labels[index]] += 1
        found[index] = met[labels[index]] % PERIOD == 0
    return found
