"""Fidelity of a mark: how far a marked network is from the unmarked one, of the same batches, and its answers."""

from collections.abc import Callable
from typing import Any

from torch import nn

from bench.data import Split
from bench.metrics.accuracy import equal_answers
from cwwm.weights.carrier import Carrier
from cwwm.weights.view import Weights, as_weights


def fidelity_facts(
    marked: nn.Module, control: nn.Module, twin: Callable[[], nn.Module], test: Split
) -> dict[str, Any]:
    """Return how near a marked model is to its control, and how near two controls are, as JSON values.

    ``energy`` and its ``noise_floor``: squared change over squared norm of all prunable weights, whatever the
    mark's carrier: the same pool for every scheme. ``depth_energy``: the same of each layer, summed over layers, so
    that a change of a small layer counts as much as one of a large one. ``answers`` and ``answers_floor``: test
    images that both answer alike (`equal_answers`). Between controls, and of weights, there is None for a marked
    model of other shapes.

    Args:
        marked: the marked model. control: its unmarked twin, of the same batches.
        twin: makes or fetches a second control, of other batches. test: images to be answered.
    """
    reference, changed = as_weights(control), as_weights(marked)
    found = {"answers": equal_answers(marked, control, test)}
    pool = Carrier.choose(reference, "all")
    if pool.missing(changed):
        return {**dict.fromkeys(("energy", "depth_energy", "noise_floor", "answers_floor")), **found}
    another = twin()
    return {
        "energy": relative_change(reference, changed, pool),
        "depth_energy": depth_change(reference, changed, pool),
        "noise_floor": relative_change(reference, as_weights(another), pool),
        "answers_floor": equal_answers(another, control, test),
        **found,
    }


def relative_change(reference: Weights, changed: Weights, carrier: Carrier) -> float:
    """Return the squared distance over the squared norm of the reference, both on the carrier's pool."""
    parts = _parts(reference, changed, carrier)
    return sum(distance for distance, _ in parts) / sum(norm for _, norm in parts)


def depth_change(reference: Weights, changed: Weights, carrier: Carrier) -> float:
    """Return the sum over layers of squared distance over squared norm; a layer of zeros has no relative change."""
    return sum(distance / norm for distance, norm in _parts(reference, changed, carrier) if norm)


def _parts(reference: Weights, changed: Weights, carrier: Carrier) -> list[tuple[float, float]]:
    """Return squared distance and squared norm of each layer."""
    pairs = [(reference.tensor(layer.name), changed.tensor(layer.name)) for layer in carrier.layers]
    doubles = [(a.double(), b.double()) for a, b in pairs]
    return [(float((b - a).square().sum()), float(a.square().sum())) for a, b in doubles]
