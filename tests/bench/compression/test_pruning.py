"""ADMM pruning reaches its ratio, holds its zeros, and beats pruning in one shot before any retraining."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.attacks import AttackContext, Attacked, make_attack
from bench.attacks.compression.admm import harden, pull
from bench.attacks.compression.pruning import AdmmPruning, AdmmStructured
from bench.attacks.means import attacker_recipe
from bench.attacks.pruning import MagnitudePruning, prunable_tensors
from bench.metrics.accuracy import accuracy
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed

QUICK = {"updates": 2, "steps": 5, "rho": 0.03}
SIZE = 107_800


def attacked(spec: dict[str, Any], model: nn.Module, ratio: float, context: AttackContext) -> Attacked:
    return next(make_attack({**QUICK, **spec}, "test").curve([model], [ratio], context))


def kept(model: nn.Module) -> dict[str, int]:
    return {name: int((tensor != 0).sum()) for name, tensor in prunable_tensors(model).items()}


def block(tensor: Tensor) -> tuple[int, int]:
    alive = tensor.flatten(1) != 0
    return int(alive.any(1).sum()), int(alive.any(0).sum())


@pytest.mark.parametrize("stages", [1, 3])
@pytest.mark.parametrize("keep", ["magnitude", {"*": 0.1, "fc": 0.5}], ids=["magnitude", "given"])
def test_the_ratio_is_exact_and_retraining_holds_the_zeros(
    keep: Any,  # noqa: ANN401
    stages: int,
    model: nn.Module,
    attacker: AttackContext,
) -> None:
    spec = {"name": "admm-prune", "keep": keep, "stages": stages, "retrain": 1}
    item = attacked(spec, model, 25.0, attacker)
    assert sum(kept(item.model).values()) == SIZE // 25 == item.achieved["kept"]
    assert item.achieved["ratio"] == pytest.approx(25)
    assert item.achieved["sparsity"] == pytest.approx(1 - 1 / 25)
    assert [len(stage) for stage in item.achieved["stages"]] == [2] * stages
    assert item.cost.steps == (2 * stages + 1) * 5
    for name, tensor in prunable_tensors(item.model).items():
        assert torch.equal(item.masks[name], tensor != 0)


def test_each_stage_keeps_within_what_the_last_one_left(model: nn.Module, attacker: AttackContext) -> None:
    attack = AdmmPruning(updates=2, steps=5, rho=0.03, stages=2)
    recipe, seeds = (
        attacker_recipe(attacker, 1.0, None),
        [derive_seed(part="stage", seed=7, stage=s) for s in (1, 2)],
    )
    by_hand, masks = copy.deepcopy(model), dict[str, Tensor]()
    for ratio, seed in zip((6.0, 36.0), seeds, strict=True):
        sets = attack.projections(by_hand, ratio, masks)
        pull(by_hand, sets, attacker.data.train, recipe, attack.schedule(), seed=seed, masks=masks)
        before, masks = masks, harden(by_hand, sets)
        assert sum(int(mask.sum()) for mask in masks.values()) == round(SIZE / ratio)
        assert all(not masks[name][~mask].any() for name, mask in before.items())
    attack.prune(model, 36.0, attacker)
    for name, tensor in prunable_tensors(model).items():
        assert torch.equal(tensor, prunable_tensors(by_hand)[name])


def test_without_updates_it_is_magnitude_pruning(model: nn.Module, attacker: AttackContext) -> None:
    item = attacked({"name": "admm-prune", "updates": 0, "retrain": 0}, model, 10.0, attacker)
    (masks,) = MagnitudePruning().masks(model, [0.9], attacker)
    differing = sum(int((masks[name] != mask).sum()) for name, mask in item.masks.items())
    assert differing <= 2 * len(masks)
    assert item.cost.steps == 0
    assert item.achieved["hard_accuracy"] == accuracy(item.model, attacker.data.test).percent


def test_zeros_that_another_attack_left_stay(model: nn.Module, attacker: AttackContext) -> None:
    spec = {"name": "admm-prune", **QUICK, "retrain": 1}
    chain = {"name": "then", "first": "magnitude", "second": spec, "second_strength": 5}
    item = next(make_attack(chain, "test").curve([model], [0.6], attacker))
    (first,) = MagnitudePruning().masks(model, [0.6], attacker)
    assert sum(kept(item.model).values()) == SIZE // 5
    assert all(not tensor[~first[name]].any() for name, tensor in prunable_tensors(item.model).items())


@pytest.mark.parametrize(
    ("spec", "ratio"),
    [({"name": "admm-prune"}, 40.0), ({"name": "admm-structured"}, 8.0)],
    ids=["admm-prune", "admm-structured"],
)
def test_admm_beats_one_shot_before_any_retraining(
    spec: dict[str, Any], ratio: float, model: nn.Module, owner: AttackContext
) -> None:
    schedule = {"steps": 42, "retrain": 0}
    once = attacked({**spec, **schedule, "updates": 0}, model, ratio, owner)
    hard = once.achieved["hard_accuracy"]
    pulled = attacked({**spec, **schedule, "updates": 7}, model, ratio, owner)
    assert pulled.achieved["hard_accuracy"] > hard + 20
    gaps = [update["gap"] for update in pulled.achieved["stages"][0]]
    assert gaps[-1] < 0.8 * gaps[0]


def test_retraining_repairs(model: nn.Module, owner: AttackContext) -> None:
    item = attacked({"name": "admm-prune", "updates": 2, "steps": 21, "retrain": 3}, model, 40.0, owner)
    assert accuracy(item.model, owner.data.test).percent > item.achieved["hard_accuracy"] + 5
    assert item.cost.steps == (2 + 3) * 21
    assert item.cost.data_fraction == 1.0


@pytest.mark.parametrize("groups", [["filters", "shapes"], ["filters"], ["channels"], ["filters", "channels"]])
def test_structured_pruning_leaves_dense_blocks(
    groups: list[str], convolutional: nn.Module, attacker: AttackContext
) -> None:
    few = replace(attacker.data.train, x=torch.zeros(64, 1, 28, 28), y=attacker.data.train.y[:64])
    context = replace(attacker, data=replace(attacker.data, train=few, test=few))
    spec = {"name": "admm-structured", "groups": groups, "updates": 1, "steps": 1, "retrain": 1, "stages": 2}
    item = attacked(spec, convolutional, 3.0, context)
    tensors = prunable_tensors(item.model)
    dense = 0
    for tensor in tensors.values():
        filters, shapes = block(tensor)
        if groups == ["channels"]:
            assert filters == len(tensor)
        if "shapes" not in groups:
            per_channel = (tensor.flatten(2) if tensor.ndim > 2 else tensor[..., None]) != 0
            assert shapes == int(per_channel.any(2).any(0).sum()) * per_channel.shape[2]
        dense += filters * shapes
        assert int((tensor != 0).sum()) == filters * shapes
    size = sum(tensor.numel() for tensor in tensors.values())
    assert 0.9 * size / 3 < dense <= size / 3


def test_a_layout_is_followed(convolutional: nn.Module, attacker: AttackContext) -> None:
    layout = {"conv1": {"filters": 0.6}, "conv2": {"filters": 0.5, "shapes": 0.35}}
    layout |= {"fc1": {"filters": 0.2, "shapes": 0.25}, "fc": {"shapes": 0.4}}
    attack = AdmmStructured(updates=0, layout=layout)
    masks, _, _ = attack.prune(convolutional, 430_500 / 26_675, wide(attacker))
    assert [block(mask) for mask in masks.values()] == [(12, 25), (25, 175), (100, 200), (10, 200)]


def wide(context: AttackContext) -> AttackContext:
    """Return the context with images of 28x28."""
    test = replace(context.data.test, x=nn.functional.pad(context.data.test.x[:64], [6] * 4))
    return replace(context, data=replace(context.data, test=replace(test, y=test.y[:64])))


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"name": "admm-prune", "keep": "magnitud"}, "keep is 'magnitude' or fractions by layer, not 'magnitud'"),
        ({"name": "admm-prune", "keep": {"*": 1.5}}, "'\\*' is a fraction to keep, above 0 and at most 1, not 1.5"),
        ({"name": "admm-prune", "keep": {"fc": 0.0}}, "'fc' is a fraction to keep"),
        ({"name": "admm-prune", "stages": 0}, "stages is at least 1"),
        ({"name": "admm-prune", "lr": 0.0}, "lr and retrain_lr above 0"),
        ({"name": "admm-prune", "retrain": -1}, "retrain not below 0"),
        ({"name": "admm-prune", "steps": 0}, "ADMM needs updates >= 0, steps >= 1"),
        ({"name": "admm-prune", "rho": "a lot"}, "attack 'admm-prune'"),
        ({"name": "admm-structured", "groups": ["rows"]}, "groups are some of filters, channels, shapes"),
        ({"name": "admm-structured", "groups": []}, "groups are some of"),
        (
            {"name": "admm-structured", "layout": {"*": {"filter": 0.5}}},
            "layout of '\\*' has 'filter', but groups are",
        ),
        ({"name": "admm-structured", "layout": {"*": {"channels": 0.5}}}, "has 'channels', but groups are filters"),
        ({"name": "admm-structured", "layout": {"fc": {"shapes": 2}}}, "'shapes' is a fraction to keep"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(spec: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why) as refusal:
        make_attack(spec, "suite.yaml: attacks[0]")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("spec", "ratio", "why"),
    [
        ({"name": "admm-prune"}, 0.5, "ratio 0.5 is not between 1 and"),
        ({"name": "admm-prune", "stages": 2}, -4.0, "ratio -4 is not between 1 and"),
        ({"name": "admm-prune", "stages": 3}, 1e5, "ratio 100000 is not between 1 and"),
        ({"name": "admm-prune", "keep": {"fc9": 0.1}}, 4.0, "keep: 'fc9' matches no layer; there are fc1, fc2, fc"),
        ({"name": "admm-prune", "keep": {"fc1": 0.1}}, 4.0, "keep: nothing is given for layer 'fc2'"),
        ({"name": "admm-structured", "layout": {"conv?": {}}}, 4.0, "layout: 'conv\\?' matches no layer"),
        ({"name": "admm-structured", "layout": {"*": {}}}, 4.0, "out of reach of this layout"),
    ],
)
def test_the_impossible_is_refused_before_anything_is_trained(
    spec: dict[str, Any], ratio: float, why: str, model: nn.Module, attacker: AttackContext
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(BadInput, match=why) as refusal:
        make_attack(spec, "test").apply(model, ratio, attacker)
    assert "\n" not in str(refusal.value)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
