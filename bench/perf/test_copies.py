"""Times what looks at all weights of a large network beside one copy of them, which tells the memory's bandwidth.

Extraction is timed blind, from the suspect alone, and informed, against the unmarked original.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.attacks.base import AttackContext
from bench.attacks.pruning import MagnitudePruning
from bench.perf.conftest import BesideFloor, drained, millions
from cwwm.ownership.keys import Key
from cwwm.readers import find_reader, view_of
from cwwm.schemes import EmbedContext, Extraction, Scheme, embed, make_scheme
from cwwm.weights.order_statistics import MagnitudeTable, Rank, pruned_count
from cwwm.weights.view import ModuleWeights, TensorWeights

KEY = Key.for_harness(purpose="perf")
MESSAGE = np.random.default_rng(0).integers(0, 2, 256, dtype=np.uint8)
RATES = [float(rate) for rate in np.linspace(0.05, 0.99, 20)]
COPY = "a copy of all weights"
#: scheme, reader, options
READ: list[tuple[str, str, dict[str, Any]]] = [
    ("cwc", "blind", {}),
    ("cwc", "informed", {}),
    ("spread-cwc", "blind", {"gain": 0.1}),
    ("spread-cwc", "informed", {"gain": 0.01}),
]

BesideCopy = Callable[[str, Callable[[], object]], None]


@pytest.fixture
def beside_copy(beside_floor: BesideFloor, tensors: dict[str, Tensor], device: torch.device) -> BesideCopy:
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors.values()])
    target = torch.empty_like(flat)
    moved = 2 * flat.numel() * flat.element_size()  # read and written

    def time_both(name: str, ours: Callable[[], object]) -> None:
        copied = drained(lambda: target.copy_(flat), device)
        beside_floor(name, ours=drained(ours, device), floor=copied, beside=COPY, moved=moved)

    return time_both


@pytest.fixture
def readings(model: nn.Module, device: torch.device) -> dict[str, Callable[[], Extraction]]:
    """Return how a marked model is read: blind, and against the original."""
    original = TensorWeights({name: parameter.detach().clone() for name, parameter in model.named_parameters()})

    def reading(scheme: Scheme, reader: str) -> Callable[[], Extraction]:
        weights = ModuleWeights(copy.deepcopy(model))
        _, mark = embed(scheme, weights, MESSAGE, KEY, EmbedContext(device=device, nonce=bytes(16)))
        return lambda: view_of(find_reader(reader), scheme, weights, KEY, mark, original).extraction(
            scheme, KEY, mark
        )

    return {f"{name}, {reader}": reading(make_scheme(name, options), reader) for name, reader, options in READ}


def test_thresholds(beside_copy: BesideCopy, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    size = sum(tensor.numel() for tensor in tensors.values())
    asked = [Rank(tuple(range(len(tensors))), pruned_count(rate, size)) for rate in RATES]
    found = MagnitudeTable(list(tensors.values())).kth(asked)
    assert found == sorted(found)
    beside_copy(
        f"thresholds of 20 rates, {millions(model)}", lambda: MagnitudeTable(list(tensors.values())).kth(asked)
    )


def test_masks(beside_copy: BesideCopy, model: nn.Module, pruning: AttackContext) -> None:
    def masks() -> dict[str, Tensor]:
        return next(MagnitudePruning().masks(model, [0.9], pruning))

    size = sum(parameter.numel() for parameter in model.parameters())
    assert sum(int((~mask).sum()) for mask in masks().values()) == pruned_count(0.9, size)
    beside_copy(f"masks of one rate, {millions(model)}", masks)


@pytest.mark.parametrize("name", [f"{name}, {reader}" for name, reader, _ in READ])
def test_extraction(
    name: str, beside_copy: BesideCopy, model: nn.Module, readings: dict[str, Callable[[], Extraction]]
) -> None:
    assert np.array_equal(readings[name]().bits, MESSAGE)
    beside_copy(f"extract 256 bits from {millions(model)}, {name}", readings[name])
