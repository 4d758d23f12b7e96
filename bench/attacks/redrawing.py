"""What attacks on chosen weights share: values drawn from the other weights of the same layer."""

import torch
from torch import Tensor


def redrawn(values: Tensor, hit: Tensor, generator: torch.Generator) -> Tensor:
    """Return `values` with the entries `hit` replaced by magnitudes of the layer's other weights, signs random.

    The others are those neither hit nor exactly zero, so that a pruned layer is not thinned further; where there
    are none, the whole layer. Each entry has its own place in the generator's draw, whichever others are hit.

    Args:
        values: weights of one layer, floats of any shape.
        hit: bool, of the same shape.
        generator: on the CPU; two numbers are drawn for each entry of the layer.

    Returns:
        a new tensor of the dtype and on the device of `values`.
    """
    draws = torch.rand((2, *values.shape), generator=generator, dtype=torch.float64).to(values.device)
    others = values[~hit & (values != 0)]
    pool = (others if others.numel() else values.reshape(-1)).abs()
    places = (draws[0][hit] * pool.numel()).long()
    signs = torch.where(draws[1][hit] < 0.5, -1.0, 1.0).to(values.dtype)
    result = values.clone()
    result[hit] = signs * pool[places]
    return result
