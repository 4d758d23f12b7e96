"""The ADMM engine: its penalty, its updates, how long it trains, and what it leaves."""

import copy
import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.attacks import AttackContext
from bench.attacks.compression.admm import Projections, Schedule, Splitting, harden, pull
from bench.attacks.compression.projections import Levels, TopK
from bench.attacks.pruning import prunable_tensors
from bench.data import Split
from cwwm.support.errors import BadInput
from cwwm.training import Batch, Recipe

EMPTY = torch.empty(0)
BATCH = Batch(EMPTY, EMPTY, EMPTY, 0)  # the penalty looks at no data
RHO = 0.3
KEEP = 5


@pytest.fixture
def layer() -> nn.Module:
    torch.manual_seed(3)
    return nn.Linear(4, 3)


def sets(model: nn.Module, share: float = 0.1) -> Projections:
    return {name: TopK(max(1, int(share * tensor.numel()))) for name, tensor in prunable_tensors(model).items()}


def gradient(splitting: Splitting, weight: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(splitting.loss(BATCH), weight)
    return found


def moved(weight: Tensor, count: int) -> Iterator[Tensor]:
    """Move a weight at random, as training would, and yield what it is now."""
    generator = torch.Generator().manual_seed(5)
    for _ in range(count):
        with torch.no_grad():
            weight += 0.3 * torch.randn(weight.shape, generator=generator)
        yield weight.detach().clone()


def test_duals_start_at_zero_and_copies_at_the_projection(layer: nn.Module) -> None:
    weight = layer.get_parameter("weight")
    splitting = Splitting(layer, {"weight": TopK(KEEP)}, RHO)
    difference = weight.detach() - TopK(KEEP)(weight.detach())
    assert torch.allclose(gradient(splitting, weight), RHO * difference, atol=1e-7)
    assert splitting.loss(BATCH).item() == pytest.approx(0.5 * RHO * float(difference.square().sum()))


def test_the_penalty_pulls_by_rho_times_w_minus_z_plus_u(layer: nn.Module) -> None:
    weight, project = layer.get_parameter("weight"), TopK(KEEP)
    splitting = Splitting(layer, {"weight": project}, RHO)
    z, u = project(weight.detach()), torch.zeros_like(weight)
    for w in moved(weight, 3):
        assert torch.allclose(gradient(splitting, weight), RHO * (w - z + u), atol=1e-6)
        before, (gap, change) = z, splitting.update()
        z = project(w + u)
        u = u + w - z
        assert gap == pytest.approx(float((w - z).norm() / w.norm()))
        assert change == pytest.approx(float((z - before).norm() / before.norm()))
        assert torch.allclose(gradient(splitting, weight), RHO * (w - z + u), atol=1e-6)


def test_a_stiffer_penalty_leaves_the_multipliers(layer: nn.Module) -> None:
    weight, project = layer.get_parameter("weight"), TopK(KEEP)
    splitting = Splitting(layer, {"weight": project}, RHO)
    splitting.update()
    w, z = weight.detach(), project(weight.detach())
    u = w - z  # the dual after one update; rho u is the multiplier
    z = project(w)
    splitting.stiffen(4.0)
    assert splitting.rho == 4 * RHO
    assert torch.allclose(gradient(splitting, weight), 4 * RHO * (w - z) + RHO * u, atol=1e-6)


@given(keep=st.integers(1, 12), seed=st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_nothing_pulls_a_weight_inside_its_set(keep: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.Linear(4, 3)
    projections = {"weight": TopK(keep)}
    harden(layer, projections)
    splitting = Splitting(layer, projections, RHO)
    for _ in range(2):
        assert splitting.update() == (0.0, 0.0)
        assert not gradient(splitting, layer.get_parameter("weight")).any()


def test_a_layer_of_zeros_has_no_gap(layer: nn.Module) -> None:
    nn.init.zeros_(layer.get_parameter("weight"))
    assert Splitting(layer, {"weight": TopK(KEEP)}, RHO).update() == (0.0, 0.0)


def test_hardening_keeps_exactly_the_set_and_says_so(model: nn.Module) -> None:
    projections = sets(model)
    weights = {name: tensor.clone() for name, tensor in prunable_tensors(model).items()}
    masks = harden(model, projections)
    for name, tensor in prunable_tensors(model).items():
        assert torch.equal(tensor, projections[name](weights[name]))
        assert torch.equal(masks[name], tensor != 0)
        assert int(masks[name].sum()) == int(0.1 * tensor.numel())
    once = copy.deepcopy(model.state_dict())
    harden(model, projections)
    assert all(torch.equal(once[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("images", "steps"), [(320, 1), (320, 5), (320, 6), (193, 4), (65, 3), (40, 2)])
def test_an_update_trains_for_its_steps_in_whole_epochs(
    images: int, steps: int, model: nn.Module, attacker: AttackContext, recipe: Recipe
) -> None:
    data = Split(attacker.data.train.x[:images], attacker.data.train.y[:images])
    epoch = sum(1 for _ in data.batches(64, seed=0, epoch=0))  # a last batch of one image is left out
    schedule = Schedule(updates=2, steps=steps, rho=0.01, growth=1.5)
    log, cost = pull(model, sets(model), data, recipe, schedule, seed=1, masks={})
    assert cost.steps == 2 * epoch * math.ceil(steps / epoch) >= 2 * steps
    assert cost.samples == 2 * math.ceil(steps / epoch) * (images - (images % 64 == 1))
    assert cost.data_fraction == 1.0
    assert cost.seconds > 0
    assert [update.rho for update in log] == pytest.approx([0.01, 0.015])
    assert all(math.isfinite(v) for update in log for v in update.to_json().values())


def test_no_update_changes_nothing(model: nn.Module, attacker: AttackContext, recipe: Recipe) -> None:
    before = copy.deepcopy(model.state_dict())
    log, cost = pull(model, sets(model), attacker.data.train, recipe, Schedule(updates=0), seed=1, masks={})
    assert (log, cost.steps, cost.data_fraction) == ([], 0, 0.0)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_stronger_pull_leaves_a_smaller_gap(model: nn.Module, owner: AttackContext, recipe: Recipe) -> None:
    gaps = []
    for rho in (1e-3, 1e-2, 1e-1):
        schedule = Schedule(updates=2, steps=44, rho=rho)
        log, _ = pull(copy.deepcopy(model), sets(model), owner.data.train, recipe, schedule, seed=1, masks={})
        gaps.append(log[-1].gap)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.5 * gaps[0]


def test_pulling_holds_the_masks_and_repeats(model: nn.Module, attacker: AttackContext, recipe: Recipe) -> None:
    masks = harden(model, sets(model, 0.5))
    tighter = {name: TopK(50, mask) for name, mask in masks.items()}
    schedule = Schedule(updates=2, steps=5, rho=0.05)
    runs = []
    for seed in (1, 1, 2):
        pulled = copy.deepcopy(model)
        runs.append(pull(pulled, tighter, attacker.data.train, recipe, schedule, seed=seed, masks=masks)[0])
        assert all(not tensor[~masks[name]].any() for name, tensor in prunable_tensors(pulled).items())
        assert any(not torch.equal(t, prunable_tensors(model)[n]) for n, t in prunable_tensors(pulled).items())
    assert runs[0] == runs[1] != runs[2]


def test_sets_of_any_kind_may_be_mixed(model: nn.Module, attacker: AttackContext, recipe: Recipe) -> None:
    tensors = prunable_tensors(model)
    everything = {name: torch.ones_like(tensor, dtype=torch.bool) for name, tensor in tensors.items()}
    projections: Projections = {
        "fc1.weight": TopK(100),
        "fc2.weight": Levels(0.05, 2, everything["fc2.weight"]),
    }
    schedule = Schedule(updates=1, steps=5)
    pull(model, projections, attacker.data.train, recipe, schedule, seed=1, masks={})
    assert set(harden(model, projections)) == set(projections)
    assert int((tensors["fc1.weight"] != 0).sum()) == 100
    assert len(torch.unique(tensors["fc2.weight"])) == 4


@pytest.mark.parametrize(
    "wrong", [{"updates": -1}, {"steps": 0}, {"rho": 0.0}, {"rho": float("nan")}, {"growth": 0.9}]
)
def test_a_schedule_that_cannot_run_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="ADMM needs updates"):
        Schedule(**wrong)  # type: ignore[arg-type]
