"""The one way in which images change size: bilinear, smoothed when they get smaller."""

import torch
from torch import Tensor
from torch.nn import functional

_CHUNK = 64  # images at a time: a second copy of the whole set would double the memory


def resized(x: Tensor, height: int, width: int) -> Tensor:
    """Resize images (n, c, h, w) to (n, c, height, width) of the same dtype.

    uint8 costs a tenth of float32 and differs by at most one level after rounding: right for photographs,
    too coarse for sets of few levels.
    """
    if tuple(x.shape[2:]) == (height, width):
        return x
    return functional.interpolate(x, (height, width), mode="bilinear", antialias=True)


def resized_floats(x: Tensor, size: int) -> Tensor:
    """Resize uint8 images (n, c, h, w) without rounding, to a new float32 (n, c, size, size)."""
    out = torch.empty(len(x), x.shape[1], size, size)
    for start in range(0, len(x), _CHUNK):
        part = slice(start, start + _CHUNK)
        out[part] = resized(x[part].float(), size, size)
    return out


def centre_square(x: Tensor, size: int) -> Tensor:
    """Resize one image (c, h, w) so that its shorter side is `size`, and cut out its centre square.

    Returns:
        (c, size, size), of the same dtype.
    """
    height, width = x.shape[1:]
    scale = size / min(height, width)
    target = max(size, round(height * scale)), max(size, round(width * scale))
    whole = resized(x[None], *target)[0]
    top, left = (target[0] - size) // 2, (target[1] - size) // 2
    return whole[:, top : top + size, left : left + size]
