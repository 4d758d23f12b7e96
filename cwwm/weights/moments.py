"""The standard deviation of a carrier, the unit of embedding strengths."""

import math

import torch

from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier
from cwwm.weights.view import Weights, all_finite

_CHUNK = 1 << 20


def require_finite_carrier(weights: Weights, carrier: Carrier) -> None:
    """Raise BadInput, naming the tensor, if a layer of the carrier holds NaN or infinite weights."""
    for layer in carrier.layers:
        if not all_finite(weights.tensor(layer.name)):
            raise BadInput(f"tensor {layer.name} holds NaN or infinite weights; a mark needs a finite checkpoint")


def carrier_deviation(weights: Weights, carrier: Carrier) -> float:
    """Return the standard deviation about zero of all weights of the carrier, in weight units.

    About zero, not about the mean: what a detector by keyed signs meets as noise. Over the whole carrier, not
    layer by layer: an attacker's global ranking, which the laws are about, compares weights of all layers.

    Raises:
        BadInput: for non-finite weights, or a carrier of which at least half is zero.
    """
    require_finite_carrier(weights, carrier)
    squares, live = 0.0, 0
    for layer in carrier.layers:
        for chunk in torch.split(layer.living(weights.tensor(layer.name)), _CHUNK):
            squares += float(chunk.double().square().sum())
            live += int(torch.count_nonzero(chunk))
    if 2 * live <= carrier.size or squares == 0:
        raise BadInput(
            "at least half of the carrier is zero: the model is sparse already; "
            "choose another carrier, or mark before pruning"
        )
    return math.sqrt(squares / carrier.size)
