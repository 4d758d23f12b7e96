"""Overwriting with another scheme, or a stronger mark: each scheme knows the parameter its amplitude grows with."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.attacks import AttackContext, make_attack
from bench.attacks.pruning import prunable_tensors
from bench.data import load
from bench.models.registry import HostRecipe
from cwwm.schemes import SCHEMES, make_scheme
from cwwm.support.errors import BadInput
from cwwm.training import Recipe

OWNERS = make_scheme("cwc", {"payload_bits": 32})
STRENGTHS = {
    "protected-cwc": "lift",
    "cwc": "lift",
    "sign": "strength",
    "sign-repetition": "strength",
    "sign-erasure": "strength",
    "dm-qim": "step",
    "fixed-weights": "spread",
    "spread-spectrum": "ratio",
    "tattooed": "gain",
    "neuralmark": "strength",
    "uchida": "strength",
    "st-dm": "strength",
    "deepsigns": "strength",
    "riga": "strength",
}
#: parameters at which TinyNet carries 32 bits and magnitudes have a strength to raise
ONE_SHOT: dict[str, dict[str, Any]] = {
    "cwc": {"survive": 0.9},
    "protected-cwc": {"blocks": 20, "block_length": 64, "survive": 0.98, "low": 0.9},
    "sign-repetition": {"strength": 1.0},
    "sign": {},  # plain signs have no magnitude to raise: as many marks instead
    "dm-qim": {},
    "fixed-weights": {},
    "spread-spectrum": {},
}


@pytest.fixture(scope="module")
def context() -> AttackContext:
    data = load("digits", size=8)
    recipe = HostRecipe(mark=Recipe(epochs=1, batch_size=64, lr=1e-3))
    return AttackContext(data, recipe, 7, torch.device("cpu"), lambda name: load(name, size=8), scheme=OWNERS)


def flat(model: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in prunable_tensors(model).values()])


def overwritten(model: nn.Module, context: AttackContext, **parameters: object) -> tuple[Tensor, dict[str, Any]]:
    """Return all prunable weights after one further mark, and what the attack says of itself."""
    item = next(make_attack({"name": "overwrite", **parameters}, "test").curve([model], [1], context))
    return flat(item.model), dict(item.achieved)


def test_every_scheme_with_an_amplitude_names_it() -> None:
    found = {name: make_scheme(name, {}).strength_parameter for name in STRENGTHS}
    assert found == STRENGTHS
    assert make_scheme("spread-spectrum", {"gain": 0.1}).strength_parameter == "gain"
    assert all(make_scheme(name, {}).strength_parameter == "" for name in ("none", "wrong-key"))
    assert all(
        isinstance(getattr(make_scheme(name, {}), parameter), float) for name, parameter in STRENGTHS.items()
    )
    assert set(STRENGTHS) <= set(SCHEMES)


@pytest.mark.parametrize("name", ONE_SHOT)
def test_a_stronger_mark_of_any_scheme_changes_more_and_reads_back(
    name: str, tiny_net: nn.Module, context: AttackContext
) -> None:
    given = {"scheme": name, "parameters": ONE_SHOT[name]}
    weak, strong = (overwritten(tiny_net, context, **given, factor=factor)[1] for factor in (1, 4))
    assert weak["marks"] == 1
    assert strong["marks"] == (4 if name == "sign" else 1)
    assert weak["readable"] == 1
    assert strong["readable"] >= 1
    assert strong["change"] > 1.5 * weak["change"]


def test_four_times_the_lift_is_ones_four_times_as_large(tiny_net: nn.Module, context: AttackContext) -> None:
    before = flat(tiny_net).clone()
    weak, strong = (overwritten(tiny_net, context, factor=factor)[0] for factor in (1, 4))
    least = []
    for marked in (weak, strong):  # the lift is one of the things that positions follow from
        raised = marked.abs() > before.abs()
        assert raised.sum() > 3
        least.append(float(marked[raised].abs().min()))
    assert least[1] == pytest.approx(4 * least[0], rel=1e-3)


def test_no_other_scheme_is_the_owners_with_its_parameters(tiny_net: nn.Module, context: AttackContext) -> None:
    plain, _ = overwritten(tiny_net, context)
    named, _ = overwritten(tiny_net, replace(context, scheme=None), scheme="cwc", parameters={"payload_bits": 32})
    assert torch.equal(plain, named)
    changed, _ = overwritten(tiny_net, context, parameters={"survive": 0.99})
    again, _ = overwritten(tiny_net, context, scheme="cwc", parameters={"survive": 0.99})
    assert torch.equal(changed, again)
    assert not torch.equal(changed, plain)


def test_a_part_of_a_mark_is_no_mark(tiny_net: nn.Module, context: AttackContext) -> None:
    with pytest.raises(BadInput, match="sign has no strength to raise; factor is an integer"):
        overwritten(tiny_net, context, scheme="sign", factor=1.5)
