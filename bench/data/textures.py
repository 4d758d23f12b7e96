"""Colour patches of 32x32 pixels: say from which of fourteen photographs each one was cut.

Each photograph is laid out in tiles of 64x64 pixels. A quarter of the tiles, chosen by a hash, is kept
for testing, and an eighth of the others for validation. A patch lies inside one tile, so that no pixel of a
test or validation patch is in any other part.
"""

from collections.abc import Iterator

import numpy as np
import torch

from bench.data.dataset import Split
from bench.data.photographs import PHOTOGRAPHS, Photograph, content, pixels
from bench.data.source import Raw, Request, hashed

PATCH = 32
TILE = 64
PER_CLASS = {"train": 300, "validation": 40, "test": 80}

Corner = tuple[int, int]  # top and left, in pixels


def read(request: Request) -> Raw:
    """Return 4,200 patches to train, 560 to validate and 1,120 to test; of each photograph 300, 40 and 80."""
    train, validation, test = (_split(part, count) for part, count in PER_CLASS.items())
    return Raw(train, test, len(PHOTOGRAPHS), content=content(), validation=validation)


def tiles(photograph: Photograph, height: int, width: int) -> dict[str, list[Corner]]:
    """Return the corners of the tiles of each part."""
    corners = [(y, x) for y in range(0, height - TILE + 1, TILE) for x in range(0, width - TILE + 1, TILE)]
    ordered = sorted(corners, key=lambda corner: hashed("textures tile", photograph.file, *corner))
    tested = len(ordered) // 4
    trained = tested + (len(ordered) - tested) // 8
    return {"train": ordered[trained:], "validation": ordered[tested:trained], "test": ordered[:tested]}


def patch_corners(photograph: Photograph, part: str, count: int) -> list[Corner]:
    """Return the corners of `count` different patches of one part."""
    height, width = pixels(photograph).shape[:2]
    own = tiles(photograph, height, width)[part]
    found: dict[Corner, None] = {}
    draws = _draws(photograph, part)
    while len(found) < count:
        tile, down, right = next(draws)
        top, left = own[tile % len(own)]
        found[top + down, left + right] = None
    return list(found)


def _draws(photograph: Photograph, part: str) -> Iterator[tuple[int, int, int]]:
    """Yield endless hashed draws: a tile, and a patch's place inside it."""
    places = TILE - PATCH + 1
    index = 0
    while True:
        number = hashed("textures patch", photograph.file, part, index)
        yield number // places**2, number // places % places, number % places
        index += 1


def _split(part: str, count: int) -> Split:
    patches = [
        pixels(photograph)[top : top + PATCH, left : left + PATCH]
        for photograph in PHOTOGRAPHS
        for top, left in patch_corners(photograph, part, count)
    ]
    labels = torch.arange(len(PHOTOGRAPHS)).repeat_interleave(count)
    return Split(torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2).contiguous(), labels)
