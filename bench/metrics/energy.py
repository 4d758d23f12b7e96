"""The energy of a mark: how far a marked network is from the unmarked one, of the same batches."""

from collections.abc import Callable

from torch import nn

from cwwm.weights.carrier import Carrier
from cwwm.weights.view import Weights, as_weights


def energy_facts(marked: nn.Module, control: nn.Module, twin: Callable[[], nn.Module]) -> dict[str, float | None]:
    """Return the change from the control, and the noise floor, the same between two controls (`relative_change`).

    Over all prunable weights, whatever the mark's carrier: the same pool for every scheme. None of both for a
    marked model of other shapes.

    Args:
        marked: the marked model. control: its unmarked twin, of the same batches.
        twin: makes or fetches a second control, of other batches.
    """
    reference, changed = as_weights(control), as_weights(marked)
    pool = Carrier.choose(reference, "all")
    if pool.missing(changed):
        return {"energy": None, "noise_floor": None}
    return {
        "energy": relative_change(reference, changed, pool),
        "noise_floor": relative_change(reference, as_weights(twin()), pool),
    }


def relative_change(reference: Weights, changed: Weights, carrier: Carrier) -> float:
    """Return the squared distance over the squared norm of the reference, both on the carrier's pool."""
    distance = norm = 0.0
    for layer in carrier.layers:
        a, b = reference.tensor(layer.name).double(), changed.tensor(layer.name).double()
        distance += float((b - a).square().sum())
        norm += float(a.square().sum())
    return distance / norm
