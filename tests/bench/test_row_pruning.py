"""Pruning within rows: what is compared with what, how many go, and what is known of who survives."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.attacks.calibrated.layer_inputs import calibration, importance, input_moments, squares
from bench.attacks.calibrated.rows import kept_in_rows
from bench.attacks.pruning import prunable_tensors
from cwwm.weights.order_statistics import pruned_count
from tests.bench.real_networks import (
    EACH,
    RESIDUAL,
    attacked,
    attacker,
    change_of_answers,
    copied,
    real_network,
)

HALF = 0.5


def groups_of(tensor: Tensor, group: int) -> Tensor:
    """Return (n, group): consecutive inputs of an output at one place of the kernel, told apart by hand."""
    places = tensor.reshape(*tensor.shape[:2], -1)
    rows = [
        places[o, start : start + group, k]
        for o in range(tensor.shape[0])
        for k in range(places.shape[2])
        for start in range(0, tensor.shape[1], group)
    ]
    return torch.stack(rows)


@pytest.mark.parametrize(("rate", "zeros"), [(0.25, 1), (0.5, 2), (0.7, 2), (0.75, 3)])
def test_exactly_so_many_of_four_go_and_the_largest_stay(rate: float, zeros: int) -> None:
    weight = torch.randn(6, 8, 3, 2, generator=torch.Generator().manual_seed(0))
    rows = groups_of(weight.abs(), 4)
    kept = groups_of(kept_in_rows(weight.abs(), rate, 4), 4)
    assert bool((kept.sum(1) == 4 - zeros).all())
    smallest_kept = torch.where(kept, rows, torch.inf).amin(1)
    assert bool((torch.where(kept, 0, rows).amax(1) < smallest_kept).all())


@pytest.mark.parametrize("name", EACH)
def test_two_of_four_is_reached_in_every_layer_that_has_groups(name: str) -> None:
    model = real_network(name)
    item = attacked(model, "prune-nm", HALF)
    after, zeros = copied(item.model), item.achieved["layers"]
    for layer, before in prunable_tensors(model).items():
        divides = before.shape[1] % 4 == 0
        assert zeros[layer] == (HALF if divides else 0)
        left = after[layer] != 0
        assert torch.equal(after[layer][left], before[left])
        assert torch.equal(item.masks[layer], left)
    assert 0.4 < item.achieved["sparsity"] <= HALF
    assert item.cost.samples == item.cost.data_fraction == 0


def test_who_survives_two_of_four_follows_the_law_of_ranks() -> None:
    weight = torch.randn(2000, 400, generator=torch.Generator().manual_seed(0))
    ranks = weight.abs().flatten().argsort().argsort() / weight.numel()
    kept = kept_in_rows(weight.abs(), HALF, 4).flatten()
    for u in (0.1, 0.5, 0.9, 0.99):
        near = (ranks - u).abs() < 0.005
        share, law = float(kept[near].float().mean()), u**2 * (3 - 2 * u)
        assert abs(share - law) < 4 * (law * (1 - law) / int(near.sum())) ** 0.5 + 0.005


@pytest.mark.parametrize("group", [None, 4])
def test_wanda_with_equal_norms_is_magnitude_within_rows(group: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 6, bias=False))
    signs = torch.randint(2, (200, 1, 2, 4), generator=generator) * 2.0 - 1
    sums = input_moments(model, signs, squares)["1.weight"]
    weight = prunable_tensors(model)["1.weight"]
    for rate in (0.25, 0.5, 0.9):
        wanda = kept_in_rows(importance(weight, sums), rate, group)
        assert torch.equal(wanda, kept_in_rows(weight.abs(), rate, group))


@pytest.mark.parametrize("name", EACH)
def test_wanda_prunes_each_output_alike_by_what_it_reads(name: str) -> None:
    model, rate = real_network(name), 0.6
    item = attacked(model, {"name": "wanda", "images": 32}, rate)
    split, share = calibration(attacker(), 32)
    sums = input_moments(model, split.x, squares)
    assert (item.cost.samples, item.cost.data_fraction) == (32, share)
    for layer, weight in prunable_tensors(model).items():
        rows = importance(weight, sums[layer]).flatten(1)
        kept = item.masks[layer].flatten(1)
        assert bool(((~kept).sum(1) == pruned_count(rate, rows.shape[1])).all())
        assert bool((torch.where(kept, 0, rows).amax(1) <= torch.where(kept, rows, torch.inf).amin(1)).all())


@pytest.mark.parametrize("group", [None, 4])
@pytest.mark.parametrize("name", EACH)
def test_wanda_changes_the_answers_less_than_magnitude(name: str, group: int | None) -> None:
    model = real_network(name)
    by_inputs = attacked(model, {"name": "wanda", "group": group}, HALF).model
    by_magnitude = attacked(model, {"name": "prune-nm", "group": group or 4}, HALF).model
    if group is None:
        by_magnitude = real_network(name)
        for tensor in prunable_tensors(by_magnitude).values():
            tensor.mul_(kept_in_rows(tensor.abs(), HALF))
    assert change_of_answers(model, by_inputs) < change_of_answers(model, by_magnitude)


def test_masks_held_before_are_held_on() -> None:
    model = real_network(RESIDUAL)
    spec: dict[str, Any] = {"name": "then", "first": "magnitude", "second": "prune-nm", "second_strength": HALF}
    item = attacked(model, spec, 0.3)
    first = attacked(model, "magnitude", 0.3).masks
    assert all(not bool((item.masks[name] & ~mask).any()) for name, mask in first.items())
