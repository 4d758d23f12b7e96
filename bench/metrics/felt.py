"""How much a host's answers feel each of its layers, for marks that are to spare those that are felt most."""

from torch import nn

from bench.data import Split
from cwwm.schemes import Scheme
from cwwm.weights.carrier import prunable
from cwwm.weights.sensitivity import PROBES, measure_sensitivity
from cwwm.weights.view import as_weights


def sensitivity_of(scheme: Scheme, host: nn.Module, data: Split) -> dict[str, float] | None:
    """Return how much a host's answers feel each layer, from a dozen training images; None if nobody asks."""
    if not scheme.encoding.weighs_layers or not len(data):
        return None
    return measure_sensitivity(host, data.x[:PROBES], prunable(as_weights(host)))
