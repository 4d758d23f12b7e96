"""Times marking, reading and pruning of a model with the 25 million weights of ResNet-50.

The device is DEVICE (auto, cpu, cuda); its queue is drained before a clock is read.
"""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.attacks.base import AttackContext
from bench.attacks.pruning import MagnitudePruning
from bench.perf.conftest import BesideNaive, drained, millions
from bench.perf.naive import naive_curve, naive_embed, naive_extract, naive_masks
from cwwm.ownership.keys import Key
from cwwm.schemes import EmbedContext, embed, make_scheme
from cwwm.schemes.constant_weight import ConstantWeight
from cwwm.weights.order_statistics import MagnitudeTable, Rank, pruned_count
from cwwm.weights.view import ModuleWeights

NONCE = bytes(16)
KEY = Key.for_harness(purpose="perf")
MESSAGE = np.random.default_rng(0).integers(0, 2, 256, dtype=np.uint8)
RATES = [float(rate) for rate in np.linspace(0.05, 0.99, 20)]


@pytest.fixture
def scheme() -> ConstantWeight:
    made = make_scheme("cwc", {})
    assert isinstance(made, ConstantWeight)
    return made


def test_embed(
    beside_naive: BesideNaive,
    model: nn.Module,
    tensors: dict[str, Tensor],
    scheme: ConstantWeight,
    device: torch.device,
) -> None:
    def ours() -> None:
        embed(scheme, ModuleWeights(model), MESSAGE, KEY, EmbedContext(device=device, nonce=NONCE))

    def naive() -> None:
        size = sum(tensor.numel() for tensor in tensors.values())
        positions = streams.stream("positions").sample(size, scheme.code.length)
        word = scheme.codeword(MESSAGE, streams)
        naive_embed(tensors, positions, word, survive=scheme.survive, low=scheme.low)

    _, mark = embed(scheme, ModuleWeights(model), MESSAGE, KEY, EmbedContext(device=device, nonce=NONCE))
    streams = mark.streams(KEY)
    naive()
    assert np.array_equal(scheme.extract(ModuleWeights(model), KEY, mark).bits, MESSAGE)
    beside_naive(f"embed 256 bits in {millions(model)}", ours=drained(ours, device), naive=drained(naive, device))


def test_extract(
    beside_naive: BesideNaive,
    model: nn.Module,
    tensors: dict[str, Tensor],
    scheme: ConstantWeight,
    device: torch.device,
) -> None:
    weights = ModuleWeights(model)
    _, mark = embed(scheme, weights, MESSAGE, KEY, EmbedContext(device=device, nonce=NONCE))

    streams = mark.streams(KEY)

    def naive() -> np.ndarray:
        size = sum(tensor.numel() for tensor in tensors.values())
        positions = streams.stream("positions").sample(size, scheme.code.length)
        word = naive_extract(tensors, positions, scheme.code.weight)
        return scheme.code.decode(word.astype(np.float64)).bits

    found = scheme.extract(weights, KEY, mark)
    assert np.array_equal(found.bits, MESSAGE)
    assert np.array_equal(naive(), scheme.code.decode(scheme.codeword(MESSAGE, streams).astype(np.float64)).bits)
    beside_naive(
        f"extract 256 bits from {millions(model)}",
        ours=drained(lambda: scheme.extract(weights, KEY, mark), device),
        naive=drained(naive, device),
    )


def test_thresholds_of_a_curve(
    beside_naive: BesideNaive, model: nn.Module, tensors: dict[str, Tensor], device: torch.device
) -> None:
    size = sum(tensor.numel() for tensor in tensors.values())
    ranks = [pruned_count(rate, size) for rate in RATES]
    everything = tuple(range(len(tensors)))

    def ours() -> list[float]:
        return MagnitudeTable(list(tensors.values())).kth([Rank(everything, rank) for rank in ranks])

    def naive() -> list[float]:
        return naive_curve(tensors, ranks)

    assert ours() == naive()
    beside_naive(
        f"thresholds of 20 rates, {millions(model)}", ours=drained(ours, device), naive=drained(naive, device)
    )


def test_masks_of_a_rate(
    beside_naive: BesideNaive, model: nn.Module, pruning: AttackContext, device: torch.device
) -> None:
    """Beside torch.nn.utils.prune.global_unstructured, at one rate."""
    removed = pruned_count(0.9, sum(parameter.numel() for parameter in model.parameters()))

    def ours() -> dict[str, Tensor]:
        return next(MagnitudePruning().masks(model, [0.9], pruning))

    def naive() -> dict[str, Tensor]:
        return naive_masks(model, removed)

    expected, found = naive(), ours()
    # Ties at the cut may fall differently, never in number.
    assert sum(int(mask.sum()) for mask in found.values()) == sum(int(mask.sum()) for mask in expected.values())
    beside_naive(f"masks of one rate, {millions(model)}", ours=drained(ours, device), naive=drained(naive, device))
