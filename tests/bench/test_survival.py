"""The survival law of the seed paper on three trained architectures, marked while they train."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import nn

from bench.attacks import AttackContext, make_attack
from bench.execution.model_factory import ModelFactory
from bench.suite import load_suite, narrow
from bench.suite.cell import Cell
from bench.suite.expand import cells as cells_of
from bench.support.artifact_store import ArtefactStore
from cwwm.ownership.keys import Key, Stream
from cwwm.schemes import EmbedContext, embed, make_scheme
from cwwm.weights.view import as_weights

MODELS = ["test_resnet", "test_vit", "test_convnext"]
KEYS = 200
QUICK_KEYS = 60
RATES = [0.1, 0.3, 0.5, 0.7, 0.8, 0.85, 0.88, 0.89]


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> ModelFactory:
    return ModelFactory(ArtefactStore(tmp_path_factory.mktemp("models")), torch.device("cpu"))


def first_cell(model: str) -> Cell:
    return cells_of(narrow(load_suite("smoke"), models=[model], schemes=["cwc"], seeds=1), {})[0]


def hurried(cell: Cell) -> Cell:
    """Return a cell whose host is trained for one epoch a phase: the law holds for any weights."""
    recipe = cell.host.model.recipe
    assert recipe.train is not None
    train, mark = replace(recipe.train, epochs=1), replace(recipe.mark, epochs=1)
    model = replace(cell.host.model, recipe=replace(recipe, train=train, mark=mark))
    return replace(cell, mark=replace(cell.mark, host=replace(cell.host, model=model)))


def attacker(factory: ModelFactory, cell: Cell) -> AttackContext:
    data = factory.data(cell.host)
    return AttackContext(data, cell.host.model.recipe, 1, torch.device("cpu"), lambda name: data)


@pytest.mark.parametrize("trained", ["hurried", pytest.param("in full", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("ranking", ["global", "layer"])
def test_whole_at_every_rate_up_to_the_design_and_lost_beyond(
    name: str, ranking: str, trained: str, factory: ModelFactory
) -> None:
    cell = hurried(first_cell(name)) if trained == "hurried" else first_cell(name)
    marked = factory.marked(cell.mark)
    attack = make_attack({"name": "magnitude", "ranking": ranking}, "test")
    for item in attack.curve([marked.model], [*RATES, 0.92], attacker(factory, cell)):
        read = marked.scheme.extract(as_weights(item.model), marked.key, marked.mark)
        whole = read.ok and np.array_equal(read.bits, marked.message)
        assert whole == (item.strength <= 0.89), item.strength


def survivors(model: nn.Module, rate: float, factory: ModelFactory, cell: Cell, keys: int = KEYS) -> int:
    """Return of how many keys the marks are recovered after random pruning."""
    scheme = make_scheme("cwc", {"length": 1792, "weight": 37, "carrier": "all"})
    whole = 0
    for index in range(keys):
        marked = copy.deepcopy(model)
        key = Key.for_harness(test="random law", rate=rate, index=index)
        message = Stream(index.to_bytes(32, "little")).bits(256)
        _, mark = embed(scheme, as_weights(marked), message, key, EmbedContext(nonce=index.to_bytes(16, "little")))
        context = AttackContext(
            factory.data(cell.host), cell.host.model.recipe, index, torch.device("cpu"), _no_other
        )
        pruned = next(make_attack("random", "test").curve([marked], [rate], context)).model
        read = scheme.extract(as_weights(pruned), key, mark)
        whole += bool(read.ok and np.array_equal(read.bits, message))
    return whole


def _no_other(name: str) -> None:  # type: ignore[misc]
    raise AssertionError(f"random pruning asked for data set {name}")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_random_pruning_follows_the_law(name: str, rate: float, factory: ModelFactory) -> None:
    cell = first_cell(name)
    whole = survivors(factory.control(cell.host).model, rate, factory, cell)
    low, high = binom.interval(0.999, KEYS, (1 - rate) ** 37)
    assert low <= whole <= high


def test_random_pruning_follows_the_law_on_one_network(factory: ModelFactory) -> None:
    cell = hurried(first_cell("test_resnet"))
    whole = survivors(factory.control(cell.host).model, 0.02, factory, cell, QUICK_KEYS)
    low, high = binom.interval(0.999, QUICK_KEYS, 0.98**37)
    assert low <= whole <= high


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["cwc", "sign-repetition"])
def test_marking_costs_at_most_half_a_point(scheme: str, tmp_path: Path) -> None:
    """Mean over 5 paired seeds, for each of the smoke suite's models."""
    suite = narrow(load_suite("smoke"), schemes=[scheme], attacks=["random"], seeds=5)
    factory = ModelFactory(ArtefactStore(tmp_path), torch.device("cpu"))
    differences: dict[str, list[float]] = {}
    for cell in cells_of(suite, {}):
        pair = [
            made.facts["accuracy"]["correct"] for made in (factory.marked(cell.mark), factory.control(cell.host))
        ]
        total = factory.control(cell.host).facts["accuracy"]["total"]
        differences.setdefault(cell.host.model.name, []).append(100 * (pair[0] - pair[1]) / total)
    print(scheme, differences)
    for values in differences.values():
        assert len(values) == 5
        assert np.mean(values) >= -0.5
