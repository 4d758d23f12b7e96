"""The plain versions that the fast ones are timed beside: what one writes first from the papers' formulas."""

import copy
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils import prune


def naive_encode(bits: npt.NDArray[np.uint8], length: int, weight: int) -> npt.NDArray[np.bool_]:
    """Encode by the papers' recurrence, one position at a time, with Python integers."""
    rank = int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")
    word = np.zeros(length, dtype=np.bool_)
    words, left = math.comb(length, weight), weight
    for n in range(length, 0, -1):
        without = words * (n - left) // n
        if left and rank >= without:
            word[n - 1] = True
            rank -= without
            words, left = words * left // n, left - 1
        else:
            words = without
    return word


def naive_decode(word: npt.NDArray[np.bool_], weight: int) -> npt.NDArray[np.uint8]:
    """Decode by the papers' recurrence, one position at a time, with Python integers."""
    length, rank = len(word), 0
    count = math.comb(length, weight).bit_length() - 1
    words, left = math.comb(length, weight), weight
    for n in range(length, 0, -1):
        without = words * (n - left) // n
        if word[n - 1]:
            rank += without
            words, left = words * left // n, left - 1
        else:
            words = without
    digits = np.frombuffer(rank.to_bytes(-(-count // 8), "little"), np.uint8)
    return np.unpackbits(digits, count=count, bitorder="little")


def naive_thresholds(
    tensors: Mapping[str, Tensor], *, survive: float, low: float
) -> tuple[float, dict[str, float]]:
    """Return T0 and each layer's T1: a selection over all weights together, one over each layer."""
    pool = torch.cat([tensor.reshape(-1) for tensor in tensors.values()]).abs()
    t0 = float(torch.kthvalue(pool, int(low * len(pool))).values)
    shared = float(torch.kthvalue(pool, int(survive * len(pool))).values)
    own = {name: tensor.reshape(-1).abs() for name, tensor in tensors.items()}
    alone = {name: float(torch.kthvalue(x, int(survive * len(x))).values) for name, x in own.items()}
    return t0, {name: math.nextafter(max(shared, value), math.inf) for name, value in alone.items()}


def naive_embed(
    tensors: Mapping[str, Tensor],
    positions: npt.NDArray[np.int64],
    word: npt.NDArray[np.bool_],
    *,
    survive: float,
    low: float,
) -> None:
    """Clamp the host magnitudes in place, one host after the other."""
    t0, t1 = naive_thresholds(tensors, survive=survive, low=low)
    names = list(tensors)
    ends = np.cumsum([tensor.numel() for tensor in tensors.values()])
    for position, one in zip(positions.tolist(), word.tolist(), strict=True):
        layer = int(np.searchsorted(ends, position, side="right"))
        flat = tensors[names[layer]].view(-1)
        place = position - int(ends[layer]) + len(flat)
        value = float(flat[place])
        magnitude = max(abs(value), t1[names[layer]]) if one else min(abs(value), t0)
        flat[place] = math.copysign(magnitude, value)


def naive_extract(
    tensors: Mapping[str, Tensor], positions: npt.NDArray[np.int64], weight: int
) -> npt.NDArray[np.bool_]:
    """Return the codeword: the largest host magnitudes, looked up in one vector of all weights."""
    pool = torch.cat([tensor.reshape(-1) for tensor in tensors.values()])
    hosts = pool[torch.from_numpy(positions).to(pool.device)].abs()
    word = np.zeros(len(positions), dtype=np.bool_)
    word[torch.topk(hosts, weight).indices.cpu().numpy()] = True
    return word


def naive_curve(tensors: Mapping[str, Tensor], ranks: Sequence[int]) -> list[float]:
    """Return the magnitudes of these ranks, a selection over all weights for each."""
    pool = torch.cat([tensor.reshape(-1) for tensor in tensors.values()]).abs()
    return [float(torch.kthvalue(pool, rank).values) for rank in ranks]


def naive_masks(model: nn.Module, removed: int) -> dict[str, Tensor]:
    """Return the masks of torch's own global magnitude pruning, of a copy: it changes the model."""
    modules = {name: module for name, module in copy.deepcopy(model).named_modules() if hasattr(module, "weight")}
    pairs = [(module, "weight") for module in modules.values()]
    prune.global_unstructured(pairs, prune.L1Unstructured, amount=removed)
    return {f"{name}.weight": module.weight_mask.bool() for name, module in modules.items()}
