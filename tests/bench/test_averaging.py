"""Averages of models: each by its paper's formula, and what it leaves of marks by its law, on trained networks."""

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

from bench.attacks import AttackContext, Attacked, make_attack
from bench.attacks.averaging.family import BASE_MODEL, MARKED, Family, vector, write
from bench.attacks.averaging.interpolation import slerp
from bench.attacks.averaging.task_vectors import disjoint_mean, trimmed
from bench.attacks.means import Means, train_or_diverge
from bench.attacks.pruning import prunable_tensors
from bench.attacks.training import BatchNormReestimation
from bench.data import load
from bench.execution.attacker import attacker_context
from bench.execution.model_factory import ModelFactory
from bench.models.registry import HostRecipe, ModelSpec
from bench.suite import AttackEntry
from bench.suite.cell import HostSpec
from bench.support.artifact_store import ArtefactStore
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes import Claim, EmbedContext, embed, make_scheme
from cwwm.support.errors import BadInput
from cwwm.training import Batch, Recipe, train
from cwwm.weights.order_statistics import pruned_count
from cwwm.weights.view import as_weights
from tests.conftest import TinyNet

RECIPE = Recipe(epochs=1, batch_size=64, lr=2e-3)
KEY = Key.for_harness(averaging=0)
BITS = (np.arange(16) % 2).astype(np.uint8)
SPREAD = make_scheme("spread-spectrum", {"payload_bits": 16, "ratio": 8.0})


@cache
def base() -> nn.Module:
    """Return a trained network, to be left alone: the public base."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TinyNet()
    train(model, load("digits", size=8).train, replace(RECIPE, epochs=3), seed=1)
    return model


@cache
def fine_tuned() -> nn.Module:
    """Return the base after an epoch more, to be left alone."""
    model = copy.deepcopy(base())
    train(model, load("digits", size=8).train, RECIPE, seed=2)
    return model


@pytest.fixture(scope="module")
def context() -> AttackContext:
    data, cpu = load("digits", size=8), torch.device("cpu")
    return AttackContext(data, HostRecipe(mark=RECIPE), 7, cpu, lambda name: data, base=base)


def spread(host: nn.Module) -> tuple[nn.Module, Mark]:
    """Return a copy of a host with a spread-spectrum mark, and the mark."""
    model = copy.deepcopy(host)
    _, mark = embed(SPREAD, as_weights(model), BITS, KEY, EmbedContext(nonce=bytes(16)))
    return model, mark


def attacked(
    name: str, strength: float, model: nn.Module, context: AttackContext, **parameters: object
) -> Attacked:
    return make_attack({"name": name, **parameters}, "test").apply(model, strength, context)


def test_a_vector_holds_all_parameters_and_is_written_back() -> None:
    model = copy.deepcopy(base())
    values = vector(model)
    assert values.numel() == sum(parameter.numel() for parameter in model.parameters())
    write(model, 2 * values)
    assert torch.equal(vector(model), 2 * values)
    write(model.half(), values)
    assert {value.dtype for value in model.parameters()} == {torch.float16}


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_interpolation_dilutes_a_mark_by_the_weight_of_the_base(weight: float, context: AttackContext) -> None:
    model, _ = spread(fine_tuned())
    item = attacked("interpolate", weight, model, context)
    assert torch.allclose(vector(item.model), (1 - weight) * vector(model) + weight * vector(base()), atol=1e-6)
    assert item.achieved["kept"] == pytest.approx(1 - weight, abs=1e-5)
    pattern = vector(model) - vector(fine_tuned())
    amplitude = (vector(item.model) - vector(fine_tuned())) @ pattern / (pattern @ pattern)
    drift = vector(base()) - vector(fine_tuned())  # what the other part brings along falls on the pattern by chance
    chance = weight * float(drift.norm() / pattern.norm()) * 4 / len(pattern) ** 0.5
    assert float(amplitude) == pytest.approx(1 - weight, abs=chance + 1e-4)


def test_a_sum_over_weights_reads_less_and_less_of_the_mark(context: AttackContext) -> None:
    model, mark = spread(fine_tuned())
    items = make_attack("interpolate", "test").curve([model], [0.0, 0.25, 0.5, 0.75, 1.0], context)
    reads = [SPREAD.extract(as_weights(item.model), KEY, mark) for item in items]
    proofs = [SPREAD.evidence(read, Claim(KEY, mark, BITS)).combined for read in reads]
    assert proofs == sorted(proofs)
    assert [bool(np.array_equal(read.bits, BITS)) for read in reads[:2]] == [True, True]  # 8 and 6 of 8 sigmas
    assert not np.array_equal(reads[-1].bits, BITS)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_dare_prunes_the_difference_at_random(share: float, context: AttackContext) -> None:
    model, _ = spread(fine_tuned())
    item = attacked("dare", share, model, context)
    found, home = vector(item.model), vector(base())
    task = vector(model) - home
    dropped = (found == home) & (task != 0)
    touched = vector(model) != vector(fine_tuned())  # by the mark
    for part in (task != 0, touched):
        count = int(part.sum())
        assert int(dropped[part].sum()) / count == pytest.approx(
            share, abs=4 * (share * (1 - share) / count) ** 0.5
        )
    left = ~dropped
    assert torch.allclose(found[left], (home + task / (1 - share))[left], rtol=1e-6)
    noise = float((task**4).sum().sqrt() / (task @ task)) * (share / (1 - share)) ** 0.5
    assert item.achieved["kept"] == pytest.approx(1, abs=4 * noise)


def test_dare_drops_what_it_dropped_at_a_smaller_share(context: AttackContext) -> None:
    model, _ = spread(fine_tuned())
    few, many = (vector(attacked("dare", share, model, context).model) == vector(base()) for share in (0.2, 0.7))
    assert bool((few <= many).all())
    assert torch.allclose(vector(attacked("dare", 0, model, context).model), vector(model), atol=1e-6)


def slow_ties(tasks: list[list[float]], share: float) -> list[float]:
    """Return algorithm 1 of the paper, entry by entry."""
    count = len(tasks[0])
    kept = []
    for task in tasks:
        order = sorted(range(count), key=lambda i: abs(task[i]))
        gone = set(order[: pruned_count(share, count)])
        kept.append([0.0 if i in gone else value for i, value in enumerate(task)])
    merged = []
    for entries in zip(*kept, strict=True):
        sign = np.sign(sum(entries))
        agree = [value for value in entries if value and np.sign(value) == sign]
        merged.append(sum(agree) / len(agree) if agree else 0.0)
    return merged


@pytest.mark.parametrize("share", [0.0, 0.5, 0.8])
def test_ties_is_the_papers_algorithm(share: float) -> None:
    tasks = torch.randn(3, 101, generator=torch.Generator().manual_seed(1)).double()
    found = disjoint_mean(torch.stack([trimmed(task, share) for task in tasks]))
    assert found.tolist() == pytest.approx(slow_ties(tasks.tolist(), share))


def test_ties_keeps_large_lifts_whole(context: AttackContext) -> None:
    model = copy.deepcopy(fine_tuned())
    task = vector(model) - vector(base())
    generator = torch.Generator().manual_seed(3)
    places = torch.randperm(len(task), generator=generator)[:400]
    lifts = 20 * task.std() * torch.randint(0, 2, (400,), generator=generator).mul(2).sub(1)
    write(model, vector(model).index_add(0, places, lifts))
    found = vector(attacked("ties", 0.8, model, context).model)
    whole = torch.isclose(found[places], vector(model)[places], rtol=1e-4).double().mean()
    assert float(whole) == pytest.approx(0.9, abs=4 * (0.09 / 400) ** 0.5)  # 0.2 kept by the other, half agree
    diluted = vector(attacked("interpolate", 0.5, model, context, other="sibling").model)
    left = (diluted - vector(base()))[places] / (vector(model) - vector(base()))[places]
    assert float(left.median()) == pytest.approx(0.5, abs=0.05)


def test_trimming_takes_a_thin_pattern_away_by_its_law() -> None:
    generator = torch.Generator().manual_seed(5)
    host, count, gain = torch.randn(4_000_000, generator=generator), 4_000_000, 0.05
    pattern = gain * torch.randint(0, 2, (count,), generator=generator).mul(2).sub(1)
    left = float(trimmed(host + pattern, 0.8).double() @ pattern.double()) / (count * gain**2)
    threshold = norm.ppf(0.9)
    law = 2 * threshold * norm.pdf(threshold) + 2 * norm.sf(threshold)
    assert law == pytest.approx(0.65, abs=0.002)
    assert left == pytest.approx(law, abs=4 / (gain * count**0.5))


def test_soups_average_independent_drifts(context: AttackContext) -> None:
    model = fine_tuned()
    family = Family(model, context, Means(context.data.train, RECIPE, 1.0))
    drifts = torch.stack([sibling.values - vector(model) for sibling in family.siblings(8, MARKED)]).double()
    spread_of_one = float((drifts - drifts.mean(0)).square().sum() / 7)
    halves = float((drifts[:4].mean(0) - drifts[4:].mean(0)).square().sum())
    assert halves == pytest.approx(2 * spread_of_one / 4, rel=0.2)
    common = float((drifts.sum(0).square().sum() - drifts.square().sum()) / 56)
    attack = make_attack("soup", "test")
    for item in attack.curve([model], [2, 4, 8], context):
        k = int(item.strength)
        drift = (vector(item.model) - vector(model)).double()
        assert torch.allclose(drift, drifts[:k].mean(0), atol=1e-6)
        assert float(drift.square().sum()) == pytest.approx(common + spread_of_one / k, rel=0.15)


def test_a_soup_pays_for_each_of_its_siblings_and_for_the_statistics(context: AttackContext) -> None:
    count, steps = len(context.data.train), -(-len(context.data.train) // 64)
    for item in make_attack({"name": "soup", "statistics": 0.5}, "test").curve([fine_tuned()], [3, 2], context):
        k = int(item.strength)
        assert item.cost.steps == k * steps
        seen = count // 2 - (count // 2 % 128 == 1)  # a last batch of a single image is left out
        assert item.cost.samples == k * count + seen
        assert item.cost.passes == pytest.approx(k * count + seen / 3)
        assert item.cost.data_fraction == 1.0
        assert item.achieved["diverged"] is False


class Recorder:
    """A training hook that keeps the parameters after every step."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.steps = model, list[Tensor]()

    def parameters(self) -> list[dict[str, Any]]:
        return []

    def loss(self, batch: Batch) -> None:
        return None

    def project(self) -> None:
        self.steps.append(vector(self.model).double())


@pytest.mark.parametrize("decay", [0.0, 0.8, 0.99])
def test_the_moving_average_is_the_weighted_sum_of_the_trajectory(decay: float, context: AttackContext) -> None:
    model = copy.deepcopy(fine_tuned())
    start, recorder = vector(model).double(), Recorder(model)
    train_or_diverge(model, Means(context.data.train, RECIPE, 1.0), context, hook=recorder)
    n = len(recorder.steps)
    expected = decay**n * start
    for t, values in enumerate(recorder.steps, 1):
        expected = expected + (1 - decay) * decay ** (n - t) * values
    item = attacked("ema", decay, fine_tuned(), context)
    assert torch.allclose(vector(item.model).double(), expected, atol=1e-5)
    assert item.achieved["start"] == pytest.approx(decay**n)
    assert (item.achieved["steps"], item.cost.steps) == (n, n)


def test_a_longer_average_moves_less_and_none_is_plain_fine_tuning(context: AttackContext) -> None:
    changes = [attacked("ema", d, fine_tuned(), context).achieved["change"] for d in (0.0, 0.8, 0.99)]
    assert changes == sorted(changes, reverse=True)
    plain = make_attack("finetune", "test").apply(copy.deepcopy(fine_tuned()), 1.0, context)
    assert torch.equal(vector(plain.model), vector(attacked("ema", 0.0, fine_tuned(), context).model))


def test_slerp_goes_along_the_great_circle() -> None:
    start, end = torch.randn(2, 500, generator=torch.Generator().manual_seed(2)).double()
    end = end / end.norm() * start.norm()
    angle = torch.acos(torch.dot(start, end) / start.norm() ** 2)
    for weight in (0.0, 0.3, 1.0):
        point = slerp(start, end, weight)
        assert float(point.norm()) == pytest.approx(float(start.norm()))
        cosine = torch.dot(start, point) / start.norm() ** 2
        assert float(torch.acos(cosine.clamp(-1, 1))) == pytest.approx(weight * float(angle), abs=1e-6)
    assert torch.equal(slerp(start, 2 * start, 0.5), start.lerp(2 * start, 0.5))
    assert torch.equal(slerp(start, torch.zeros_like(start), 0.5), start / 2)


def test_slerp_takes_each_tensor_by_itself(context: AttackContext) -> None:
    item = attacked("interpolate", 0.4, fine_tuned(), context, other="sibling", path="slerp")
    family = Family(fine_tuned(), context, Means(context.data.train, RECIPE, 1.0))
    (sibling,) = family.siblings(1, BASE_MODEL)
    ends = zip(family.tensors(vector(fine_tuned())), family.tensors(sibling.values), strict=True)
    parts = [slerp(one, two, 0.4) for one, two in ends]
    assert torch.allclose(vector(item.model), torch.cat(parts), atol=1e-6)


def test_half_the_sum_of_two_task_vectors_is_the_mean_of_both_models(context: AttackContext) -> None:
    summed = attacked("task-arithmetic", 0.5, fine_tuned(), context)
    mean = attacked("interpolate", 0.5, fine_tuned(), context, other="sibling")
    assert torch.allclose(vector(summed.model), vector(mean.model), atol=1e-6)
    assert summed.cost.steps == mean.cost.steps > 0
    sum_of_two = attacked("task-arithmetic", 1.0, fine_tuned(), context, others=2)
    assert sum_of_two.cost.steps == 2 * summed.cost.steps
    family = Family(fine_tuned(), context, Means(context.data.train, RECIPE, 1.0))
    tasks = [family.task_vector, *(s.values - family.base for s in family.siblings(2, BASE_MODEL))]
    assert torch.allclose(vector(sum_of_two.model), family.base + sum(tasks), atol=1e-5)


def test_statistics_are_those_of_the_average_and_cost_data(context: AttackContext) -> None:
    item = attacked("interpolate", 0.5, fine_tuned(), context)
    again = BatchNormReestimation().apply(copy.deepcopy(item.model), 1.0, context)
    assert torch.equal(item.model.bn1.running_var, again.model.bn1.running_var)
    assert (item.cost.samples, item.cost.steps) == (again.cost.samples, 0)
    assert item.cost.data_fraction == pytest.approx(1.0, abs=0.01)
    kept = attacked("interpolate", 0.5, fine_tuned(), context, statistics=0.0)
    assert torch.equal(kept.model.bn1.running_var, fine_tuned().bn1.running_var)
    assert torch.equal(vector(kept.model), vector(item.model))
    assert (kept.cost.samples, kept.cost.data_fraction) == (0, 0.0)


@pytest.mark.parametrize(("name", "strength"), [("ema", 0.5), ("soup", 2), ("interpolate", 0.3), ("ties", 0.5)])
def test_held_zeros_stay(name: str, strength: float, context: AttackContext) -> None:
    pruned = next(make_attack("magnitude", "test").curve([fine_tuned()], [0.5], context))
    item = attacked(name, strength, pruned.model, replace(context, masks=pruned.masks))
    assert set(item.masks) == set(pruned.masks)
    for tensor_name, mask in pruned.masks.items():
        assert not prunable_tensors(item.model)[tensor_name][~mask].any()


def test_a_sibling_that_diverges_is_a_result(context: AttackContext) -> None:
    item = attacked("soup", 2, fine_tuned(), context, rate=1e18)
    assert item.achieved["diverged"] is True
    summed = attacked("task-arithmetic", 1.0, fine_tuned(), context, rate=1e18)
    json.dumps(dict(summed.achieved), allow_nan=False)


@pytest.mark.parametrize("name", ["interpolate", "dare", "ties", "task-arithmetic"])
def test_a_public_base_is_asked_for(name: str, context: AttackContext) -> None:
    attack = make_attack(name, "test")
    with pytest.raises(BadInput, match=f"attack '{name}' needs the model's public base"):
        attack(fine_tuned(), [0.5], replace(context, base=None))
    with pytest.raises(BadInput, match="has no public base to be averaged with"):
        next(attack.curve([fine_tuned()], [0.5], replace(context, base=None)))
    with pytest.raises(BadInput, match=r"differs in the shape of head\.bias; a mark in shapes does not average"):
        next(attack.curve([fine_tuned()], [0.5], replace(context, base=wider)))


def wider() -> nn.Module:
    model = copy.deepcopy(base())
    model.head = nn.Linear(192, 17)
    return model


def test_an_attacker_has_the_host_before_the_marks_phase_but_no_random_weights(tmp_path: Path) -> None:
    factory = ModelFactory(ArtefactStore(tmp_path), torch.device("cpu"))
    entry = AttackEntry("dare", make_attack("dare", "test"), (0.5,))

    def lent(recipe: Mapping[str, Recipe]) -> nn.Module | None:
        spec = ModelSpec(name="x", timm="test_resnet", data="digits", size=16, recipe=HostRecipe(**recipe))
        found = attacker_context(HostSpec(spec, 0), entry, factory, None).base
        if found is not None:
            assert torch.equal(vector(found()), vector(factory.host(HostSpec(spec, 0))))
            write(found(), vector(found()) + 1)  # is a copy each time
            assert torch.equal(vector(found()), vector(factory.host(HostSpec(spec, 0))))
        return found and found()

    assert lent({"mark": RECIPE, "train": RECIPE}) is not None
    assert lent({"mark": RECIPE}) is None
