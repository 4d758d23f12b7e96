"""Pruned and then put on few values: the zeros, the values, the bits and the ratio are those asked for."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.attacks import AttackContext, Attacked, make_attack
from bench.attacks.compression.storage import measure_storage
from bench.attacks.pruning import prunable_tensors
from bench.metrics.accuracy import accuracy
from cwwm.support.errors import BadInput

QUICK: dict[str, Any] = {
    "name": "admm-compress",
    "updates": 2,
    "steps": 5,
    "rho": 0.03,
    "retrain": 1,
    "quantise_updates": 2,
    "rounds": 2,
    "round_epochs": 1,
}
RATIO = 20.0
BITS = {"*": 3, "fc1": 2, "fc": 4}
EXPECTED = {"fc1.weight": 2, "fc2.weight": 3, "fc.weight": 4}


def attacked(spec: dict[str, Any], model: nn.Module, context: AttackContext, ratio: float = RATIO) -> Attacked:
    return next(make_attack({**QUICK, **spec}, "test").curve([model], [ratio], context))


def survivors(item: Attacked) -> dict[str, Tensor]:
    return {name: tensor[tensor != 0] for name, tensor in prunable_tensors(item.model).items()}


@pytest.mark.parametrize("values", ["levels", "clusters"])
def test_survivors_have_few_values_and_the_rest_are_zero(
    values: str, model: nn.Module, attacker: AttackContext
) -> None:
    item = attacked({"values": values, "bits": BITS}, model, attacker)
    kept = survivors(item)
    assert sum(len(tensor) for tensor in kept.values()) == 107_800 // 20
    for name, tensor in prunable_tensors(item.model).items():
        assert torch.equal(item.masks[name], tensor != 0)
        assert len(torch.unique(kept[name])) <= 2 ** EXPECTED[name]
    assert item.achieved["data_bits"] == sum(EXPECTED[name] * len(tensor) for name, tensor in kept.items())
    assert item.achieved["weight_ratio"] == pytest.approx(RATIO)
    report = measure_storage(prunable_tensors(item.model), EXPECTED).to_json()
    assert {key: item.achieved[key] for key in report} == report
    assert len(item.achieved["quantise"]) == 2
    assert json.loads(json.dumps(item.achieved, allow_nan=False))["stages"] == item.achieved["stages"]
    assert item.cost.steps == 5 * (2 + 1 + 2 + (2 if values == "levels" else 1))


def test_levels_are_evenly_spaced_without_zero(model: nn.Module, attacker: AttackContext) -> None:
    item = attacked({"bits": 3}, model, attacker)
    for tensor in survivors(item).values():
        magnitudes = torch.unique(tensor.abs())
        numbers = [magnitudes / magnitudes[0] * lowest for lowest in range(1, 5)]  # the lowest may be unused
        assert any(torch.allclose(n, n.round(), atol=1e-4) and n[-1].round() <= 4 for n in numbers)


def test_bits_for_all_layers_are_as_good_as_a_wildcard(model: nn.Module, attacker: AttackContext) -> None:
    one, other = (attacked({"bits": bits}, model, attacker) for bits in (3, {"*": 3}))
    for name, tensor in prunable_tensors(one.model).items():
        assert torch.equal(tensor, prunable_tensors(other.model)[name])


def test_pulling_and_snapping_in_rounds_each_beat_snapping_at_once(model: nn.Module, owner: AttackContext) -> None:
    spec = {"bits": 2, "updates": 0, "steps": 21, "retrain": 4, "quantise_updates": 0, "rounds": 0}
    reached = []
    for better in ({}, {"rounds": 6}, {"quantise_updates": 3}):
        item = attacked({**spec, **better}, model, owner, ratio=40)
        reached.append(accuracy(item.model, owner.data.test).percent)
    assert min(reached[1:]) > reached[0] + 2


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"values": "codes"}, "values are 'levels' or 'clusters', not 'codes'"),
        ({"rounds": -1}, "quantise_updates and rounds are at least 0"),
        ({"round_epochs": 0}, "round_epochs 1"),
        ({"share": 0.0}, "share in \\(0, 1\\]"),
        ({"bits": 0}, "bits are an integer from 1 to 8, not 0"),
        ({"bits": {"*": 3, "fc": 2.5}}, "bits are an integer from 1 to 8, not 2.5"),
        ({"keep": "least"}, "admm-compress: keep is 'magnitude'"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(spec: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why) as refusal:
        make_attack({**QUICK, **spec}, "suite.yaml: attacks[0]")
    assert "\n" not in str(refusal.value)


def test_bits_of_an_unknown_layer_are_refused_before_training(model: nn.Module, attacker: AttackContext) -> None:
    attack = make_attack({**QUICK, "bits": {"*": 3, "fc4": 2}}, "test")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(BadInput, match="admm-compress: bits: 'fc4' matches no layer; there are fc1, fc2, fc"):
        attack.apply(model, RATIO, attacker)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
