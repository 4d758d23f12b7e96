"""Crossbars return the snapped weights without noise; noise leaves zeros, repeats, and stays in the device."""

import copy
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.attacks import AttackContext, Attacked, make_attack
from bench.attacks.compression.crossbar import Crossbar, cost_report
from bench.attacks.compression.memristor import Memristor, Varied
from bench.attacks.compression.snapping import parametrised
from bench.attacks.pruning import prunable_tensors
from bench.metrics.accuracy import accuracy
from cwwm.support.errors import BadInput

RATIO = 6.0
SIZE = 107_800
QUICK: dict[str, Any] = {"updates": 1, "steps": 5, "retrain": 1, "rows": 32, "columns": 16}


def attacked(spec: dict[str, Any], model: nn.Module, context: AttackContext) -> Attacked:
    return next(make_attack({"name": "memristor", **QUICK, **spec}, "test").curve([model], [RATIO], context))


def flat(model: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in prunable_tensors(model).values()])


@pytest.mark.parametrize("bits", [2, 5, 8])
def test_without_noise_the_snapped_weights_come_back(bits: int, model: nn.Module, attacker: AttackContext) -> None:
    attack = Memristor(updates=0, bits=bits)
    masks, _, _ = attack.prune(model, RATIO, attacker)
    intervals = attack.snap(model, masks)
    snapped = copy.deepcopy(model)
    attack.deploy(model, intervals, seed=1)
    for name, tensor in prunable_tensors(model).items():
        expected = prunable_tensors(snapped)[name]
        assert torch.allclose(tensor, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
        assert torch.equal(tensor != 0, masks[name])
        codes = expected / intervals[name]
        assert torch.allclose(codes, codes.round(), atol=1e-4)
        assert codes.abs().max().round() <= 2 ** (bits - 1)


def test_the_report_counts_what_is_left(model: nn.Module, attacker: AttackContext) -> None:
    item = attacked({}, model, attacker)
    tensors = prunable_tensors(item.model)
    report = cost_report(tensors, Crossbar(32, 16), 5).to_json()
    assert item.achieved["crossbar"] == report
    assert item.achieved["ratio"] >= RATIO
    assert item.achieved["sparsity"] >= 1 - 1 / RATIO
    assert item.achieved["quantised_accuracy"] == accuracy(item.model, attacker.data.test).percent
    assert json.dumps(item.achieved, allow_nan=False)
    assert item.cost.steps == 10


@pytest.mark.parametrize("noise", [{"sigma": 0.3}, {"stuck": 0.05}, {"column_gain": 0.2}], ids=str)
def test_noise_leaves_the_zeros_and_repeats_by_seed(
    noise: dict[str, float], model: nn.Module, attacker: AttackContext
) -> None:
    clean, one, again = (attacked(spec, model, attacker) for spec in ({}, noise, noise))
    assert torch.equal(flat(one.model), flat(again.model))
    assert not torch.equal(flat(one.model), flat(clean.model))
    for name, tensor in prunable_tensors(one.model).items():
        assert not tensor[~one.masks[name]].any()
        assert torch.equal(one.masks[name], clean.masks[name])


def test_another_seed_is_another_chip(model: nn.Module, attacker: AttackContext) -> None:
    attack = Memristor(updates=0, sigma=0.2)
    masks, _, _ = attack.prune(model, RATIO, attacker)
    intervals = attack.snap(model, masks)
    chips = []
    for seed in (1, 1, 2):
        chip = copy.deepcopy(model)
        attack.deploy(chip, intervals, seed)
        chips.append(flat(chip))
    assert torch.equal(chips[0], chips[1])
    assert not torch.equal(chips[0], chips[2])


def test_training_with_noise_leaves_the_weights_themselves(model: nn.Module, attacker: AttackContext) -> None:
    still = {"updates": 0, "retrain": 0, "retrain_lr": 1e-30, "sigma": 0.2}  # nothing moves but by the noise
    plain = attacked(still, model, attacker)
    trained = attacked({**still, "noise_epochs": 2}, model, attacker)
    assert torch.equal(flat(plain.model), flat(trained.model))
    assert (plain.cost.steps, trained.cost.steps) == (0, 10)


def test_training_with_noise_trains_and_holds_the_zeros(model: nn.Module, attacker: AttackContext) -> None:
    spec = {"updates": 0, "retrain": 0, "sigma": 0.2}
    plain = attacked(spec, model, attacker)
    trained = attacked({**spec, "noise_epochs": 1}, model, attacker)
    assert not torch.equal(flat(plain.model), flat(trained.model))
    assert torch.equal(flat(plain.model) == 0, flat(trained.model) == 0)
    names = [name for name, _ in sorted(model.named_parameters())]
    assert [name for name, _ in sorted(trained.model.named_parameters())] == names


def test_a_varied_weight_varies_in_training_only(model: nn.Module) -> None:
    layer = model.get_submodule("fc1")
    before = model.get_parameter("fc1.weight").detach().clone()
    with parametrised(model.train(), {"fc1.weight": Varied(0.1)}):
        first, second = (torch.as_tensor(layer.weight) for _ in range(2))
        assert not torch.equal(first, second)
        assert float((first.detach() / before).log().std()) == pytest.approx(0.1, rel=0.02)
        model.eval()
        assert torch.equal(torch.as_tensor(layer.weight), before)


def test_whole_tiles_keep_whole_crossbars(model: nn.Module, attacker: AttackContext) -> None:
    item = attacked({"whole_tiles": True, "updates": 0, "retrain": 0}, model, attacker)
    kept = 0
    for tensor in prunable_tensors(item.model).values():
        alive = tensor != 0
        filters, inputs = int(alive.any(1).sum()), int(alive.any(0).sum())
        assert filters % 16 == 0 or filters == len(tensor)
        assert inputs % 32 == 0 or inputs == tensor.shape[1]
        kept += filters * inputs
    assert kept <= SIZE / RATIO
    assert item.achieved["ratio"] == pytest.approx(SIZE / kept)
    assert item.achieved["crossbar"]["crossbars"]["after"] == 2 * sum(
        layer["crossbars_per_slice"]["after"] for layer in item.achieved["crossbar"]["layers"].values()
    )


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"rows": 0}, "crossbar: rows"),
        ({"sigma": -1.0}, "device: sigma"),
        ({"stuck": 2.0}, "device: stuck"),
        ({"bits": 1}, "memristor: bits are an integer from 2 to 8"),
        ({"bits": 9}, "memristor: bits are an integer from 2 to 8"),
        ({"noise_epochs": -1}, "noise_epochs at least 0"),
        ({"groups": ["columns"]}, "memristor: groups are some of"),
        ({"stages": 0}, "memristor: stages"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(spec: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why) as refusal:
        make_attack({"name": "memristor", **spec}, "suite.yaml: attacks[0]")
    assert "\n" not in str(refusal.value)


def test_physical_removal_costs_the_same_crossbars(model: nn.Module, attacker: AttackContext) -> None:
    settings = {"updates": 0, "retrain": 0, "bits": 8}
    kept = attacked(settings, copy.deepcopy(model), attacker)
    gone = attacked({**settings, "physical": True}, copy.deepcopy(model), attacker)
    assert gone.achieved["ratio"] == kept.achieved["ratio"]
    before = [item.achieved["crossbar"]["crossbars"]["before"] for item in (kept, gone)]
    assert before[0] == before[1]
    assert gone.achieved["crossbar"]["crossbars"]["after"] <= kept.achieved["crossbar"]["crossbars"]["after"]
    sizes = [sum(p.numel() for p in item.model.parameters()) for item in (kept, gone)]
    assert sizes[1] < sizes[0]
    for name, parameter in gone.model.named_parameters():
        assert name not in gone.masks or gone.masks[name].shape == parameter.shape
