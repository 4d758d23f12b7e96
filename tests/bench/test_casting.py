"""Casts to published number formats: errors, ties and levels by law, and equal to slow references and torchao."""

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor, nn

from bench.attacks import AttackContext, Attacked
from bench.attacks.casting import Casting, normal_float, normal_levels, scaled
from bench.attacks.pruning import MagnitudePruning, prunable_tensors
from cwwm.support.errors import BadInput
from tests.conftest import TinyNet

BARE = AttackContext.bare(torch.device("cpu"))
PUBLISHED = [  # arXiv 2305.14314, appendix E
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
]
FORMATS = [
    (Casting(), 16),
    (Casting(format="fp16"), 16),
    *((Casting(format=f, granularity=g), 8) for f in ("fp8-e4m3", "fp8-e5m2") for g in ("tensor", "channel")),
    (Casting(format="nf"), 4),
    (Casting(format="nf", group=16), 3),
    *((Casting(format="int", group=g, scheme=s), 4) for g in (32, 128) for s in ("symmetric", "affine")),
]
IDS = [f"{attack.label} {bits}" for attack, bits in FORMATS]
SIGNIFICANT = {"bf16": 8, "fp16": 11, "fp8-e4m3": 4, "fp8-e5m2": 3}  # bits, the hidden one included


@pytest.fixture
def model(tiny_net: TinyNet) -> nn.Module:
    return tiny_net


def attacked(attack: Casting, model: nn.Module, bits: float) -> Attacked:
    return attack.apply(copy.deepcopy(model), bits, BARE)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def groups_of(tensor: Tensor, attack: Casting) -> list[Tensor]:
    """Return the weights that share a scale, group by group, each flat."""
    whole = attack.format == "nf" or (attack.format != "int" and attack.granularity == "tensor")
    rows = [tensor.flatten()] if whole else [row.flatten() for row in tensor]
    size = attack.group or {"nf": 64, "int": 128}.get(attack.format, tensor.numel())
    return [part for row in rows for part in row.split(size)]


@pytest.mark.parametrize(("attack", "bits"), FORMATS, ids=IDS)
def test_casting_again_changes_nothing(attack: Casting, bits: int, model: nn.Module) -> None:
    once = attacked(attack, model, bits)
    assert 0 < once.achieved["change"] < 0.1
    for name, tensor in prunable_tensors(attacked(attack, once.model, bits).model).items():
        kept = prunable_tensors(once.model)[name]
        exact = attack.format in ("bf16", "fp16")
        assert torch.equal(tensor, kept) if exact else torch.allclose(tensor, kept, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("attack", "bits"), FORMATS, ids=IDS)
def test_a_group_has_as_many_levels_as_its_bits_tell(attack: Casting, bits: int, model: nn.Module) -> None:
    for tensor in prunable_tensors(attacked(attack, model, bits).model).values():
        for group in groups_of(tensor, attack):
            assert len(group.unique()) <= min(2**bits, len(group))


@pytest.mark.parametrize(("attack", "bits"), FORMATS, ids=IDS)
def test_masked_weights_and_layers_of_zeros_stay_zero(attack: Casting, bits: int, model: nn.Module) -> None:
    nn.init.zeros_(model.get_parameter("conv2.weight"))
    pruned = MagnitudePruning(ranking="layer").apply(model, 0.7, BARE)
    item = attack.apply(copy.deepcopy(pruned.model), bits, replace(BARE, masks=pruned.masks))
    assert item.masks == pruned.masks
    for name, mask in pruned.masks.items():
        assert not item.model.get_parameter(name)[~mask].any()
    assert not item.model.get_parameter("conv2.weight").any()
    assert item.achieved["layers"]["conv2.weight"] is None


@pytest.mark.parametrize(("attack", "bits"), FORMATS, ids=IDS)
def test_half_precision_and_diverged_models_are_cast_too(attack: Casting, bits: int, model: nn.Module) -> None:
    with torch.no_grad():
        model.get_parameter("head.weight")[0, 0] = float("nan")
    item = attacked(attack, model.half(), bits)
    assert all(value.dtype == torch.float16 for value in item.model.parameters())
    assert item.achieved["layers"]["head.weight"] is None
    assert item.achieved["layers"]["conv1.weight"] is not None


@pytest.mark.parametrize(("attack", "bits"), FORMATS, ids=IDS)
def test_sixteen_bits_are_of_everything_and_fewer_of_convolutions_and_linear_layers(
    attack: Casting, bits: int, model: nn.Module
) -> None:
    model.norm = nn.BatchNorm1d(3)
    nn.init.constant_(model.norm.weight, 1 / 3)
    model.norm.running_mean.fill_(1 / 7)
    item = attacked(attack, model, bits)
    before, weights = model.state_dict(), set(prunable_tensors(model))
    changed = {name for name, value in item.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed >= weights
    more = {"norm.weight", "norm.running_mean", "conv1.bias", "conv2.bias", "head.bias"}
    assert changed & more == (more & set(before) if bits == 16 else set())
    assert bits == 16 or changed == weights


@pytest.mark.parametrize(("name", "p"), SIGNIFICANT.items())
def test_floats_err_by_the_unit_roundoff_at_most_and_reach_it(name: str, p: int) -> None:
    values = 1 + torch.arange(2**16).double() / 2**16  # every binade is like this one
    values[-1] = 448 if name == "fp8-e4m3" else 57344  # the format's largest: a scale of one
    error = (Casting(format=name).cast(values.float(), 16).double() / values - 1).abs()[:-1]
    bound = 2.0**-p / (1 + 2.0**-p)
    assert float(error.max()) == pytest.approx(bound, rel=1e-6)
    assert float(error.max()) <= bound * (1 + 1e-12)


@pytest.mark.parametrize(("attack", "bits"), FORMATS, ids=IDS)
def test_real_weights_keep_the_bounds(attack: Casting, bits: int, model: nn.Module) -> None:
    item = attacked(attack, model, bits)
    for name, tensor in prunable_tensors(model).items():
        left = prunable_tensors(item.model)[name]
        for old, new in zip(groups_of(tensor, attack), groups_of(left, attack), strict=True):
            assert bool(((new - old).abs() <= bound(attack, bits, old) * (1 + 1e-5)).all())


def bound(attack: Casting, bits: int, group: Tensor) -> Tensor:
    """Return the largest error that the law allows each weight of a group that shares a scale."""
    m = group.abs().max()
    if p := SIGNIFICANT.get(attack.format):
        roundoff = 2.0**-p / (1 + 2.0**-p)
        normal = {"fp8-e4m3": m / 28672, "fp8-e5m2": m / 939524096}.get(attack.format, torch.tensor(2.0**-14))
        return torch.where(group.abs() >= normal, group.abs() * roundoff, normal * 2.0**-p)
    if attack.format == "nf":
        levels = np.asarray(normal_levels(bits))
        return m * float(np.diff(levels).max() / 2)
    if attack.scheme == "symmetric":
        return m / (2**bits - 2)
    return (group.max().clamp(min=0) - group.min().clamp(max=0)) / (2**bits - 1) / 2


def test_small_weights_in_fp8_are_zero_below_half_of_the_smallest_number(model: nn.Module) -> None:
    for name, smallest, largest in (("fp8-e4m3", 2.0**-9, 448), ("fp8-e5m2", 2.0**-16, 57344)):
        values = torch.tensor([largest, 0.51 * smallest, 0.49 * smallest])
        assert Casting(format=name).cast(values, 8).tolist() == [largest, smallest, 0.0]
    with torch.no_grad():
        model.get_parameter("head.weight")[:, 0] = 1e-9
    item, count = attacked(Casting(format="fp8-e4m3"), model, 8), len(model.get_parameter("head.weight"))
    weights = prunable_tensors(model)
    small = sum(int((tensor.abs() < tensor.abs().max() / 448 * 2**-10).sum()) for tensor in weights.values())
    assert small >= count
    assert item.achieved["zeroed"] * sum(tensor.numel() for tensor in weights.values()) == pytest.approx(small)


def test_a_scale_a_channel_keeps_channels_of_small_weights(model: nn.Module) -> None:
    with torch.no_grad():
        model.get_parameter("conv1.weight")[0].mul_(1e-7)
    tensor, channel = (attacked(Casting(format="fp8-e4m3", granularity=g), model, 8) for g in ("tensor", "channel"))
    assert not tensor.model.get_parameter("conv1.weight")[0].any()
    kept = prunable_tensors(channel.model)["conv1.weight"][0] / prunable_tensors(model)["conv1.weight"][0]
    assert float((kept - 1).abs().median()) < 1 / 17


def test_levels_of_normal_float_are_the_published_ones() -> None:
    assert np.abs(np.asarray(normal_levels(4)) - PUBLISHED).max() < 3e-7
    for bits in range(2, 9):
        levels = np.asarray(normal_levels(bits))
        assert (len(levels), levels[0], levels[-1], int((levels == 0).sum())) == (2**bits, -1.0, 1.0, 1)
        assert bool((np.diff(levels) > 0).all())


def test_normal_float_is_the_nearest_level_of_each_block() -> None:
    weights = gaussian(7, 64)
    levels = normal_levels(4)
    for row, found in zip(weights.tolist(), normal_float(weights, 4).tolist(), strict=True):
        m = max(map(abs, row))
        slow = [m * min(levels, key=lambda level: abs(level - w / m)) for w in row]
        assert found == pytest.approx(slow, rel=1e-6)


def test_normal_float_keeps_a_blocks_largest_magnitude_and_ties_others_with_it() -> None:
    weights = gaussian(20_000, 64)
    cast, largest = normal_float(weights, 4), weights.abs().amax(1, keepdim=True)
    at = weights.abs().argmax(1, keepdim=True)
    assert torch.equal(cast.gather(1, at), weights.gather(1, at))
    tied = (cast.abs() == largest).sum(1).double()
    assert float(tied.mean()) == pytest.approx(expected_ties(64), abs=4 * float(tied.std()) / 20_000**0.5)
    assert expected_ties(64) == pytest.approx(2.29, abs=0.005)


def expected_ties(n: int) -> float:
    """Return how many of n Gaussian weights NF4 puts on their largest magnitude m, in the mean over m's law."""
    levels = normal_levels(4)
    high, low = (1 + levels[-2]) / 2, (1 - levels[1]) / 2

    def of(m: float) -> float:
        inside = 2 * norm.cdf(m) - 1
        density = 2 * n * inside ** (n - 1) * norm.pdf(m)
        others = (2 * norm.cdf(m) - norm.cdf(high * m) - norm.cdf(low * m)) / inside
        return float(density * (1 + (n - 1) * others))

    return float(quad(of, 0, 8)[0])


def test_groups_lie_along_the_inputs_of_a_channel_or_through_the_tensor(model: nn.Module) -> None:
    weight = gaussian(3, 5, 3, 3)  # rows of 45: groups of 32 and 13
    found = Casting(format="int", group=32).cast(weight, 4)
    for row, left in zip(weight.reshape(3, 45), found.reshape(3, 45), strict=True):
        for old, new in zip(row.split(32), left.split(32), strict=True):
            step = old.abs().max() / 7
            assert torch.allclose(new, (old / step).round() * step)
    blocks = Casting(format="nf").cast(weight, 4).flatten().split(64)
    for old, new in zip(weight.flatten().split(64), blocks, strict=True):
        assert torch.equal(new, normal_float(old[None], 4)[0])
    assert len(blocks) == 3


@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_smaller_groups_and_more_bits_err_less(scheme: str, model: nn.Module) -> None:
    fine, coarse = (Casting(format="int", group=group, scheme=scheme) for group in (32, 128))
    changes = [attacked(fine, model, bits).achieved["change"] for bits in (2, 3, 4, 8)]
    assert changes == sorted(changes, reverse=True)
    assert changes[2] < attacked(coarse, model, 4).achieved["change"]


def test_normal_float_errs_less_than_integers_of_as_many_bits_on_gaussian_weights() -> None:
    weights = gaussian(64, 1024)
    levels, normal = (Casting(format=f, group=64).cast(weights, 4) for f in ("int", "nf"))
    assert float((normal - weights).square().sum()) < 0.9 * float((levels - weights).square().sum())


@pytest.mark.parametrize("name", ["fp8-e4m3", "fp8-e5m2"])
def test_fp8_has_the_values_of_torchaos_weights(name: str) -> None:
    quantisation = pytest.importorskip("torchao.quantization")
    weights = gaussian(32, 48) * torch.logspace(-3, 0, 32)[:, None]
    layer = nn.Linear(48, 32, bias=False)
    layer.weight = nn.Parameter(weights.clone(), requires_grad=False)
    attack = Casting(format=name, granularity="channel")
    dtype = torch.float8_e4m3fn if name == "fp8-e4m3" else torch.float8_e5m2
    quantisation.quantize_(layers := nn.Sequential(layer), quantisation.Float8WeightOnlyConfig(weight_dtype=dtype))
    assert torch.allclose(attack.cast(weights, 8), layers[0].weight.dequantize(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("group", [32, 128])
def test_affine_groups_have_the_values_of_torchaos(group: int) -> None:
    quantisation = pytest.importorskip("torchao.quantization")
    primitives = pytest.importorskip("torchao.quantization.quant_primitives")
    weights = gaussian(16, 256)
    layer = nn.Linear(256, 16, bias=False)
    layer.weight = nn.Parameter(weights.clone(), requires_grad=False)
    config = quantisation.IntxWeightOnlyConfig(
        weight_dtype=torch.int4,
        granularity=quantisation.PerGroup(group),
        mapping_type=primitives.MappingType.ASYMMETRIC,
    )
    quantisation.quantize_(layers := nn.Sequential(layer), config)
    ours = Casting(format="int", group=group, scheme="affine").cast(weights, 4)
    assert torch.allclose(ours, layers[0].weight.dequantize(), rtol=1e-5, atol=1e-6)


def test_scales_too_small_for_a_float_leave_the_row() -> None:
    row = torch.tensor([[1e-45, 0.0, -1e-45]])
    assert torch.equal(scaled(row, torch.float8_e5m2), row)


def test_labels_tell_formats_apart() -> None:
    assert [attack.label for attack, _ in FORMATS[:3]] == ["cast", "cast (fp16)", "cast (fp8-e4m3)"]
    assert Casting(format="int", group=32, scheme="affine").label == "cast (int, group=32, affine)"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"format": "fp4"}, "format is one of 'bf16', 'fp16', 'fp8-e4m3', 'fp8-e5m2', 'nf', 'int', not 'fp4'"),
        ({"granularity": "row"}, "granularity is 'tensor' or 'channel', not 'row'"),
        ({"granularity": "channel"}, "granularity is of 'fp8-e4m3' and 'fp8-e5m2', not of 'bf16'"),
        ({"format": "nf", "scheme": "affine"}, "scheme is of 'int', not of 'nf'"),
        ({"format": "int", "scheme": "log"}, "scheme is 'symmetric' or 'affine', not 'log'"),
        ({"format": "int", "group": 1}, "group is at least 2 weights"),
        ({"group": 32}, "of 'nf' and 'int' alone"),
    ],
)
def test_what_a_format_has_no_use_for_is_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        Casting(**given)


@pytest.mark.parametrize(
    ("name", "bits", "why"),
    [
        ("bf16", 8, "the bits of 'bf16' are 16, not 8"),
        ("fp8-e5m2", math.nan, "the bits of 'fp8-e5m2' are 8, not nan"),
        ("nf", 4.5, "the bits of 'nf' are an integer from 2 to 8, not 4.5"),
        ("int", 9, "the bits of 'int' are an integer from 2 to 8, not 9"),
    ],
)
def test_bits_that_a_format_has_not_are_refused(name: str, bits: float, why: str, model: nn.Module) -> None:
    with pytest.raises(BadInput, match=why):
        Casting(format=name).apply(model, bits, BARE)
