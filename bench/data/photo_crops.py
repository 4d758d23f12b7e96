"""A thousand crops of the embedded photographs, to compare what two ImageNet models say about them."""

import torch
from torch import Tensor

from bench.data.dataset import Split
from bench.data.photographs import PHOTOGRAPHS, Photograph, content, pixels
from bench.data.resize import resized
from bench.data.source import IMAGENET_STATISTICS, INCEPTION_STATISTICS, Raw, Request, hashed, stack
from cwwm.support.errors import unknown_name

COUNT = 1000
IMAGENET_CLASSES = 1000
STATISTICS = {"": IMAGENET_STATISTICS, "inception": INCEPTION_STATISTICS}


def read(request: Request) -> Raw:
    """Return no training images and 1,000 test crops, normalised as the weights expect.

    The labels number the photographs, not ImageNet's classes, which nobody has assigned: a measure of
    fidelity compares two models' answers and needs none.

    Raises:
        BadInput: the argument is not one of `STATISTICS`.
    """
    if request.argument not in STATISTICS:
        raise unknown_name("normalisation of photo-crops", request.argument, STATISTICS)
    crops = [_crop(PHOTOGRAPHS[index % len(PHOTOGRAPHS)], index, request.size) for index in range(COUNT)]
    labels = torch.arange(COUNT) % len(PHOTOGRAPHS)
    nothing = Split(stack([], request.size), torch.empty(0, dtype=torch.int64))
    test = Split(stack(crops, request.size), labels)
    return Raw(nothing, test, IMAGENET_CLASSES, STATISTICS[request.argument], labelled=False, content=content())


def window(index: int, height: int, width: int) -> tuple[int, int, int]:
    """Return top, left and side of crop `index`: a square of a third to all of the shorter side."""
    number = hashed("photo-crops", index)
    shorter = min(height, width)
    number, extra = divmod(number, shorter - shorter // 3 + 1)
    side = shorter // 3 + extra
    number, top = divmod(number, height - side + 1)
    return top, number % (width - side + 1), side


def _crop(photograph: Photograph, index: int, size: int) -> Tensor:
    """Return one crop, uint8 (3, size, size)."""
    image = torch.from_numpy(pixels(photograph)).permute(2, 0, 1)
    top, left, side = window(index, *image.shape[1:])
    return resized(image[None, :, top : top + side, left : left + side], size, size)[0]
