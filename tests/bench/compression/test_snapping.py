"""Snapping freezes what it says for good, and shared centroids learn from all their members."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.attacks import AttackContext
from bench.attacks.compression.admm import harden
from bench.attacks.compression.levels import best_interval
from bench.attacks.compression.projections import Clusters, Levels, TopK
from bench.attacks.compression.snapping import Frozen, Shared, parametrised, retrain_centroids, snap_in_rounds
from bench.attacks.pruning import prunable_tensors
from cwwm.training import Recipe, train

BITS = 3
SHARE = 0.3
Tensors = dict[str, Tensor]


@pytest.fixture
def masks(model: nn.Module) -> Tensors:
    """Prune the model to a tenth and return the masks."""
    return harden(model, {n: TopK(t.numel() // 10) for n, t in prunable_tensors(model).items()})


@pytest.fixture
def levels(model: nn.Module, masks: Tensors) -> dict[str, Levels]:
    tensors = prunable_tensors(model)
    return {n: Levels(best_interval(tensors[n][mask], BITS), BITS, mask) for n, mask in masks.items()}


@pytest.fixture
def clusters(model: nn.Module, masks: Tensors) -> dict[str, Clusters]:
    """Cluster the weights of the model and return their clusters."""
    tensors = prunable_tensors(model)
    found = {name: Clusters(tensors[name], BITS, mask) for name, mask in masks.items()}
    harden(model, found)
    return found


@pytest.fixture
def short(recipe: Recipe) -> Recipe:
    return Recipe(epochs=1, batch_size=64, lr=recipe.lr)


def weights(model: nn.Module) -> Tensors:
    return {name: tensor.clone() for name, tensor in prunable_tensors(model).items()}


def test_each_round_freezes_its_share_for_good(
    model: nn.Module, levels: dict[str, Levels], masks: Tensors, attacker: AttackContext, short: Recipe
) -> None:
    frozen = Frozen(model, list(levels))
    held = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    for index in range(3):
        before = weights(model)
        frozen.snap(levels, SHARE)
        snapped = weights(model)
        for name, project in levels.items():
            fresh = (snapped[name] == project(before[name])) & masks[name] & ~held[name]
            free = masks[name] & ~held[name] & ~fresh
            assert int(fresh.sum()) == math.ceil(SHARE * int((fresh | free).sum()))
            error = (before[name] - project(before[name])).abs()
            assert error[fresh].max() <= error[free].min()
            assert torch.equal(snapped[name][free], before[name][free])
            held[name] |= fresh
        train(model, attacker.data.train, short, seed=index, embedding=frozen, masks=masks)
        for name, tensor in prunable_tensors(model).items():
            assert torch.equal(tensor[held[name] | ~masks[name]], snapped[name][held[name] | ~masks[name]])
            assert float((tensor != snapped[name])[masks[name] & ~held[name]].float().mean()) > 0.9


def test_a_frozen_weight_of_zero_stays_zero_without_a_mask(
    model: nn.Module, masks: Tensors, attacker: AttackContext, short: Recipe
) -> None:
    frozen = Frozen(model, list(masks))
    train(model, attacker.data.train, short, seed=0, embedding=frozen)
    assert all(not prunable_tensors(model)[name][~mask].any() for name, mask in masks.items())


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_after_all_rounds_every_survivor_is_on_a_level(
    rounds: int, model: nn.Module, levels: dict[str, Levels], masks: Tensors, attacker: AttackContext, short: Recipe
) -> None:
    before = weights(model)
    options = {"share": SHARE, "rounds": rounds, "epochs": 2, "seed": 4}
    cost = snap_in_rounds(model, levels, attacker.data.train, short, masks=masks, **options)  # type: ignore[arg-type]
    assert cost.steps == rounds * 2 * 5
    assert cost.data_fraction == (1.0 if rounds else 0.0)
    for name, tensor in prunable_tensors(model).items():
        assert torch.equal(tensor != 0, masks[name])
        assert torch.equal(levels[name](tensor), tensor)
        assert len(torch.unique(tensor[masks[name]])) <= 2**BITS
        if rounds == 0:
            assert torch.equal(tensor, levels[name](before[name]))


def test_rounds_repeat(
    model: nn.Module, levels: dict[str, Levels], masks: Tensors, attacker: AttackContext, short: Recipe
) -> None:
    runs = []
    for seed in (1, 1, 2):
        copied = copy.deepcopy(model)
        snap_in_rounds(
            copied, levels, attacker.data.train, short, share=SHARE, rounds=1, epochs=1, seed=seed, masks=masks
        )
        runs.append(torch.cat([tensor.flatten() for tensor in prunable_tensors(copied).values()]))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def gradients(model: nn.Module, context: AttackContext) -> Tensors:
    data = context.data.train
    loss = functional.cross_entropy(model(data.x[:64]), data.y[:64])
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def test_a_centroid_learns_from_the_sum_of_its_members(
    model: nn.Module, clusters: dict[str, Clusters], attacker: AttackContext
) -> None:
    dense, tensors = gradients(model, attacker), weights(model)
    members = {name: layer.members(tensors[name]) for name, layer in clusters.items()}
    parts = {name: Shared(layer, tensors[name]) for name, layer in clusters.items()}
    with parametrised(model, parts) as names:
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in computed(model, clusters).items())
        shared = gradients(model, attacker)
    for name, layer in clusters.items():
        sums = torch.zeros(len(layer.centroids)).index_add(0, members[name], dense[name][layer.mask])
        assert torch.allclose(shared[names[name]], sums, atol=1e-6)
        assert sums.abs().max() > 1e-4


def computed(model: nn.Module, clusters: dict[str, Clusters]) -> Tensors:
    return {name: model.get_submodule(name.removesuffix(".weight")).weight for name in clusters}  # type: ignore[misc]


def test_retraining_moves_centroids_and_nothing_else(
    model: nn.Module, clusters: dict[str, Clusters], masks: Tensors, attacker: AttackContext, short: Recipe
) -> None:
    before = copy.deepcopy(model)
    index = {name: layer.members(prunable_tensors(before)[name]) for name, layer in clusters.items()}
    cost = retrain_centroids(model, clusters, attacker.data.train, short, seed=3)
    assert (cost.steps, cost.samples, cost.data_fraction) == (5, 320, 1.0)
    shapes = {name: p.shape for name, p in before.named_parameters()}
    assert {name: p.shape for name, p in model.named_parameters()} == shapes
    assert list(prunable_tensors(model)) == list(prunable_tensors(before))
    assert [type(module) for module in model.modules()] == [type(module) for module in before.modules()]
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad
        assert parameter.is_leaf
        if name not in clusters:
            assert torch.equal(parameter, before.get_parameter(name))
            continue
        values = parameter.detach()[masks[name]]
        assert not parameter[~masks[name]].any()
        assert not torch.equal(values, before.get_parameter(name)[masks[name]])
        assert len(torch.unique(values)) <= len(clusters[name].centroids) <= 2**BITS
        assert all(len(torch.unique(values[index[name] == i])) == 1 for i in range(len(clusters[name].centroids)))


def test_retraining_centroids_lowers_the_loss(
    model: nn.Module, clusters: dict[str, Clusters], attacker: AttackContext, short: Recipe
) -> None:
    data = attacker.data.train

    @torch.no_grad()
    def loss() -> float:
        return float(functional.cross_entropy(model.eval()(data.x), data.y))

    before = loss()
    retrain_centroids(model, clusters, data, Recipe(epochs=4, batch_size=64, lr=short.lr), seed=3)
    assert loss() < before - 0.01


def test_the_mean_of_many_equal_members_is_exact() -> None:
    weight = torch.full((1_000_000,), 0.0317)
    shared = Shared(Clusters(weight, 1, weight != 0), weight)
    assert torch.equal(shared.right_inverse(weight), weight[:1])


class Doubled(nn.Module):
    """Twice the weight underneath."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def test_a_computed_weight_is_left_as_it_came_to_even_after_an_error(model: nn.Module) -> None:
    before = model.get_parameter("fc.weight").detach().clone()
    names = set(dict(model.named_parameters()))
    with parametrised(model, {"fc.weight": Doubled()}) as inside:
        assert torch.equal(model.get_parameter(inside["fc.weight"]), before)
    assert set(dict(model.named_parameters())) == names
    with pytest.raises(FloatingPointError), parametrised(model, {"fc.weight": Doubled()}):
        raise FloatingPointError
    assert set(dict(model.named_parameters())) == names
    assert torch.equal(model.get_parameter("fc.weight"), 4 * before)
