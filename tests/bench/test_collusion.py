"""Collusion: averages keep an n-th of each mark, differences show the hosts, and the bench makes the copies."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.attacks import AttackContext, make_attack
from bench.attacks.collusion import differing
from bench.attacks.pruning import prunable_tensors
from bench.data import load
from bench.models.registry import HostRecipe
from bench.records.schema import TrainedResult
from bench.records.store import RecordStore
from cwwm.ownership.keys import Key
from cwwm.schemes import EmbedContext, make_scheme
from cwwm.support.errors import BadInput
from cwwm.training import Recipe, train
from cwwm.weights.order_statistics import pruned_count
from cwwm.weights.view import as_weights

CWC = {"payload_bits": 64, "survive": 0.97, "low": 0.8}
BITS = (np.arange(64) % 2).astype(np.uint8)
RECIPE = Recipe(epochs=2, batch_size=64, lr=2e-3)
Bench = Callable[..., int]


@pytest.fixture(scope="module")
def context() -> AttackContext:
    data = load("digits", size=8)
    return AttackContext(data, HostRecipe(mark=RECIPE), 7, torch.device("cpu"), lambda name: load(name, size=8))


def marked_copy(host: nn.Module, number: int, context: AttackContext, *, trained: bool) -> tuple[nn.Module, Tensor]:
    """Return a marked copy and its ones, bool over the pool of all prunable weights."""
    model, key, scheme = copy.deepcopy(host), Key.for_harness(copy=number), make_scheme("cwc", CWC)
    embedding = scheme.begin(as_weights(model), BITS, key, EmbedContext(nonce=bytes(range(16))))
    if trained:
        train(model, context.data.train, RECIPE, seed=3, embedding=embedding)
    mark = embedding.finish()
    assert mark.carrier is not None
    ones = torch.zeros(mark.carrier.size, dtype=torch.bool)
    hosts = mark.streams(key).stream("positions").sample(mark.carrier.size, scheme.code.length)
    ones[torch.from_numpy(hosts[scheme.codeword(BITS, mark.streams(key))])] = True
    return model, ones


def flat(model: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in prunable_tensors(model).values()])


def collude(
    targets: list[nn.Module], context: AttackContext, **parameters: object
) -> tuple[Tensor, dict[str, Any]]:
    spec = {"name": "collude", **parameters}
    item = next(make_attack(spec, "test").curve(targets, [len(targets)], context))
    return flat(item.model), dict(item.achieved)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_the_average_keeps_an_nth_of_each_mark(count: int, tiny_net: nn.Module, context: AttackContext) -> None:
    host = flat(tiny_net)
    pairs = [marked_copy(tiny_net, number, context, trained=False) for number in range(count)]
    average, achieved = collude([model for model, _ in pairs], context)
    for model, ones in pairs:
        raised = ones & (flat(model) != host)
        share = (average - host)[raised] / (flat(model) - host)[raised]
        assert raised.sum() > 5
        assert float(share.median()) == pytest.approx(1 / count, abs=1e-3)  # other marks touch few of its hosts
    assert achieved["copies"] == count
    assert 0 < achieved["change"] < 1


def test_the_average_of_one_model_is_that_model(tiny_net: nn.Module, context: AttackContext) -> None:
    item = next(make_attack("collude", "test").curve([tiny_net] * 4, [4], context))
    for name, value in item.model.state_dict().items():
        assert torch.allclose(value.float(), tiny_net.state_dict()[name].float(), rtol=1e-6)
    averaged = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    averaged[1].running_mean.fill_(4.0)
    state = next(make_attack("collude", "test").curve(list(averaged), [2], context)).model.state_dict()
    assert state["running_mean"].tolist() == [2.0, 2.0]  # buffers are averaged as weights are


def test_one_shot_copies_differ_at_hosts_alone(tiny_net: nn.Module, context: AttackContext) -> None:
    host = flat(tiny_net)
    pairs = [marked_copy(tiny_net, number, context, trained=False) for number in range(3)]
    models = [model for model, _ in pairs]
    touched = torch.stack([flat(model) != host for model in models])
    hits = differing([prunable_tensors(model) for model in models], 8.0)
    assert torch.equal(torch.cat([hit.flatten() for hit in hits.values()]), touched.any(0))
    cleaned, achieved = collude(models, context, mode="difference", fill="median")
    assert achieved["erased"] * len(host) == pytest.approx(int(touched.any(0).sum()))
    alone = touched.sum(0) <= 1
    assert torch.equal(cleaned[alone], host[alone])  # nothing is left of what one copy alone has


def test_erasure_after_training_finds_the_ones(tiny_net: nn.Module, context: AttackContext) -> None:
    train(tiny_net, context.data.train, RECIPE, seed=1)
    pairs = [marked_copy(tiny_net, number, context, trained=True) for number in range(4)]
    models = [model for model, _ in pairs]
    hits = differing([prunable_tensors(model) for model in models], 8.0)
    erased = torch.cat([hit.flatten() for hit in hits.values()])
    ones = torch.stack([ones for _, ones in pairs])
    assert float(erased[ones[0]].float().mean()) > 0.9
    assert float(erased.float().mean()) < 0.03
    share, by_chance = float(ones.any(0)[erased].float().mean()), float(ones.any(0).float().mean())
    assert share > 30 * by_chance
    kept, _ = collude(models, context, mode="difference", fill="median")
    assert float(kept[ones[0]].abs().mean()) < 0.7 * float(flat(models[0])[ones[0]].abs().mean())
    assert torch.equal(kept[~erased], flat(models[0])[~erased])


def test_the_smallest_of_two_is_of_the_copy_without_the_mark(tiny_net: nn.Module, context: AttackContext) -> None:
    host = flat(tiny_net)
    (first, ones), (second, others) = (marked_copy(tiny_net, n, context, trained=False) for n in range(2))
    cleaned, _ = collude([first, second], context, mode="difference", fill="smallest")
    alone = ones & ~others & (flat(second) == host)
    assert alone.sum() > 5
    assert torch.equal(cleaned[alone], host[alone])


def test_redrawn_differences_are_values_of_the_layer(tiny_net: nn.Module, context: AttackContext) -> None:
    models = [marked_copy(tiny_net, number, context, trained=False)[0] for number in range(2)]
    cleaned, _ = collude(models, context, mode="difference", fill="redraw")
    changed = cleaned != flat(models[0])
    assert changed.any()
    assert torch.isin(cleaned[changed].abs(), flat(tiny_net).abs()).all()
    assert torch.equal(cleaned, collude(models, context, mode="difference", fill="redraw")[0])


def test_held_zeros_stay(tiny_net: nn.Module, context: AttackContext) -> None:
    models = [marked_copy(tiny_net, number, context, trained=False)[0] for number in range(3)]
    pruned = next(make_attack("magnitude", "test").curve([models[0]], [0.5], context))
    held = AttackContext(**{**context.__dict__, "masks": pruned.masks})
    for mode in ("average", "difference"):
        cleaned = next(make_attack({"name": "collude", "mode": mode}, "test").curve(models, [3], held)).model
        assert int((flat(cleaned) == 0).sum()) >= pruned_count(0.5, flat(cleaned).numel())


def test_copies_of_other_shapes_are_refused(context: AttackContext) -> None:
    with pytest.raises(BadInput, match=r"differ in the shape of 0\.bias; a mark in shapes does not average"):
        collude([nn.Sequential(nn.Linear(4, 3)), nn.Sequential(nn.Linear(4, 2))], context)


def test_an_attack_says_how_many_copies_its_strengths_take() -> None:
    collusion, repaired = (
        make_attack(a, "test") for a in ("collude", {"name": "then", "first": "collude", "second": "bn"})
    )
    assert [a.copies_needed([2, 8, 3]) for a in (collusion, repaired, make_attack("noise", "test"))] == [8, 8, 1]
    assert collusion.copies_needed() == 2


SUITE = """
models: [tiny]
seeds: 1
payloads: [64]
schemes:
  - {name: cwc, carrier: body, survive: 0.9}
attacks:
  - {name: collude, strengths: [2, 3]}
  - {name: then, first: {name: collude, mode: difference, fill: median}, second: bn, strengths: [3]}
"""


def test_a_run_makes_the_copies_that_an_attack_takes(finished: Path, bench: Bench, tmp_path: Path) -> None:
    shutil.copytree(finished / "artefacts", tmp_path / "out" / "artefacts")
    (tmp_path / "collusion.yaml").write_text(SUITE)
    assert bench("run", tmp_path / "collusion.yaml", "--out", tmp_path / "out", "--device", "cpu") == 0
    records = [r for r in RecordStore(tmp_path / "out").records() if isinstance(r, TrainedResult)]
    assert [record.status for record in records] == ["ok", "ok"]
    for record in records:
        found = [row.log10_p for row in record.rows]
        assert record.marked.recovered
        assert not record.rows[-1].recovered
        assert found[-1] > record.marked.log10_p + 5
        assert found == sorted(found)
