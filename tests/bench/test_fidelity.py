"""Fidelity of a mark: energy over all weights and layer by layer, and answers equal to the control's."""

import copy

import pytest
import torch
from torch import nn

from bench.data import Split, load
from bench.metrics.accuracy import answers, answers_changed, equal_answers
from bench.metrics.energy import fidelity_facts
from bench.testing import network
from cwwm.support.errors import BadInput


def digits() -> Split:
    return load("digits", size=16).test


def scaled(layer: str, factor: float) -> nn.Module:
    model = network()
    with torch.no_grad():
        model.get_parameter(f"{layer}.weight").mul_(factor)
    return model


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc"])
def test_depth_energy_counts_every_layer_alike_and_energy_every_weight(layer: str) -> None:
    facts = fidelity_facts(scaled(layer, 1.5), network(), network, digits())
    assert facts["depth_energy"] == pytest.approx(0.25)
    norms = {
        name: float(p.detach().double().square().sum()) for name, p in network().named_parameters() if p.ndim > 1
    }
    assert facts["energy"] == pytest.approx(0.25 * norms[f"{layer}.weight"] / sum(norms.values()))
    assert facts["noise_floor"] == 0


def test_layers_of_zeros_have_no_relative_change() -> None:
    facts = fidelity_facts(network(), scaled("conv2", 0.0), network, digits())
    assert facts["depth_energy"] == 0
    assert facts["energy"] > 0


def test_answers_are_compared_with_the_control_and_between_controls() -> None:
    split, control, other = digits(), scaled("fc", 100.0), scaled("fc", 100.0)
    nn.init.normal_(other.get_parameter("fc.bias"), std=1.0, generator=torch.Generator().manual_seed(3))
    facts = fidelity_facts(other, control, network, split)
    expected = int((answers(other, split.x) == answers(control, split.x)).sum())
    assert facts["answers"] == {"equal": expected, "total": len(split)}
    assert 0 < expected < len(split)
    assert facts["answers_floor"] == equal_answers(network(), control, split)
    assert equal_answers(other, other, split, batch_size=7) == {"equal": len(split), "total": len(split)}


def test_answers_that_are_not_finite_are_equal_to_nothing() -> None:
    broken = scaled("fc", float("nan"))
    assert equal_answers(broken, broken, digits())["equal"] == 0


def test_a_mark_in_shapes_is_judged_by_its_answers_alone() -> None:
    narrow = copy.deepcopy(network())
    narrow.add_module("fc", nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 10)))

    def no_twin() -> nn.Module:
        raise AssertionError("no second control is to be trained for it")

    facts = fidelity_facts(narrow, network(), no_twin, digits())
    assert facts["answers"]["total"] == len(digits())
    missing = ("energy", "depth_energy", "noise_floor", "answers_floor")
    assert [facts[name] for name in missing] == [None] * len(missing)


def certain(seed: int) -> nn.Module:
    """Return a network that gives one class the probability 1, another one on each image and for each seed."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(digits().x[0].numel(), 10))
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=1e4, generator=generator)
    return model


def test_changed_answers_are_a_distance_that_counts_hard_answers_of_certain_networks() -> None:
    split, one, two, three = digits(), network(), scaled("fc", 30.0), scaled("conv1", 4.0)
    assert answers_changed(one, one, split) == 0
    assert 0 < answers_changed(one, two, split) < 1
    assert answers_changed(one, two, split) == pytest.approx(answers_changed(two, one, split), rel=1e-12)
    assert answers_changed(one, two, split, batch_size=7) == pytest.approx(
        answers_changed(one, two, split), rel=1e-6
    )
    around = answers_changed(one, three, split) + answers_changed(three, two, split)
    assert answers_changed(one, two, split) <= around
    sure, other = certain(1), certain(2)
    equal = equal_answers(sure, other, split)
    assert 0 < equal["equal"] < equal["total"]
    assert answers_changed(sure, other, split) == pytest.approx(1 - equal["equal"] / equal["total"], rel=1e-12)


def test_changed_answers_that_are_not_finite_count_and_incomparable_ones_are_refused() -> None:
    broken, split = scaled("fc", float("nan")), digits()
    assert answers_changed(broken, broken, split) == answers_changed(broken, network(), split) == 1
    with pytest.raises(BadInput, match=r"different shapes .*\(10,\) and \(3,\)"):
        answers_changed(network(), nn.Sequential(nn.Flatten(), nn.Linear(split.x[0].numel(), 3)), split)
    with pytest.raises(BadInput, match="has none"):
        answers_changed(broken, broken, Split(split.x[:0], split.y[:0]))
