"""What identifies the tensors of a host: one digest over all of them, or, of large hosts, over a digest of each.

A SHA-256 over 8 GB takes one core longer than the disk takes to copy them. Digests of tensors are made at once on
several cores, and those of tensors that a mark did not touch are known when its copy is identified.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from cwwm.weights.view import Weights

LARGE = 1 << 30  # bytes of tensors, beyond which each has a digest of its own
_MOST_THREADS = 8
_WORTH = 1 << 26  # entries, below which threads gain little
T = TypeVar("T")


def _update(digest: "hashlib._Hash", tensor: Tensor | None) -> None:
    """Add a tensor's bytes, row by row in its logical order; of what cannot be read names tell all that is told."""
    if tensor is not None:
        digest.update(tensor.contiguous().cpu().reshape(-1).view(torch.uint8).numpy().data)


def flat_digest(head: str, weights: Weights, names: Sequence[str]) -> str:
    """Return SHA-256 of a text, then of the bytes of tensors, one after the other."""
    digest = hashlib.sha256(head.encode())
    for name in names:
        _update(digest, weights.stored(name))
    return digest.hexdigest()


def tree_digest(head: str, weights: Weights, names: Sequence[str]) -> str:
    """Return SHA-256 of a text, then of the SHA-256 of each tensor's bytes."""
    digest = hashlib.sha256(b"cwwm-tree v1\0" + head.encode())
    for leaf in of_each(weights, names, "digest", lambda name: _leaf(weights.stored(name))):
        digest.update(leaf)
    return digest.hexdigest()


def _leaf(tensor: Tensor | None) -> bytes:
    digest = hashlib.sha256()
    _update(digest, tensor)
    return digest.digest()


def of_each(weights: Weights, names: Sequence[str], what: str, make: Callable[[str], T]) -> list[T]:
    """Return what is made of each tensor: known where the weights remember it, of much on several cores where not.

    Args:
        weights: have the tensors. names: of them.
        what: is made, the name that it is remembered by.
        make: makes it of the tensor of a name; takes most of its time without the interpreter's lock.
    """

    def one(name: str) -> T:
        return weights.remembered(name, what, lambda: make(name))

    if sum(map(weights.size, names)) < _WORTH:
        return [one(name) for name in names]
    largest_first = sorted(dict.fromkeys(names), key=lambda name: -weights.size(name))
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        made = dict(zip(largest_first, pool.map(one, largest_first), strict=True))
    return [made[name] for name in names]
