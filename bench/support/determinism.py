"""What a GPU must be told so that the same cell gives the same record: no algorithm whose sums have no order."""

import os
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.library import Library

_registered: list["Library"] = []  # a kernel lives only as long as the library that registers it


def be_deterministic() -> None:
    """Choose deterministic algorithms on GPUs, and a kernel of our own where torch has none."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    # the backward passes of fused attention add up in any order
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    if not _registered:
        _registered.append(torch.library.Library("aten", "IMPL"))  # type: ignore[no-untyped-call]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that there was another kernel: it is the reason
            kernel = ("_adaptive_avg_pool2d_backward", pooling_backward, "CUDA")
            _registered[0].impl(*kernel)  # type: ignore[no-untyped-call]


def pooling_backward(gradient: Tensor, inputs: Tensor) -> Tensor:
    """Return the gradient of adaptive average pooling as two products of matrices, whose sums have an order.

    VGG pools its last maps so, and torch's own kernel for CUDA adds to them from many threads at once.

    Args:
        gradient: of the result, float (..., rows, columns).
        inputs: what was pooled, float (..., height, width); only its shape, dtype and device count.
    """
    (height, width), (rows, columns) = inputs.shape[-2:], gradient.shape[-2:]
    down, across = (averages(*sizes).to(gradient) for sizes in ((height, rows), (width, columns)))
    return down.T @ gradient @ across


def averages(inputs: int, outputs: int) -> Tensor:
    """Return the matrix, float64 (outputs, inputs): row i averages the window from i n / m to (i + 1) n / m."""
    matrix = torch.zeros(outputs, inputs, dtype=torch.float64)
    for row in range(outputs):
        first, end = row * inputs // outputs, -(-(row + 1) * inputs // outputs)
        matrix[row, first:end] = 1 / (end - first)
    return matrix
