"""Attacks that know where answers do not feel a change: idle weights drawn anew, noise shaped by sensitivity."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from bench.attacks.calibrated.idle import lowest, relative_importance
from bench.attacks.calibrated.shaped_noise import fisher_diagonal, inverse_variances, relative_harm
from bench.attacks.pruning import prunable_tensors
from bench.attacks.redrawing import redrawn
from tests.bench.real_networks import (
    EACH,
    RESIDUAL,
    attacked,
    attacker,
    change_of_answers,
    flat,
    real_network,
)


def redraw_at_random(model: nn.Module, share: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for tensor in prunable_tensors(model).values():
        hit = torch.rand(tensor.shape, generator=generator) < share
        tensor.copy_(redrawn(tensor, hit, generator))


@pytest.mark.parametrize("ranking", ["global", "layer"])
@pytest.mark.parametrize("name", EACH)
def test_idle_weights_are_missed_less_than_others(name: str, ranking: str) -> None:
    model, share = real_network(name), 0.05
    item = attacked(model, {"name": "idle", "ranking": ranking}, share)
    assert item.achieved["hit"] == pytest.approx(share, abs=0.002)
    aimed = change_of_answers(model, item.model)
    for seed in range(3):
        other = real_network(name)
        redraw_at_random(other, share, seed)
        assert aimed < change_of_answers(model, other)


def test_weights_that_read_nothing_are_drawn_anew_for_nothing() -> None:
    model = real_network(RESIDUAL)
    idle = attacked(model, "idle", 0.0).achieved["idle"]
    assert idle > 0.3  # maps of one pixel, kernels of nine
    item = attacked(model, "idle", idle / 2)
    assert change_of_answers(model, item.model) < 1e-6
    assert item.achieved["change"] > 0.1
    changed = float((flat(item.model) != flat(model)).float().mean())
    assert changed == pytest.approx(idle / 2, rel=0.01)


def test_an_even_mark_loses_the_share_that_was_hit() -> None:
    model, share = real_network(RESIDUAL), 0.3
    host = flat(model).clone()
    mark = torch.where(torch.rand(len(host), generator=torch.Generator().manual_seed(1)) < 0.5, -1.0, 1.0)
    gain = 0.01 * float(host.std())
    offset = 0
    for tensor in prunable_tensors(model).values():
        tensor.add_(gain * mark[offset : offset + tensor.numel()].view(tensor.shape))
        offset += tensor.numel()
    after = flat(attacked(model, "idle", share).model)
    untouched = after == flat(model)
    left = float(((after - host) * mark)[untouched].sum()) / (gain * len(host))
    assert left == pytest.approx(1 - share, abs=0.01)


def test_more_hits_include_the_fewer_with_the_same_draws() -> None:
    model = real_network(RESIDUAL)
    before, few, many = flat(model), *(flat(attacked(model, "idle", share).model) for share in (0.1, 0.4))
    hit = few != before
    assert bool((many != before)[hit].all())
    assert torch.equal(few[hit].sign(), many[hit].sign())


def test_layers_compare_by_their_own_mean_importance() -> None:
    weights = {"a": torch.tensor([[1.0, 7.0]]), "b": torch.tensor([[100.0, 700.0]]), "c": torch.zeros(1, 2)}
    sums = {"a": torch.tensor([[1.0, 1.0]]), "b": torch.tensor([[1.0, 1.0]])}
    a, b, c = relative_importance(weights, sums)
    assert torch.allclose(a, b)
    assert torch.allclose(a, torch.tensor([[0.2, 1.4]]))
    assert torch.equal(c, torch.zeros(1, 2))


def test_the_lowest_of_all_are_hit_and_no_more() -> None:
    first, second = lowest([torch.tensor([3.0, 1.0]), torch.tensor([[2.0], [1.0], [0.0]])], 0.4)
    assert first.tolist() == [False, True]  # of equal ones the first
    assert second.tolist() == [[False], [False], [True]]


def test_information_of_one_layer_is_that_of_the_formula() -> None:
    torch.manual_seed(0)
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(6, 3)), torch.randn(40, 1, 2, 3)
    found = fisher_diagonal(model, images, seed=5)["1.weight"]
    draws = torch.rand(40, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    p = model(images).detach().softmax(1).double()
    y = (p.cumsum(1) < draws[:, None]).sum(1)
    wrong = torch.nn.functional.one_hot(y, 3) - p
    expected = (wrong[:, :, None] * images.flatten(1)[:, None].double()).square().mean(0)
    assert torch.allclose(found, expected, rtol=1e-4)
    many = images.repeat(300, 1, 1, 1)  # over many draws: p (1 - p) x^2
    exact = ((p * (1 - p))[:, :, None] * images.flatten(1)[:, None].double().square()).mean(0)
    assert torch.allclose(fisher_diagonal(model, many, seed=6)["1.weight"], exact, rtol=0.1)


@pytest.mark.parametrize("damping", [1e-6, 0.01, 1.0, 100.0])
def test_variances_are_one_on_average_and_harm_no_more_than_even_ones(damping: float) -> None:
    generator = torch.Generator().manual_seed(0)
    draw = partial(torch.rand, generator=generator, dtype=torch.float64)
    information = {"a": draw(50) ** 8, "b": 0 * draw(5), "c": 100 * draw(7, 3)}
    variances = inverse_variances(information, damping)
    joined = torch.cat([value.flatten() for value in variances.values()])
    assert float(joined.mean()) == pytest.approx(1)
    harm = relative_harm(information, variances)
    assert harm is not None
    assert 0 < harm < 1
    flat_information = torch.cat([value.flatten() for value in information.values()])
    assert torch.equal(joined.argsort(), (-flat_information).argsort())


def test_where_nothing_is_felt_noise_is_even() -> None:
    nothing: dict[str, Tensor] = {"a": torch.zeros(3, dtype=torch.float64)}
    assert torch.equal(inverse_variances(nothing, 0.1)["a"], torch.ones(3).double())
    assert relative_harm(nothing, nothing) is None


@pytest.mark.parametrize("name", EACH)
def test_shaped_noise_has_the_length_of_plain_noise_and_hurts_less(name: str) -> None:
    model, strength = real_network(name), 0.1
    shaped, plain = (attacked(model, spec, strength) for spec in ("noise-shaped", "noise"))
    assert shaped.achieved["change"] == pytest.approx(plain.achieved["change"], rel=0.05)
    assert shaped.achieved["harm"] < 1
    assert change_of_answers(model, shaped.model) < 0.5 * change_of_answers(model, plain.model)
    assert shaped.cost.samples == 128
    assert shaped.cost.data_fraction == 128 / len(attacker().data.train)


def test_shaped_noise_is_one_draw_at_all_strengths() -> None:
    model = real_network(RESIDUAL)
    before, small, large = flat(model), *(flat(attacked(model, "noise-shaped", s).model) for s in (0.1, 0.4))
    assert torch.allclose(4 * (small - before), large - before, atol=1e-5)
    deviation = float((small - before).square().mean().sqrt())
    assert deviation == pytest.approx(0.1 * float(before.std()), rel=0.05)
    assert math.isfinite(deviation)
