"""The search for the hardest affordable strength: what it finds, what it tries and what it costs."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.attacks import AttackContext, make_attack
from bench.attacks.search import Search
from bench.data import load
from bench.metrics.accuracy import accuracy
from bench.models.networks import lenet300_100
from bench.models.registry import HostRecipe
from cwwm.support.errors import BadInput
from cwwm.training import Recipe, train

RECIPE = Recipe(epochs=3, batch_size=64, lr=2e-3)


@pytest.fixture(scope="module")
def context() -> AttackContext:
    data = load("digits", size=28, channels=1)
    return AttackContext(data, HostRecipe(RECIPE), 3, torch.device("cpu"), lambda name: data)


@pytest.fixture(scope="module")
def model(context: AttackContext) -> nn.Module:
    torch.manual_seed(0)
    model = lenet300_100(in_chans=1)
    train(model, context.data.train, RECIPE, seed=0)
    return model


def search(**given: object) -> Search:
    made = make_attack({"name": "search", "attack": "magnitude", "mildest": 0.2, "hardest": 1.0, **given}, "test")
    assert isinstance(made, Search)
    return made


def test_what_is_found_is_affordable_and_a_little_more_is_not(model: nn.Module, context: AttackContext) -> None:
    before = accuracy(model, context.data.validation).percent
    for points, item in zip([1, 5], search().curve([model], [1, 5], context), strict=True):
        found = item.achieved["searched"]["strength"]
        (direct,) = make_attack("magnitude", "test").curve([model], [found], context)
        own, other = item.model.state_dict(), direct.model.state_dict()
        assert all(torch.equal(own[name], other[name]) for name in own)
        lost = {float(s): value for s, value in item.achieved["searched"]["lost"].items()}
        assert before - accuracy(item.model, context.data.validation).percent == pytest.approx(lost[found])
        assert lost[found] <= points
        harder = [strength for strength in lost if strength > found]
        assert min(harder) <= found * 1.1
        assert all(lost[strength] > points for strength in harder)
        assert item.strength == points


def test_levels_share_trials_and_each_pays_for_its_own(model: nn.Module, context: AttackContext) -> None:
    attack = search(attack={"name": "finetune", "epochs": 1}, mildest=0.1, hardest=0.4, resolution=1.5)
    together = list(attack.curve([model], [0.5, 100], context))
    alone = [next(attack.curve([model], [points], context)) for points in (0.5, 100)]
    for one, other in zip(together, alone, strict=True):
        assert one.achieved["searched"] == other.achieved["searched"]
        assert one.cost.steps == other.cost.steps == len(one.achieved["searched"]["lost"]) * 21
    assert list(together[1].achieved["searched"]["lost"]) == ["0.1", "0.4"]
    assert together[1].achieved["searched"]["strength"] == 0.4


def test_the_mildest_is_given_where_nothing_is_affordable(model: nn.Module, context: AttackContext) -> None:
    (item,) = search(mildest=0.999).curve([model], [1], context)
    assert item.achieved["searched"]["strength"] is None
    assert list(item.achieved["searched"]["lost"]) == ["0.999"]
    assert item.achieved["sparsity"] == pytest.approx(0.999, abs=1e-4)


def test_the_harder_strength_may_be_the_smaller_number(model: nn.Module, context: AttackContext) -> None:
    attack = search(
        attack={"name": "admm-prune", "updates": 0, "retrain": 0}, mildest=2, hardest=400, resolution=1.3
    )
    (up,) = attack.curve([model], [2], context)
    assert up.achieved["ratio"] == pytest.approx(up.achieved["searched"]["strength"], rel=1e-3)
    assert 2 < up.achieved["searched"]["strength"] < 400
    down = replace(attack, attack=make_attack("magnitude", "test"), mildest=0.99, hardest=0.98)
    (item,) = down.curve([model], [100], context)
    assert item.achieved["searched"]["strength"] == 0.98


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"mildest": 0}, "above 0, not 0 and 1"),
        ({"mildest": 1.0}, "above 0, not 1 and 1"),
        ({"resolution": 1}, "resolution is a factor above 1"),
        ({"attack": "magnitud"}, "test.attack: unknown attack 'magnitud'"),
        ({"attak": "random"}, "attak"),
    ],
)
def test_what_cannot_be_searched_is_refused(given: dict[str, object], names: str) -> None:
    with pytest.raises(BadInput, match=names):
        search(**given)


def test_a_fine_resolution_ends_at_the_digits_of_a_record(model: nn.Module, context: AttackContext) -> None:
    (item,) = search(mildest=0.9, hardest=0.9004, resolution=1 + 1e-9).curve([model], [0], context)
    assert len(item.achieved["searched"]["lost"]) <= 5


def test_a_missing_border_is_named() -> None:
    with pytest.raises(BadInput, match="field 'mildest' is missing"):
        make_attack({"name": "search", "attack": "magnitude", "hardest": 0.9}, "test")


def test_no_loss_is_compared_between_tasks(model: nn.Module, context: AttackContext) -> None:
    with pytest.raises(BadInput, match="changes the task"):
        next(search(attack={"name": "new-head", "epochs": 1, "task": "digits"}).curve([model], [1], context))
    with pytest.raises(BadInput, match="0 or more points of accuracy, not -1"):
        next(search().curve([model], [-1], context))
