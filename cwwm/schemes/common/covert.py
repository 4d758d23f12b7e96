"""Draws changed magnitudes from the host's own distribution, so that no value repeats at a threshold."""

import torch
from torch import Tensor

from cwwm.ownership.keys import Stream
from cwwm.weights.carrier import Placement
from cwwm.weights.thresholds import Thresholds
from cwwm.weights.view import FLOAT_DTYPES, Weights

_OVERSAMPLING = 64
_ROUNDS = 8
_JITTER = 1e-3  # relative; keeps a drawn magnitude from repeating the weight it was drawn from
_SPREAD = 0.1  # relative; keeps magnitudes apart for which their layer has no example


def redraw(
    weights: Weights, hosts: Placement, clamped: Tensor, ones: Tensor, thresholds: Thresholds, stream: Stream
) -> int:
    """Replace the `clamped` host magnitudes, bool (L,), by keyed draws of |w| >= T1 or |w| <= T0.

    The draws are magnitudes of the same layer, jittered by up to 0.1 % and kept on their side of the
    threshold. Where a layer has no magnitude beyond the threshold, values spread over the 10 % beyond it.

    Returns:
        how many values had no example in their layer.
    """
    values = hosts.gather(weights)
    invented = 0
    for layer, slots, _ in hosts.parts:
        name = hosts.carrier.layers[layer].name
        low, high = float(thresholds.low[layer]), float(thresholds.high[layer])
        for kind, bound in ((True, high), (False, low)):
            chosen = slots[clamped[slots] & (ones[slots] == kind)]
            drawn = _draw(weights.tensor(name), len(chosen), bound, kind, stream)
            invented += len(chosen) - len(drawn)
            drawn = torch.cat([drawn, _spread(len(chosen) - len(drawn), bound, kind, stream)])
            stored = drawn.to(values.device).to(FLOAT_DTYPES[hosts.carrier.layers[layer].dtype]).float()
            stored = stored.clamp(min=high) if kind else stored.clamp(max=low)
            values[chosen] = values[chosen].sign() * stored
    hosts.scatter(weights, values)
    return invented


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


def _spread(count: int, bound: float, above: bool, stream: Stream) -> Tensor:
    """Return `count` magnitudes, float32, uniform over the 10 % beyond `bound`."""
    distance = torch.from_numpy(stream.uniform(count)).float() * _SPREAD
    return bound * (1 + distance if above else 1 - distance)
