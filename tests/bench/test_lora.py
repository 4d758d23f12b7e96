"""Low-rank adaptation: a change of few ranks, merged into a model that is otherwise as it was."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.attacks.lora import adapt, is_adapter, merge
from bench.attacks.pruning import prunable_tensors
from bench.attacks.symmetry.base import logits
from bench.models.registry import HostRecipe
from cwwm.training import Recipe
from tests.bench.real_networks import EACH, RESIDUAL, attacked, attacker, copied, real_network


def short() -> HostRecipe:
    return HostRecipe(mark=Recipe(epochs=1, batch_size=256, lr=3e-3))


@pytest.mark.parametrize("rank", [1, 4])
@pytest.mark.parametrize("name", EACH)
def test_the_change_of_every_layer_has_the_rank_at_most(name: str, rank: int) -> None:
    model = real_network(name)
    item = attacked(model, {"name": "lora", "epochs": 1}, rank, replace(attacker(), recipe=short()))
    moved = 0
    for layer, before in prunable_tensors(model).items():
        change = (prunable_tensors(item.model)[layer] - before).flatten(1).double()
        values = torch.linalg.svdvals(change)
        noise = 1e-6 * float(before.abs().max()) * max(change.shape)  # the sum is rounded to float32
        assert float(values[rank:].sum()) <= noise * len(values)
        moved += bool(values[0] > noise)
    assert moved > 0.8 * len(prunable_tensors(model))
    assert item.achieved["rank"] == rank
    assert item.cost.steps == 6
    assert item.cost.samples == len(attacker().data.train)


@pytest.mark.parametrize("name", EACH)
def test_only_layers_and_running_statistics_move(name: str) -> None:
    model = real_network(name)
    item = attacked(model, {"name": "lora", "epochs": 1}, 2, replace(attacker(), recipe=short()))
    before, after = dict(model.named_parameters()), dict(item.model.named_parameters())
    assert list(before) == list(after)
    for name, value in after.items():
        assert type(value) is nn.Parameter
        assert value.requires_grad
        assert name in prunable_tensors(model) or torch.equal(value, before[name])
    assert [type(m) for m in item.model.modules()] == [type(m) for m in model.modules()]


def test_training_starts_at_the_model_itself() -> None:
    model, images = real_network(RESIDUAL), attacker().data.test.x[:8]
    before, expected = copied(model), logits(model, images)
    added = adapt(model, 3, 2.0, {}, seed=1)
    assert torch.equal(logits(model, images), expected)
    adapters = {name: value for name, value in model.named_parameters() if is_adapter(name)}
    assert sum(value.numel() for value in adapters.values()) == added
    assert len(adapters) == 2 * len(before)
    with torch.no_grad():
        for name, value in adapters.items():
            if name.endswith("up"):
                value.fill_(1.0)
    down = adapters["fc.parametrizations.weight.0.down"].detach().clone()
    merge(model, list(before))
    change = prunable_tensors(model)["fc.weight"] - before["fc.weight"]
    assert torch.allclose(change, 2.0 * down.sum(0).expand_as(change), atol=1e-6)


def test_a_rank_above_the_layers_own_is_the_layers_own() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(5, 20))
    assert adapt(model, 64, 2.0, {}, seed=1) == 4 * (4 + 27) + 5 * (20 + 5)


def test_held_zeros_stay_zero() -> None:
    model = real_network(RESIDUAL)
    spec = {"name": "then", "first": "wanda", "second": {"name": "lora", "epochs": 1}, "second_strength": 4}
    item = attacked(model, spec, 0.5, replace(attacker(), recipe=short()))
    assert item.achieved["sparsity"] >= 0.5 - 0.01
    assert all(not bool(prunable_tensors(item.model)[name][~mask].any()) for name, mask in item.masks.items())
    assert item.achieved["change"] > 0


def test_a_run_that_diverges_is_a_result_with_the_models_own_names() -> None:
    model = real_network(RESIDUAL)
    item = attacked(model, {"name": "lora", "epochs": 1, "rate": 1e18}, 2, replace(attacker(), recipe=short()))
    assert item.achieved["diverged"] is True
    assert list(item.model.state_dict()) == list(model.state_dict())
