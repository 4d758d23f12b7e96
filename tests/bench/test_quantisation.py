"""Plain attacks on precision: affine quantisation, weight sharing, and torchao's post-training quantisation."""

import copy
import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bench.attacks.base import Attack, AttackContext, Attacked
from bench.attacks.clustering import Clustering
from bench.attacks.posttraining import PostTrainingQuantisation
from bench.attacks.pruning import MagnitudePruning, apply_masks, prunable_tensors
from bench.attacks.quantisation import Quantisation, affine
from bench.data import load
from bench.models.registry import HostRecipe
from cwwm.support.errors import BadInput
from cwwm.training import Recipe
from tests.conftest import TinyNet

HQQ = PostTrainingQuantisation(algorithm="hqq")
ALL = [
    Quantisation(),
    Quantisation(scheme="affine"),
    Quantisation(scheme="affine", granularity="channel"),
    Clustering(),
    PostTrainingQuantisation(),
    HQQ,
]
IDS = [attack.label for attack in ALL]


@pytest.fixture
def model(tiny_net: TinyNet) -> nn.Module:
    return tiny_net


@pytest.fixture(scope="module")
def context() -> AttackContext:
    recipe = HostRecipe(mark=Recipe(epochs=1, batch_size=64, lr=1e-3))
    return AttackContext(load("digits", size=16), recipe, 7, torch.device("cpu"), lambda name: load(name, size=16))


def attacked(attack: Attack, model: nn.Module, bits: float, context: AttackContext) -> Attacked:
    if isinstance(attack, PostTrainingQuantisation):
        pytest.importorskip("torchao")
    return attack.apply(copy.deepcopy(model), bits, context)


def rows_of(tensor: Tensor, by_channel: bool) -> Tensor:
    return tensor.reshape(len(tensor) if by_channel else 1, -1)


@pytest.mark.parametrize("attack", ALL, ids=IDS)
def test_few_values_are_left_and_every_bit_helps(attack: Attack, model: nn.Module, context: AttackContext) -> None:
    changes = []
    by_channel = isinstance(attack, PostTrainingQuantisation) or "channel" in attack.label
    for bits in (2, 3, 4, 6, 8):
        item = attacked(attack, model, bits, context)
        counts = [
            len(row.unique()) for t in prunable_tensors(item.model).values() for row in rows_of(t, by_channel)
        ]
        assert item.achieved["levels"] == max(counts) <= 2**bits
        assert set(item.achieved["layers"]) == set(prunable_tensors(model))
        changes.append(item.achieved["change"])
    assert changes == sorted(changes, reverse=True)
    assert 0 < changes[-1] < 1e-3


@pytest.mark.parametrize("attack", ALL, ids=IDS)
def test_only_prunable_weights_change_and_pruned_ones_stay_zero(
    attack: Attack, model: nn.Module, context: AttackContext
) -> None:
    pruned = MagnitudePruning().apply(model, 0.7, context)
    item = attacked(attack, pruned.model, 3, replace(context, masks=pruned.masks))
    weights = prunable_tensors(pruned.model)
    for name, value in pruned.model.state_dict().items():
        left = item.model.state_dict()[name]
        if name in weights:
            assert not torch.equal(left, value)
            assert bool((left[~pruned.masks[name]] == 0).all())
        else:
            assert torch.equal(left, value)
    assert item.masks is not None
    assert set(item.masks) == set(pruned.masks)


@pytest.mark.parametrize("attack", ALL, ids=IDS)
def test_half_precision_models_and_layers_of_zeros_stay_what_they_are(
    attack: Attack, model: nn.Module, context: AttackContext
) -> None:
    nn.init.zeros_(model.get_parameter("conv2.weight"))
    item = attacked(attack, model.bfloat16(), 4, context)
    assert all(value.dtype == torch.bfloat16 for value in item.model.parameters())
    assert not item.model.get_parameter("conv2.weight").any()
    assert item.achieved["layers"]["conv2.weight"] is None


@pytest.mark.parametrize("attack", ALL, ids=IDS)
def test_a_diverged_model_is_attacked_and_its_broken_layer_reported(
    attack: Attack, model: nn.Module, context: AttackContext
) -> None:
    with torch.no_grad():
        model.get_parameter("head.weight")[0, 0] = float("nan")
    item = attacked(attack, model, 4, context)
    assert item.achieved["layers"]["head.weight"] is None
    assert item.achieved["layers"]["conv1.weight"] > 0


@pytest.mark.parametrize("attack", ALL, ids=IDS)
@pytest.mark.parametrize("bits", [0, 2.5, 17])
def test_impossible_bits_are_refused(attack: Attack, bits: float, model: nn.Module, context: AttackContext) -> None:
    with pytest.raises(BadInput, match="bits are an integer from"):
        attack.apply(model, bits, context)


@pytest.mark.parametrize("bits", range(2, 9))
def test_affine_levels_span_the_range_hold_zero_and_err_by_half_a_step(bits: int) -> None:
    generator = torch.Generator().manual_seed(bits)
    rows = torch.randn(6, 400, generator=generator) + torch.tensor([0.0, 0.5, -0.5, 3.0, 9.0, -9.0])[:, None]
    rows[:, 0] = 0.0
    rounded = affine(rows, bits)
    low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    steps = (high - low) / (2**bits - 1)
    assert bool((rounded[:, 0] == 0).all())
    assert bool(((rounded - rows).abs() <= steps * (0.5 + 1e-4)).all())
    codes = rounded / steps
    assert torch.allclose(codes, codes.round(), atol=1e-3)
    assert max(len(row.unique()) for row in rounded) <= 2**bits
    assert torch.allclose(affine(rounded, bits), rounded, atol=1e-5)


def test_affine_beats_symmetric_where_weights_lean_to_one_side(model: nn.Module, context: AttackContext) -> None:
    with torch.no_grad():
        for tensor in prunable_tensors(model).values():
            tensor.abs_()
    symmetric, leaning = (attacked(Quantisation(scheme=s), model, 4, context) for s in ("symmetric", "affine"))
    assert leaning.achieved["change"] < 0.5 * symmetric.achieved["change"]


def test_the_default_scheme_is_symmetric_and_an_unknown_one_is_refused() -> None:
    assert Quantisation().label == "quantise"
    assert Quantisation(scheme="affine").label == "quantise (affine)"
    with pytest.raises(BadInput, match="scheme is 'symmetric' or 'affine', not 'log'"):
        Quantisation(scheme="log")


def test_sharing_keeps_every_layers_mean_and_repeats_itself(model: nn.Module, context: AttackContext) -> None:
    once = attacked(Clustering(), model, 3, context)
    for name, tensor in prunable_tensors(once.model).items():
        assert float(tensor.mean()) == pytest.approx(float(prunable_tensors(model)[name].mean()), abs=1e-6)
    assert once.achieved["values"] == dict.fromkeys(prunable_tensors(model), 8)
    again = attacked(Clustering(), once.model, 3, context)
    assert again.achieved["change"] < 1e-12


def test_sharing_errs_less_than_levels_of_the_same_number(model: nn.Module, context: AttackContext) -> None:
    shared, rounded = (attacked(a, model, 4, context) for a in (Clustering(), Quantisation(scheme="affine")))
    assert shared.achieved["change"] < rounded.achieved["change"]


def test_zeros_under_a_mask_take_no_value_and_other_zeros_do(model: nn.Module, context: AttackContext) -> None:
    pruned = MagnitudePruning(ranking="layer").apply(model, 0.9, context)
    held = attacked(Clustering(), pruned.model, 2, replace(context, masks=pruned.masks))
    assert set(held.achieved["values"].values()) == {4}
    loose = attacked(Clustering(), pruned.model, 2, context)
    assert loose.achieved["change"] > held.achieved["change"]


def test_torchao_scales_each_filter_by_itself_in_convolutions_and_linear_layers(
    model: nn.Module, context: AttackContext
) -> None:
    plain = attacked(PostTrainingQuantisation(), model, 4, context)
    assert plain.achieved["quantised"] == list(prunable_tensors(model))
    assert plain.achieved["library"].startswith("torchao ")
    factors = 2.0 ** (torch.arange(32) % 7 - 3)  # exact, so that no weight midway between levels moves
    with torch.no_grad():
        model.get_parameter("conv1.weight").mul_(factors[:, None, None, None])
    scaled = attacked(PostTrainingQuantisation(), model, 4, context)
    expected = plain.model.get_parameter("conv1.weight") * factors[:, None, None, None]
    assert torch.equal(scaled.model.get_parameter("conv1.weight"), expected)


def test_half_quadratic_scales_are_other_scales(model: nn.Module, context: AttackContext) -> None:
    plain, tuned = (attacked(a, model, 3, context) for a in (PostTrainingQuantisation(), HQQ))
    assert tuned.achieved["change"] != plain.achieved["change"]
    with pytest.raises(BadInput, match="algorithm is 'minmax' or 'hqq'"):
        PostTrainingQuantisation(algorithm="gptq")


def test_without_torchao_the_message_says_what_to_install(
    model: nn.Module, context: AttackContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(BadInput, match="pip install torchao"):
        PostTrainingQuantisation().apply(model, 4, context)


def test_held_masks_can_come_with_biases(model: nn.Module, context: AttackContext) -> None:
    mask = {"conv2.bias": torch.arange(48) % 2 == 0}
    apply_masks(model, mask)
    item = attacked(Clustering(), model, 2, replace(context, masks=mask))
    assert torch.equal(item.model.get_parameter("conv2.bias"), model.get_parameter("conv2.bias"))
