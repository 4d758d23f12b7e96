"""Gradual pruning follows its schedule, ends at the sparsity asked for, and holds it while it trains."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.attacks import AttackContext
from bench.attacks.base import Attacked, measure_sparsity
from bench.attacks.gradual import RAMP, GradualPruning, GrowingMasks, sparsity_schedule, step_count
from bench.attacks.pruning import MagnitudePruning, prunable_tensors
from bench.data import load
from bench.models.registry import HostRecipe
from bench.testing.subject import TwoConvolutions
from cwwm.support.errors import BadInput
from cwwm.training import Recipe, train
from cwwm.weights.order_statistics import pruned_count

RECIPE = Recipe(epochs=2, batch_size=64, lr=3e-3)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return TwoConvolutions()


@pytest.fixture(scope="module")
def context() -> AttackContext:
    data = load("digits", size=16)
    return AttackContext(data, HostRecipe(mark=RECIPE), 7, torch.device("cpu"), lambda name: load(name, size=16))


def prune(model: nn.Module, rate: float, context: AttackContext, **parameters: object) -> Attacked:
    return next(GradualPruning(**parameters).curve([model], [rate], context))


def zeros(tensors: dict[str, Tensor]) -> dict[str, int]:
    return {name: int((tensor == 0).sum()) for name, tensor in tensors.items()}


@given(final=st.floats(0.01, 1.0), steps=st.integers(1, 5000), updates=st.integers(1, 60))
def test_the_schedule_is_the_papers_cubic_and_leaves_a_quarter_of_the_steps(
    final: float, steps: int, updates: int
) -> None:
    schedule = sparsity_schedule(final, steps, updates)
    moments, rates = list(schedule), list(schedule.values())
    assert moments == sorted(set(moments))
    assert moments[0] >= 1
    assert moments[-1] == max(1, int(RAMP * steps))
    assert rates == sorted(rates)
    assert rates[-1] == final
    if int(RAMP * steps) % updates == 0 and steps > 1:
        span = RAMP * steps - RAMP * steps % 1
        for step, rate in schedule.items():
            assert rate == pytest.approx(final + (0 - final) * (1 - step / span) ** 3)


@given(images=st.integers(2, 300), batch_size=st.integers(2, 70), epochs=st.integers(1, 4))
def test_steps_are_counted_as_the_loop_takes_them(images: int, batch_size: int, epochs: int) -> None:
    split = replace(
        load("digits", size=16).train, x=torch.zeros(images, 1), y=torch.zeros(images, dtype=torch.int64)
    )
    taken = [len(y) for e in range(epochs) for _, y in split.batches(batch_size, seed=0, epoch=e)]
    assert len(taken) == step_count(images, Recipe(epochs=epochs, batch_size=batch_size))


@pytest.mark.parametrize("ranking", ["layer", "global"])
@pytest.mark.parametrize("rate", [0.0, 1 / 3, 0.9, 1.0])
def test_the_final_sparsity_is_exact_and_is_the_mask(
    ranking: str, rate: float, model: nn.Module, context: AttackContext
) -> None:
    item = prune(model, rate, context, ranking=ranking, epochs=1)
    tensors = prunable_tensors(item.model)
    sizes = {name: tensor.numel() for name, tensor in tensors.items()}
    if ranking == "layer":
        assert zeros(tensors) == {name: pruned_count(rate, size) for name, size in sizes.items()}
    assert sum(zeros(tensors).values()) == pytest.approx(rate * sum(sizes.values()), abs=len(sizes))
    assert all(torch.equal(item.masks[name], tensor != 0) for name, tensor in tensors.items())
    assert item.achieved["sparsity"] == measure_sparsity(item.model)["sparsity"]
    assert item.achieved["diverged"] is False


def test_it_repeats_trains_what_is_left_and_leaves_its_target_alone(
    model: nn.Module, context: AttackContext
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    item, again = (prune(model, 0.6, context, epochs=1) for _ in range(2))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    other = again.model.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in item.model.state_dict().items())
    for name, mask in item.masks.items():
        assert (item.model.get_parameter(name)[mask] != before[name][mask]).float().mean() > 0.9


def test_the_cost_is_that_of_the_training(model: nn.Module, context: AttackContext) -> None:
    for epochs in (None, 1):
        cost = prune(model, 0.5, context, epochs=epochs).cost
        passes = epochs or RECIPE.epochs
        assert cost.samples == passes * len(context.data.train)
        assert cost.steps == passes * -(-len(context.data.train) // RECIPE.batch_size)
        assert (cost.data_fraction, cost.seconds > 0) == (1.0, True)


CHOSEN: list[dict[str, Tensor]] = []


class Recorded(MagnitudePruning):
    """Keeps the masks that it chose."""

    def masks(self, model: nn.Module, rates: list[float], context: AttackContext) -> Iterator[dict[str, Tensor]]:
        for mask in super().masks(model, rates, context):
            CHOSEN.append(mask)
            yield mask


@pytest.mark.parametrize("ranking", ["layer", "global"])
def test_a_pruned_weight_stays_pruned_at_every_later_choice(
    ranking: str, model: nn.Module, context: AttackContext
) -> None:
    CHOSEN.clear()
    steps = step_count(len(context.data.train), RECIPE)
    schedule = sparsity_schedule(0.8, steps, 7)
    hook = GrowingMasks(model, Recorded(ranking=ranking), schedule, context)
    train(model, context.data.train, RECIPE, seed=1, embedding=hook)
    assert len(CHOSEN) == len(schedule) == 7
    assert hook.step == steps
    size = sum(mask.numel() for mask in CHOSEN[0].values())
    for mask, rate in zip(CHOSEN, schedule.values(), strict=True):
        kept = sum(int(m.sum()) for m in mask.values())
        assert size - kept == pytest.approx(rate * size, abs=3)
    for earlier, later in pairwise(CHOSEN):
        assert all(bool((later[name] <= earlier[name]).all()) for name in later)


def test_it_keeps_more_accuracy_than_pruning_at_once(model: nn.Module, context: AttackContext) -> None:
    data = context.data
    train(model, data.train, replace(RECIPE, epochs=6), seed=0)

    def accuracy(network: nn.Module) -> float:
        with torch.inference_mode():
            return float((network.eval()(data.test.x).argmax(1) == data.test.y).float().mean())

    at_once = next(MagnitudePruning().curve([model], [0.7], context))
    assert accuracy(prune(model, 0.7, context, epochs=4).model) > accuracy(at_once.model) + 0.1


@pytest.mark.parametrize("rate", [0.2, 0.8])
def test_zeros_that_were_held_stay(rate: float, model: nn.Module, context: AttackContext) -> None:
    (first,) = MagnitudePruning(ranking="layer").curve([model], [0.5], context)
    held = {name: mask.clone() for name, mask in first.masks.items()}
    item = prune(first.model, rate, replace(context, masks=held), epochs=1)
    for name, tensor in prunable_tensors(item.model).items():
        assert not bool((tensor[~held[name]] != 0).any())
        assert int((tensor == 0).sum()) == pruned_count(max(rate, 0.5), tensor.numel())
        assert torch.equal(item.masks[name], tensor != 0)


def test_a_diverging_run_is_a_result(model: nn.Module, context: AttackContext) -> None:
    wild = replace(context, recipe=HostRecipe(mark=replace(RECIPE, lr=1e30)))
    assert prune(model, 0.5, wild).achieved["diverged"] is True


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_an_impossible_rate_is_refused(rate: float, model: nn.Module, context: AttackContext) -> None:
    with pytest.raises(BadInput, match="between 0 and 1"):
        prune(model, rate, context)


@pytest.mark.parametrize(
    ("parameters", "why"),
    [({"ranking": "sideways"}, "'sideways'"), ({"updates": 0}, "at least 1"), ({"epochs": 0}, "at least 1")],
)
def test_an_impossible_parameter_is_refused(parameters: dict[str, object], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        GradualPruning(**parameters)
