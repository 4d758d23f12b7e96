"""Counts of weights and groups reach the ratio asked for, exactly, and keep to what was given."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.attacks import AttackContext
from bench.attacks.compression.allocation import (
    block_size,
    by_pattern,
    compressible,
    group_counts,
    weight_counts,
)
from bench.attacks.compression.projections import Groups
from bench.attacks.pruning import MagnitudePruning, prunable_tensors
from bench.models.networks import LeNet5
from cwwm.support.errors import BadInput
from cwwm.weights.order_statistics import pruned_count

#: kept by layer, arXiv 1804.03294, Table 2; the last layer is fc2 there
LENET = {"conv1": 0.2, "conv2": 0.08, "fc1": 0.009, "fc": 0.07}
LAYOUT = {
    "conv1": {"filters": 0.6},
    "conv2": {"filters": 0.5, "shapes": 0.35},
    "fc1": {"filters": 0.2, "shapes": 0.25},
    "fc": {"shapes": 0.4},
}
BLOCKS = {"conv1": (12, 25), "conv2": (25, 175), "fc1": (100, 200), "fc": (10, 200)}
KINDS = ("filters", "shapes")
WEIGHTS = 430_500


def total(tensors: dict[str, Tensor], groups: dict[str, Groups]) -> int:
    return sum(block_size(tensors[name], layer) for name, layer in groups.items())


@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=5),
    fractions=st.lists(st.floats(1e-3, 1), min_size=5, max_size=5),
    given_fractions=st.booleans(),
    tied=st.booleans(),
    share=st.floats(0, 1),
)
@settings(max_examples=80, deadline=None)
def test_counts_sum_to_the_ratio_and_fit_their_layers(
    sizes: list[int], fractions: list[float], given_fractions: bool, tied: bool, share: float
) -> None:
    generator = torch.Generator().manual_seed(len(sizes))
    tensors = {f"l{i}.weight": torch.randn(n, generator=generator) for i, n in enumerate(sizes)}
    keep = {f"l{i}": fractions[i] for i in range(len(sizes))} if given_fractions else "magnitude"
    ratio = 1 + share * (sum(sizes) / len(sizes) - 1)
    counts = weight_counts(tensors, keep, ratio)
    assert sum(counts.values()) == round(sum(sizes) / ratio)
    assert all(1 <= counts[name] <= tensor.numel() for name, tensor in tensors.items())


def test_given_fractions_are_kept_at_their_own_ratio(convolutional: nn.Module) -> None:
    tensors = compressible(convolutional)
    assert list(weight_counts(tensors, LENET, WEIGHTS / 6050).values()) == [100, 2000, 3600, 350]
    counts = weight_counts(tensors, LENET, 71.2)
    assert sum(counts.values()) == 6046
    assert list(counts.values()) == pytest.approx([100, 2000, 3600, 350], abs=3)


@pytest.mark.parametrize("ratio", [20, 300])
def test_another_ratio_scales_all_layers_together(ratio: float, convolutional: nn.Module) -> None:
    counts = weight_counts(compressible(convolutional), LENET, ratio)
    expected = [n * 71.2 / ratio for n in (100, 2000, 3600, 350)]
    assert list(counts.values()) == pytest.approx(expected, rel=0.01, abs=2)


def test_a_full_layer_leaves_the_rest_to_the_others() -> None:
    tensors = {"a.weight": torch.ones(10), "b.weight": torch.ones(1000)}
    assert weight_counts(tensors, {"a": 1.0, "b": 0.1}, 1010 / 310) == {"a.weight": 10, "b.weight": 300}
    assert weight_counts(tensors, {"*": 0.3}, 1) == {"a.weight": 10, "b.weight": 1000}


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.75, 0.96])
def test_magnitude_keeps_what_one_global_ranking_leaves(
    rate: float, model: nn.Module, attacker: AttackContext
) -> None:
    tensors = prunable_tensors(model)
    size = sum(tensor.numel() for tensor in tensors.values())
    (masks,) = MagnitudePruning().masks(model, [rate], attacker)
    counts = weight_counts(tensors, "magnitude", size / (size - pruned_count(rate, size)))
    assert all(abs(counts[name] - int(mask.sum())) <= 1 for name, mask in masks.items())


@pytest.mark.parametrize("ratio", [0.99, 0, -3, float("nan"), float("inf"), 1e6])
def test_an_impossible_ratio_is_refused(ratio: float, convolutional: nn.Module) -> None:
    tensors = compressible(convolutional)
    with pytest.raises(BadInput, match="not between 1 and 107625"):
        weight_counts(tensors, "magnitude", ratio)
    with pytest.raises(BadInput, match="out of reach of this layout"):
        group_counts(convolutional, tensors, KINDS, None, ratio)


def test_the_last_pattern_that_matches_counts() -> None:
    names = ["stem.weight", "body.0.weight", "body.1.weight", "fc.weight"]
    found = by_pattern(names, {"*": 1, "body.*": 2, "body.1": 3}, "keep")
    assert found == dict(zip(names, (1, 2, 3, 1), strict=True))


@pytest.mark.parametrize(
    ("patterns", "why"),
    [
        ({"*": 1, "boddy.*": 2}, "keep: 'boddy.*' matches no layer; there are stem, body.0"),
        ({"body.?": 2}, "keep: nothing is given for layer 'stem'; add it, or '*' before the others"),
        ({}, "nothing is given for layer 'stem'"),
    ],
)
def test_patterns_and_layers_must_find_each_other(patterns: dict[str, int], why: str) -> None:
    with pytest.raises(BadInput) as refusal:
        by_pattern(["stem.weight", "body.0.weight"], patterns, "keep")
    assert why in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_depthwise_convolutions_and_what_has_one_axis_are_spared() -> None:
    model = nn.Sequential(
        nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 16, 3, groups=4)
    )
    assert list(compressible(model)) == ["0.weight", "3.weight"]
    assert "1.weight" not in prunable_tensors(model)


def test_the_layout_of_lenet5_is_exact_at_its_own_ratio(convolutional: nn.Module) -> None:
    tensors = compressible(convolutional)
    own = sum(filters * shapes for filters, shapes in BLOCKS.values())
    assert WEIGHTS / own == pytest.approx(16.14, abs=0.005)
    groups = group_counts(convolutional, tensors, KINDS, LAYOUT, WEIGHTS / own)
    assert {n.removesuffix(".weight"): (g.filters, g.shapes) for n, g in groups.items()} == BLOCKS
    assert all(layer.channels is None for layer in groups.values())


@given(
    ratio=st.floats(1, 200), layout=st.sampled_from([None, LAYOUT]), kinds=st.sampled_from([KINDS, ("filters",)])
)
@settings(max_examples=40, deadline=None)
def test_groups_reach_the_ratio_and_one_more_of_each_would_not(
    ratio: float, layout: dict[str, dict[str, float]] | None, kinds: tuple[str, ...]
) -> None:
    model = LeNet5()
    tensors = compressible(model)
    try:
        groups = group_counts(model, tensors, kinds, layout, ratio)
    except BadInput:
        assert ratio > 60  # ten filters of 500 weights, one of all else
        return
    sizes = {name: {"filters": len(tensor), "shapes": tensor[0].numel()} for name, tensor in tensors.items()}
    more = {n: Groups(**{k: min(getattr(g, k) + 1, sizes[n][k]) for k in kinds}) for n, g in groups.items()}
    left = total(tensors, groups)
    assert left <= WEIGHTS / ratio * (1 + 1e-9)
    assert total(tensors, more) > WEIGHTS / ratio or left == WEIGHTS


def test_inputs_of_the_first_layer_and_outputs_of_the_classifier_stay_by_default(convolutional: nn.Module) -> None:
    groups = group_counts(convolutional, compressible(convolutional), ("filters", "channels", "shapes"), None, 20)
    assert (groups["conv1.weight"].channels, groups["conv1.weight"].shapes) == (1, 25)
    assert groups["fc.weight"].filters == 10
    halves = [groups["conv2.weight"].filters, groups["fc1.weight"].filters]
    assert all(n is not None and n < 50 for n in halves[:1])
    assert (halves[1] or 0) / 500 == pytest.approx((halves[0] or 0) / 50, abs=0.02)


def test_a_layer_kept_whole_stays_whole_whatever_the_ratio(convolutional: nn.Module) -> None:
    layout = {"*": {"filters": 0.5}, "fc": {}}
    for ratio in (2, 30):
        groups = group_counts(convolutional, compressible(convolutional), KINDS, layout, ratio)
        assert (groups["fc.weight"].filters, groups["fc.weight"].shapes) == (10, 500)


@given(seed=st.integers(0, 20), data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_block_has_the_weights_that_the_projection_leaves(seed: int, data: st.DataObject) -> None:
    tensor = torch.randn(5, 4, 3, 2, generator=torch.Generator().manual_seed(seed))
    counts = {"filters": 5, "channels": 4, "shapes": 24}
    groups = Groups(**{kind: data.draw(st.none() | st.integers(1, size)) for kind, size in counts.items()})
    assert block_size(tensor, groups) == int((groups(tensor) != 0).sum())


def test_counts_may_be_widened_to_something_coarser(convolutional: nn.Module) -> None:
    tensors = compressible(convolutional)

    def tens(tensor: Tensor, groups: Groups) -> Groups:
        return Groups(filters=min(len(tensor), -(-(groups.filters or 0) // 10) * 10))

    groups = group_counts(convolutional, tensors, ("filters",), None, 8, tens)
    assert all((layer.filters or 0) % 10 == 0 for layer in groups.values())
    assert total(tensors, groups) <= WEIGHTS / 8
