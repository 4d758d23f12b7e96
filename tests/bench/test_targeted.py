"""Targeted attacks find what a mark leaves to see, hit no more than was asked for, and hold masks."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import gamma
from torch import Tensor, nn

from bench.attacks import AttackContext, make_attack
from bench.attacks.pruning import prunable_tensors
from bench.attacks.targeted import fit_generalised_gaussian, repetitions, residuals
from bench.data import load
from bench.models.registry import HostRecipe
from cwwm.ownership.keys import Key
from cwwm.schemes import EmbedContext, embed, make_scheme
from cwwm.schemes.common.keyed import place
from cwwm.training import Recipe
from cwwm.weights.order_statistics import pruned_count
from cwwm.weights.view import as_weights

PROTECTED = {"blocks": 20, "block_length": 64, "survive": 0.98, "low": 0.9}


@pytest.fixture(scope="module")
def context() -> AttackContext:
    recipe = HostRecipe(mark=Recipe(epochs=1, batch_size=64, lr=1e-3))
    return AttackContext(load("digits", size=8), recipe, 7, torch.device("cpu"), lambda name: load(name, size=8))


def flat(model: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in prunable_tensors(model).values()]).clone()


def mark(model: nn.Module, name: str, **parameters: object) -> tuple[Tensor, Tensor]:
    """Mark a model in place; return its hosts and which of them are ones, pool positions int64, bool."""
    scheme, key = make_scheme(name, {"payload_bits": 32, **parameters}), Key.for_harness(owner=1)
    message = (np.arange(32) % 2).astype(np.uint8)
    _, made = embed(scheme, as_weights(model), message, key, EmbedContext(nonce=bytes(range(16))))
    assert made.carrier is not None
    hosts = made.streams(key).stream("positions").sample(made.carrier.size, scheme.code.length)
    assert torch.equal(
        place(made.carrier, made.streams(key), len(hosts)).gather(as_weights(model)),
        flat(model)[torch.from_numpy(hosts)],
    )
    return torch.from_numpy(hosts), torch.from_numpy(scheme.codeword(message, made.streams(key)))


def hit(
    model: nn.Module, share: float, context: AttackContext, **parameters: object
) -> tuple[Tensor, dict[str, Any]]:
    """Return which weights of the pool changed, and what the attack says of itself."""
    item = next(make_attack({"name": "targeted", **parameters}, "test").curve([model], [share], context))
    return flat(item.model) != flat(model), dict(item.achieved)


def test_repeats_are_the_weights_that_a_clamp_wrote(tiny_net: nn.Module, context: AttackContext) -> None:
    chance, _ = hit(tiny_net, 1.0, context, suspects="repeats")
    before = flat(tiny_net)
    hosts, _ = mark(tiny_net, "cwc", survive=0.9)
    clamped = torch.zeros_like(chance)
    clamped[hosts] = flat(tiny_net)[hosts] != before[hosts]
    found, achieved = hit(tiny_net, 1.0, context, suspects="repeats")
    assert clamped.sum() > 20
    assert float(found[clamped].float().mean()) > 0.9  # a layer with a threshold of its own may hold one host
    assert abs(int((found & ~clamped).sum()) - int(chance.sum())) <= 4  # else only what agrees by chance
    assert achieved["suspects"] == round(achieved["hit"] * len(found)) == int(found.sum())
    few, _ = hit(tiny_net, int((found & clamped).sum()) / len(found), context, suspects="repeats")
    assert float(clamped[few].float().mean()) > 0.95  # the most frequent come first


def test_a_covert_mark_repeats_no_more_than_chance(tiny_net: nn.Module, context: AttackContext) -> None:
    chance, _ = hit(tiny_net, 1.0, context, suspects="repeats")
    mark(tiny_net, "cwc", survive=0.9, covert=True)
    found, _ = hit(tiny_net, 1.0, context, suspects="repeats")
    assert int(found.sum()) <= int(chance.sum()) + 10


@pytest.mark.parametrize("suspects", ["largest", "outliers"])
def test_the_ones_of_a_protected_mark_are_large(suspects: str, tiny_net: nn.Module, context: AttackContext) -> None:
    hosts, ones = mark(tiny_net, "protected-cwc", lift=1.5, **PROTECTED)
    found, _ = hit(tiny_net, 0.01, context, suspects=suspects)
    assert float(found[hosts[ones]].float().mean()) >= 0.75
    assert float(found[hosts[~ones]].float().mean()) < 0.01


@pytest.mark.parametrize("suspects", ["largest", "repeats", "outliers"])
@pytest.mark.parametrize("action", ["noise", "redraw"])
def test_the_weights_hit_are_nested_and_no_more_than_asked_for(
    suspects: str, action: str, tiny_net: nn.Module, context: AttackContext
) -> None:
    mark(tiny_net, "cwc", survive=0.9)
    few, many = (hit(tiny_net, share, context, suspects=suspects, action=action) for share in (0.002, 0.02))
    size = len(few[0])
    assert pruned_count(0.002, size) - 4 <= int(few[0].sum()) <= pruned_count(0.002, size)  # rounded by the layer
    assert int(many[0].sum()) <= pruned_count(0.02, size)
    assert few[1]["hit"] * size == pytest.approx(int(few[0].sum()), abs=3)  # a redrawn value may be the old one
    assert float(many[0][few[0]].float().mean()) > 0.95


def test_redrawn_values_are_magnitudes_of_their_layer(tiny_net: nn.Module, context: AttackContext) -> None:
    spec = {"name": "targeted", "action": "redraw"}
    item = next(make_attack(spec, "test").curve([tiny_net], [0.3], context))
    for name, tensor in prunable_tensors(tiny_net).items():
        after = prunable_tensors(item.model)[name]
        drawn = after[after != tensor]
        assert torch.isin(drawn.abs(), tensor.abs()).all()
        assert float(drawn.abs().max()) < float(tensor.abs().quantile(0.7)) * 1.001  # of the weights not hit
        assert abs(float(drawn.sign().mean())) < 5 / len(drawn) ** 0.5


def test_noise_is_in_units_of_the_layer(tiny_net: nn.Module, context: AttackContext) -> None:
    item = next(make_attack({"name": "targeted", "sigma": 0.5}, "test").curve([tiny_net], [1.0], context))
    for name, tensor in prunable_tensors(tiny_net).items():
        spread = float((prunable_tensors(item.model)[name] - tensor).std() / tensor.std())
        assert spread == pytest.approx(0.5, rel=4 / (2 * tensor.numel()) ** 0.5)


@pytest.mark.parametrize("action", ["noise", "redraw"])
def test_zeros_that_a_mask_holds_stay(action: str, tiny_net: nn.Module, context: AttackContext) -> None:
    spec = {"name": "then", "first": "magnitude", "second": {"name": "targeted", "action": action}}
    item = next(make_attack({**spec, "second_strength": 0.4}, "test").curve([tiny_net], [0.5], context))
    assert int((flat(item.model) == 0).sum()) == pruned_count(0.5, flat(tiny_net).numel())


@pytest.mark.parametrize("shape", [0.5, 1.0, 2.0, 5.0])
def test_the_fit_finds_scale_and_shape_whatever_a_few_marks_do(shape: float) -> None:
    rng = np.random.default_rng(0)
    values = 0.3 * rng.gamma(1 / shape, size=100_000) ** (1 / shape) * rng.choice([-1, 1], 100_000)
    values[:2000] = 50.0
    x = np.abs(values)
    scale, found = fit_generalised_gaussian(float(np.quantile(x, 0.5)), float(np.quantile(x, 0.9)))
    assert found == pytest.approx(shape, rel=0.15)
    assert scale == pytest.approx(0.3, rel=0.25 / min(shape, 1))
    z = residuals(torch.from_numpy(values[2000:]).float())
    assert float((z > gamma.ppf(0.99, 1 / shape)).float().mean()) == pytest.approx(0.01, rel=0.6)


def test_layers_without_spread_have_no_outliers() -> None:
    assert residuals(torch.zeros(5)).tolist() == [0.0] * 5
    assert residuals(torch.tensor([2.0, 2.0, 2.0, 0.0])).tolist() == [0.0] * 4
    assert torch.isfinite(residuals(torch.tensor([1.0, 1.0, 1.0, 5.0]))).all()


def test_repetitions_count_over_all_layers_and_spare_zeros() -> None:
    first, second = repetitions([torch.tensor([1.0, 2.0, 0.0]), torch.tensor([[1.0, 0.0], [1.0, 3.0]])])
    assert first.tolist() == [2, 0, 0]
    assert second.tolist() == [[2, 0], [2, 0]]
