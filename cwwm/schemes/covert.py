"""Draws changed magnitudes from the host's own distribution, so that no value repeats at a threshold."""

import torch
from torch import Tensor

from cwwm.carrier import Placement
from cwwm.keys import Stream
from cwwm.thresholds import Thresholds
from cwwm.weights import FLOAT_DTYPES, Weights

_OVERSAMPLING = 64
_ROUNDS = 8
_JITTER = 1e-3  # relative; keeps a drawn magnitude from repeating the weight it was drawn from


def redraw(
    weights: Weights, hosts: Placement, clamped: Tensor, ones: Tensor, thresholds: Thresholds, stream: Stream
) -> int:
    """Replace the `clamped` host magnitudes, bool (L,), by keyed draws of |w| >= T1 or |w| <= T0.

    The draws are magnitudes of the same layer, jittered by up to 0.1 % and kept on their side of the
    threshold. Where a layer has no magnitude beyond T1, the value stays at the threshold.

    Returns:
        how many values stayed.
    """
    values = hosts.gather(weights)
    stayed = 0
    for layer, slots, _ in hosts.parts:
        name = hosts.carrier.layers[layer].name
        low, high = float(thresholds.low[layer]), float(thresholds.high[layer])
        for kind, bound in ((True, high), (False, low)):
            chosen = slots[clamped[slots] & (ones[slots] == kind)]
            drawn = _draw(weights.tensor(name), len(chosen), bound, kind, stream)
            stayed += len(chosen) - len(drawn)
            chosen = chosen[: len(drawn)]
            stored = drawn.to(values.device).to(FLOAT_DTYPES[hosts.carrier.layers[layer].dtype]).float()
            stored = stored.clamp(min=high) if kind else stored.clamp(max=low)
            values[chosen] = values[chosen].sign() * stored
    hosts.scatter(weights, values)
    return stayed


def _draw(tensor: Tensor, count: int, bound: float, above: bool, stream: Stream) -> Tensor:
    """Return up to `count` magnitudes of `tensor` beyond `bound`, float32, at keyed places, jittered."""
    flat = tensor.reshape(-1)
    found = [torch.empty(0)]
    for _ in range(_ROUNDS if count else 0):
        places = torch.from_numpy(stream.below(len(flat), _OVERSAMPLING * count))
        magnitudes = flat[places.to(flat.device)].float().abs().cpu()
        found.append(magnitudes[(magnitudes > bound) if above else (magnitudes < bound)])
        if sum(map(len, found)) >= count:
            break
    drawn = torch.cat(found)[:count]
    jitter = torch.from_numpy(stream.uniform(len(drawn))).float() * 2 - 1
    return drawn * (1 + _JITTER * jitter)
