"""One table drives every attack through the contract of `check_attack`; then what holds of ours alone."""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.attacks import ATTACKS, Attack, AttackContext, Attacked, Cost, make_attack
from bench.attacks.base import measure_change, measure_sparsity
from bench.attacks.calibrated.layer_inputs import calibration
from bench.attacks.means import means
from bench.attacks.overwriting import attacker_secret
from bench.attacks.pruning import prunable_tensors
from bench.data import load
from bench.metrics.tiers import Tier, tier
from bench.models.registry import HostRecipe
from bench.records.schema import Cost as RowCost
from bench.testing import ATTACK_RULES, AttackSubject, BrokenRule, Rule, check_attack
from bench.testing.subject import TwoConvolutions, network
from cwwm.ownership.keys import Key
from cwwm.schemes import EmbedContext, embed
from cwwm.schemes.sign_repetition import SignRepetition
from cwwm.support.errors import BadInput
from cwwm.training import Recipe, train
from cwwm.weights.carrier import Carrier, classifier, host_digest
from cwwm.weights.order_statistics import pruned_count
from cwwm.weights.view import as_weights
from tests.residual_net import residual_net

RECIPE = HostRecipe(mark=Recipe(epochs=1, batch_size=64, lr=1e-3))
Weights = dict[str, Tensor]
PRUNE = {"name": "magnitude"}
SMALL = {"budget": 0.1}
SHORT: dict[str, Any] = {"updates": 2, "steps": 5, "retrain": 1}
ROUNDS: dict[str, Any] = {"quantise_updates": 1, "rounds": 1, "round_epochs": 1}
#: attack, strengths, and the tier of the attacker who can make it at any of them
TABLE: list[tuple[dict[str, Any], list[float], Tier]] = [
    ({"name": "magnitude"}, [0.0, 0.5, 0.9], 1),
    ({"name": "magnitude", "ranking": "layer"}, [0.3, 0.97], 1),
    ({"name": "random"}, [0.1, 0.5], 1),
    ({"name": "random", "ranking": "layer"}, [0.2], 1),
    ({"name": "structured"}, [0.25, 0.5], 1),
    ({"name": "structured", "ranking": "global", "norm": 2}, [0.25], 1),
    ({"name": "structured-removed"}, [0.25], 1),
    ({"name": "prune-nm"}, [0.25, 0.5], 1),
    ({"name": "wanda"}, [0.0, 0.5], 2),
    ({"name": "wanda", "group": 4, "images": 16}, [0.5], 2),
    ({"name": "sparsegpt"}, [0.0, 0.5], 2),
    ({"name": "gptq", "block": 32}, [8, 3], 2),
    ({"name": "svd"}, [0.0, 0.5], 1),
    ({"name": "svd", "by": "energy"}, [0.1], 1),
    ({"name": "drop-blocks"}, [0.5, 1.0], 2),
    ({"name": "drop-blocks", "by": "loss"}, [0.5], 2),
    ({"name": "split-layers"}, [0.5, 1.0], 0),
    ({"name": "split-layers", "kind": "identity"}, [0.5], 0),
    ({"name": "gradual", "updates": 2, "epochs": 1}, [0.3, 0.8], 3),
    ({"name": "gradual", "updates": 2, "epochs": 1, "ranking": "global"}, [0.5], 3),
    ({"name": "admm-prune", **SHORT}, [2, 10], 3),
    ({"name": "admm-prune", **SHORT, "keep": {"*": 0.1, "fc": 0.5}, "stages": 2}, [4], 3),
    ({"name": "admm-structured", **SHORT}, [2], 3),
    (
        {"name": "admm-structured", **SHORT, "groups": ["filters"], "layout": {"*": {"filters": 0.5}, "fc": {}}},
        [2],
        3,
    ),
    ({"name": "admm-compress", **SHORT, **ROUNDS}, [3], 3),
    ({"name": "admm-compress", **SHORT, **ROUNDS, "values": "clusters", "bits": {"*": 3, "fc": 2}}, [3], 3),
    ({"name": "memristor", **SHORT}, [2], 3),
    ({"name": "memristor", **SHORT, "sigma": 0.1, "stuck": 0.01, "noise_epochs": 1}, [2], 3),
    ({"name": "analog"}, [0, 3600, 3e7], 1),
    ({"name": "analog", "device": "reram-wan", "compensate": False}, [1, 86400], 1),
    ({"name": "finetune", "epochs": 1}, [0.5], 3),
    ({"name": "new-head", "scope": "head", "epochs": 1, "task": "digits"}, [1.0], 3),
    ({"name": "distill", "epochs": 1}, [1, 10], 3),
    ({"name": "distill", "epochs": 1, "transfer": "held-out", "labels": "top-k", "mixing": 0.5}, [4], 2),
    ({"name": "distill", "epochs": 1, "transfer": "out-of-distribution", "labels": "hard"}, [1], 3),
    ({"name": "distill-stolen", "epochs": 1}, [2], 3),
    ({"name": "distill-stolen", "epochs": 1, "labels": "hard"}, [1], 3),
    ({"name": "lora", "epochs": 1}, [1, 64], 3),
    ({"name": "bn"}, [0.5], 3),
    ({"name": "noise"}, [0.0, 0.2, 1.0], 1),
    ({"name": "noise", "scope": "layer"}, [0.3], 1),
    ({"name": "noise-shaped", "images": 8}, [0.0, 0.2], 2),
    ({"name": "quantise"}, [8, 4, 2], 1),
    ({"name": "quantise", "granularity": "channel"}, [3], 1),
    ({"name": "quantise", "scheme": "affine"}, [4], 1),
    ({"name": "quantise-torch"}, [8, 3], 1),
    ({"name": "quantise-torch", "algorithm": "hqq"}, [4], 1),
    ({"name": "cast"}, [16], 0),
    ({"name": "cast", "format": "fp8-e4m3", "granularity": "channel"}, [8], 0),
    ({"name": "cast", "format": "nf"}, [4, 3], 0),
    ({"name": "cast", "format": "int", "group": 32, "scheme": "affine"}, [8, 4], 0),
    ({"name": "cluster"}, [5, 2], 1),
    ({"name": "scale"}, [0.5, 3.0], 1),
    ({"name": "ema", "epochs": 1}, [0.0, 0.9], 3),
    ({"name": "soup", "epochs": 1, "statistics": 0.1}, [3, 2], 3),
    ({"name": "interpolate", "statistics": 0}, [0.0, 0.5], 1),
    ({"name": "interpolate", "other": "sibling", "path": "slerp", "epochs": 1}, [0.3, 0.7], 3),
    ({"name": "task-arithmetic", "epochs": 1}, [0.5, 1.0], 3),
    ({"name": "ties", "others": 2, "epochs": 1}, [0.8, 0.0], 3),
    ({"name": "dare"}, [0.5, 0.9], 3),
    ({"name": "deploy"}, [1], 0),
    ({"name": "deploy", "way": "onnx-legacy"}, [1], 0),
    ({"name": "then", "first": PRUNE, "second": "deploy"}, [0.6], 1),
    ({"name": "overwrite"}, [1, 2, 4], 1),
    ({"name": "permute"}, [0.5, 1.0], 0),
    ({"name": "rescale"}, [1, 3], 0),
    ({"name": "rotate"}, [1, 3], 0),
    *(({"name": "insert", "kind": kind}, [0.2], 0) for kind in ("zero", "split", "clique")),
    ({"name": "then", "first": "permute", "second": "rescale", "second_strength": 4}, [1], 0),
    ({"name": "overwrite", "factor": 4}, [1], 1),
    ({"name": "overwrite", "scheme": "cwc", "parameters": {"survive": 0.95}, "factor": 2}, [2], 1),
    ({"name": "overwrite", "scheme": "uchida", "parameters": {"strength": 0.1}}, [1], 3),
    ({"name": "targeted"}, [0.0, 0.01, 1.0], 1),
    ({"name": "targeted", "suspects": "repeats", "action": "redraw"}, [0.1], 1),
    ({"name": "targeted", "suspects": "outliers", "action": "redraw"}, [0.01, 0.5], 1),
    ({"name": "idle"}, [0.0, 0.2], 2),
    ({"name": "idle", "ranking": "layer", "images": 16}, [0.3], 2),
    ({"name": "collude"}, [2, 4], 1),
    ({"name": "collude", "mode": "difference", "fill": "redraw", "beyond": 4}, [3], 1),
    ({"name": "then", "first": "collude", "second": {"name": "finetune", "epochs": 1}}, [2], 3),
    ({"name": "then", "first": PRUNE, "second": {"name": "finetune", "epochs": 1}}, [0.6], 3),
    ({"name": "finetune", **SMALL}, [0.5], 2),
    ({"name": "bn"}, [0.1], 2),
    ({"name": "lora", **SMALL}, [4], 2),
    ({"name": "train-anew"}, [1.0, 0.5], 3),
    ({"name": "train-anew", **SMALL}, [1.0], 2),
    ({"name": "distill", **SMALL}, [4], 2),
    ({"name": "distill-stolen", **SMALL, "transfer": "out-of-distribution", "labels": "hard"}, [1], 2),
    ({"name": "gradual", "updates": 2, **SMALL}, [0.5], 2),
    ({"name": "ema", **SMALL}, [0.9], 2),
    ({"name": "soup", "budget": 0.05}, [2], 2),
    ({"name": "interpolate", "other": "sibling", **SMALL}, [0.5], 2),
    ({"name": "dare", "statistics": 0.1}, [0.5], 2),
    ({"name": "overwrite", "scheme": "uchida", "parameters": {"strength": 0.1}, **SMALL}, [1], 2),
    ({"name": "then", "first": PRUNE, "second": {"name": "finetune", **SMALL}}, [0.6], 2),
    ({"name": "then", "first": "wanda", "second": {"name": "finetune", "budget": 0.09}}, [0.6], 2),
    ({"name": "then", "first": "permute", "second": "deploy"}, [1], 0),
    ({"name": "then", "first": "permute", "second": "bn", "second_strength": 0.1}, [1], 2),
    ({"name": "then", "first": PRUNE, "second": "bn"}, [0.6], 3),
    ({"name": "then", "first": "wanda", "second": {"name": "lora", "epochs": 1}, "second_strength": 2}, [0.5], 3),
    ({"name": "then", "first": PRUNE, "second": "gptq", "second_strength": 4}, [0.5], 2),
    ({"name": "then", "first": "drop-blocks", "second": {"name": "finetune", "epochs": 1}}, [0.5], 3),
    ({"name": "then", "first": PRUNE, "second": {"name": "distill", "epochs": 1}}, [0.6], 3),
    ({"name": "search", "attack": {**PRUNE}, "mildest": 0.1, "hardest": 0.9, "resolution": 2}, [0, 5], 2),
    (
        {
            "name": "then",
            "first": {"name": "search", "attack": "cluster", "mildest": 8, "hardest": 4, "resolution": 1.9},
            "second": "bn",
        },
        [1],
        3,
    ),
    ({"name": "then", "first": PRUNE, "second": "cluster", "second_strength": 3}, [0.6], 1),
    ({"name": "then", "first": PRUNE, "second": {"name": "admm-prune", **SHORT}, "second_strength": 4}, [0.6], 3),
]
MODELS = {"drop-blocks": residual_net}  # what an attack is tried on that the small network cannot take
NEEDS = {"analog": "aihwkit.inference.noise.pcm"}  # not among what the tests install
SCHEME = SignRepetition(payload_bits=16, repetition=5)
IDS = [make_attack(spec, "test").label for spec, *_ in TABLE]


def tiny(name: str | None, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TwoConvolutions()


@pytest.fixture
def model() -> nn.Module:
    return tiny(None, 0)


@pytest.fixture(scope="module")
def context() -> AttackContext:
    data = load("digits", size=16)
    cpu = torch.device("cpu")
    return AttackContext(data, RECIPE, 7, cpu, lambda name: load(name, size=16), scheme=SCHEME, build=tiny)


def _subject(spec: dict[str, Any], strengths: list[float]) -> AttackSubject:
    attack = make_attack(spec, "test")
    return AttackSubject(attack, strengths, MODELS.get(attack.parts[0].name, network))


SUBJECTS = [_subject(spec, strengths) for spec, strengths, _ in TABLE]
TIERS = [expected for *_, expected in TABLE]


def _contract() -> list[Any]:
    """Return every rule of every entry of the table, to be run one at a time."""
    pairs = [(name, subject) for name, subject in zip(IDS, SUBJECTS, strict=True)]
    return [pytest.param(each, rule, id=f"{name}-{rule.says}") for name, each in pairs for rule in ATTACK_RULES]


@pytest.mark.parametrize(("subject", "rule"), _contract())
def test_an_attack_keeps_its_contract(subject: AttackSubject, rule: Rule[AttackSubject]) -> None:
    require_packages(subject.attack)
    rule.check(subject)


@pytest.mark.parametrize(("subject", "expected"), list(zip(SUBJECTS, TIERS, strict=True)), ids=IDS)
def test_an_attack_falls_in_the_tier_of_what_it_really_used(subject: AttackSubject, expected: Tier) -> None:
    require_packages(subject.attack)
    for outcome in subject.first:
        spent = RowCost(**subject.attack.spent(outcome.item.cost, subject.context()))
        assert tier(spent) == expected, spent


def require_packages(attack: Attack) -> None:
    """Skip what takes a package that is not here."""
    if needed := NEEDS.get(attack.name):
        pytest.importorskip(needed)
    if getattr(attack, "way", "").startswith("onnx"):
        pytest.importorskip("onnx")


def test_a_label_names_mappings_and_lists_in_a_word() -> None:
    keep = {"name": "admm-prune", "keep": {"*": 0.1}, "updates": 0}
    layout = {"name": "admm-structured", "groups": ["filters"], "layout": {"*": {"filters": 0.5}}}
    bits = {"name": "admm-compress", "bits": {"*": 3}, "values": "clusters"}
    labels = [make_attack(spec, "test").label for spec in (keep, layout, bits, "memristor")]
    assert labels == [
        "admm-prune (updates=0, keep=given)",
        "admm-structured (groups=filters, layout=given)",
        "admm-compress (bits=given, clusters)",
        "memristor",
    ]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"free": True}, 0),
        ({}, 1),
        ({"samples": 9, "data_fraction": 0.1, "compute_fraction": 0.0}, 2),
        ({"samples": 9, "data_fraction": 0.0, "compute_fraction": 0.1}, 2),
        ({"samples": 9, "data_fraction": 0.101, "compute_fraction": 0.0}, 3),
        ({"samples": 9, "data_fraction": 0.0, "compute_fraction": 0.101}, 3),
        ({"compute_fraction": None, "free": None}, 1),
        ({"samples": 9, "data_fraction": 0.05, "compute_fraction": None, "free": None}, 3),
    ],
)
def test_tiers_part_at_nothing_and_at_a_tenth_of_data_and_compute(changed: dict[str, Any], expected: Tier) -> None:
    nothing = {"steps": 0, "samples": 0, "data_fraction": 0.0, "compute_fraction": 0.0, "free": False}
    assert tier(RowCost(**{**nothing, **changed})) == expected


WITH_BUDGETS = ("finetune", "lora", "distill", "distill-stolen", "gradual", "ema", "train-anew")


@pytest.mark.parametrize("name", WITH_BUDGETS)
@pytest.mark.parametrize("budget", [0.05, 0.1, 0.5, 1.0])
def test_a_budget_bounds_data_and_compute_and_uses_most_of_both(
    name: str, budget: float, model: nn.Module, context: AttackContext
) -> None:
    known = replace(context, recipe=HostRecipe(mark=replace(RECIPE.mark, epochs=6)))
    attack = make_attack({"name": name, "budget": budget}, "test")
    spent = attack.spent(next(attack([model], [0.9 if name in ("gradual", "ema") else 1], known)).cost, known)
    if budget < 1:
        assert max(spent["data_fraction"], spent["compute_fraction"]) <= budget
    assert spent["data_fraction"] == pytest.approx(budget, rel=0.03)
    assert spent["compute_fraction"] >= 0.8 * budget


def test_images_of_a_smaller_budget_and_of_calibration_are_among_those_of_a_larger_one(
    context: AttackContext,
) -> None:
    counts = [len(means(context, 1.0, None, budget).data) for budget in (0.1, 0.3)]
    small, large = (means(context, 1.0, None, budget).data for budget in (0.1, 0.3))
    calibrating, share = calibration(context, counts[0])
    assert torch.equal(large.x[: counts[0]], small.x)
    assert torch.equal(calibrating.x, small.x)
    assert share == counts[0] / len(context.data.train)
    other = means(replace(context, seed=8), 1.0, None, 0.1).data
    assert not torch.equal(other.x, small.x)


def test_a_budget_is_refused_where_it_means_nothing(model: nn.Module, context: AttackContext) -> None:
    for budget in (0.0, 1.1):
        with pytest.raises(BadInput, match="a budget is a share of the host's training, above 0 and at most 1"):
            make_attack({"name": "finetune", "budget": budget}, "test")
    with pytest.raises(BadInput, match="a budget below 1 says how long to train; leave epochs out"):
        make_attack({"name": "lora", "budget": 0.1, "epochs": 2}, "test")
    tiny_budget = make_attack({"name": "finetune", "budget": 1e-3}, "test")
    with pytest.raises(BadInput, match="leaves 1 of the images of data set 'digits', too few to train on"):
        next(tiny_budget([model], [1.0], context))


def test_the_table_covers_every_attack() -> None:
    assert {spec["name"] for spec, *_ in TABLE} == set(ATTACKS)


@pytest.mark.parametrize("name", ["magnitude", "random"])
@pytest.mark.parametrize("ranking", ["global", "layer"])
def test_pruning_removes_exactly_floor_of_rate_times_size(
    name: str, ranking: str, model: nn.Module, context: AttackContext
) -> None:
    rates = [0.0, 0.1, 1 / 3, 0.5, 0.9, 1.0]
    attack = make_attack({"name": name, "ranking": ranking}, "test")
    sizes = {n: t.numel() for n, t in prunable_tensors(model).items()}
    for rate, item in zip(rates, attack.curve([model], rates, context), strict=True):
        zeros = {n: int((t == 0).sum()) for n, t in prunable_tensors(item.model).items()}
        if ranking == "layer":
            assert zeros == {n: pruned_count(rate, size) for n, size in sizes.items()}
        else:
            assert sum(zeros.values()) == pruned_count(rate, sum(sizes.values()))


def test_magnitude_pruning_removes_the_smallest_whatever_the_ties(context: AttackContext) -> None:
    torch.manual_seed(1)
    model = TwoConvolutions()
    with torch.no_grad():
        for tensor in prunable_tensors(model).values():
            tensor.copy_((tensor * 20).round() / 20)  # many ties, zeros among them
    values = torch.cat([t.abs().flatten() for t in prunable_tensors(model).values()])
    for item in make_attack("magnitude", "test").curve([model], [0.2, 0.55, 0.8], context):
        left = torch.cat([t.abs().flatten() for t in prunable_tensors(item.model).values()])
        removed = values[(left == 0) & (values > 0)]
        assert removed.numel() == 0 or removed.max() <= left[left > 0].min()


def test_random_pruning_is_nested(model: nn.Module, context: AttackContext) -> None:
    items = make_attack("random", "test").curve([model], [0.2, 0.6], context)
    small, large = ({n: m.clone() for n, m in item.masks.items()} for item in items)
    assert all(bool((~small[n] <= ~large[n]).all()) for n in small)


def test_structured_pruning_zeroes_whole_filters_and_spares_the_classifier(
    model: nn.Module, context: AttackContext
) -> None:
    item = next(make_attack("structured", "test").curve([model], [0.5], context))
    for name, tensor in prunable_tensors(item.model).items():
        zero = (tensor.reshape(len(tensor), -1) == 0).all(1)
        if name == classifier(as_weights(model)):
            assert not zero.any()
        else:
            assert int(zero.sum()) == len(tensor) // 2
            norms = prunable_tensors(model)[name].reshape(len(tensor), -1).abs().sum(1)
            assert norms[zero].max() <= norms[~zero].min()


def test_a_repair_holds_the_zeros(model: nn.Module, context: AttackContext) -> None:
    spec = {"name": "then", "first": "magnitude", "second": {"name": "finetune", "epochs": 1}}
    item = next(make_attack(spec, "test").curve([model], [0.7], context))
    assert measure_sparsity(item.model)["sparsity"] >= 0.7 - 1e-3
    assert item.cost.steps > 0
    moved = {
        n: t for n, t in prunable_tensors(item.model).items() if not torch.equal(t, prunable_tensors(model)[n])
    }
    assert moved


def test_batch_norm_reestimation_touches_statistics_only(model: nn.Module, context: AttackContext) -> None:
    item = next(make_attack("bn", "test").curve([model], [1.0], context))
    for name, value in item.model.named_parameters():
        assert torch.equal(value, dict(model.named_parameters())[name])
    assert not torch.equal(item.model.get_buffer("norm1.running_mean"), model.get_buffer("norm1.running_mean"))
    assert item.cost.data_fraction == pytest.approx(1.0)


def test_a_new_head_has_the_new_tasks_classes(model: nn.Module, context: AttackContext) -> None:
    spec = {"name": "new-head", "scope": "head", "epochs": 1, "task": "textures"}
    item = next(make_attack(spec, "test").curve([model], [1.0], context))
    assert item.task is not None
    assert item.model.fc.out_features == item.task.classes == 14
    assert torch.equal(item.model.conv1.weight, model.conv1.weight)


@pytest.mark.parametrize("name", ["finetune", "lora"])
def test_an_attacker_trains_as_long_as_the_host_was_trained_if_no_epochs_are_given(
    name: str, model: nn.Module, context: AttackContext
) -> None:
    host = Recipe(epochs=3, batch_size=256, lr=1e-3)
    known = replace(context, recipe=HostRecipe(mark=replace(host, epochs=1), train=host))
    full, short = (
        next(make_attack(spec, "test").curve([model], [1], known)) for spec in (name, {"name": name, "epochs": 1})
    )
    assert full.achieved["epochs"] == 3
    assert full.cost.samples == 3 * len(context.data.train)
    assert full.cost.steps == 3 * short.cost.steps
    report = train(copy.deepcopy(model), context.data.train, host, seed=0)
    assert (full.cost.steps, full.cost.samples) == (report.steps, report.samples)


def test_training_anew_takes_nothing_of_the_model_and_no_mark_is_in_what_it_gives(context: AttackContext) -> None:
    attack, key, message = make_attack("train-anew", "test"), Key.for_harness(owner=1), np.ones(16, np.uint8)
    host, other = tiny(None, 0), tiny(None, 3)
    _, mark = embed(SCHEME, as_weights(host), message, key, EmbedContext(nonce=bytes(16)))
    assert np.array_equal(SCHEME.extract(as_weights(host), key, mark).bits, message)
    found = [next(attack([model], [1.0], context)).model for model in (host, other)]
    assert torch.equal(flat(prunable_tensors(found[0])), flat(prunable_tensors(found[1])))
    assert not np.array_equal(SCHEME.extract(as_weights(found[0]), key, mark).bits, message)
    with pytest.raises(BadInput, match="needs a builder of fresh networks"):
        attack([host], [1.0], replace(context, build=None))
    with pytest.raises(BadInput, match="train-anew: a learning rate relative to that of training is above 0"):
        attack([host], [0.0], context)


def test_a_diverging_fine_tune_is_a_result(model: nn.Module, context: AttackContext) -> None:
    item = next(make_attack({"name": "finetune", "epochs": 1}, "test").curve([model], [1e30], context))
    assert item.achieved["diverged"] is True
    assert item.cost.samples == item.cost.passes == len(context.data.train)


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"name": "magnitud"}, "magnitude"),
        ({"name": "magnitude", "rankin": "layer"}, "ranking"),
        ({"name": "magnitude", "ranking": "sideways"}, "sideways"),
        ({"name": "then", "first": "magnitude"}, "second"),
        ({"name": "structured", "norm": 3}, "norm"),
        ({"name": "new-head", "scope": "body"}, "scope"),
        ({"name": "noise", "scope": "channel"}, "scope is 'global' or 'layer'"),
        ({"name": "quantise", "granularity": "weight"}, "granularity is 'tensor' or 'channel'"),
        ({"name": "cast", "format": "fp4"}, "format is one of 'bf16', 'fp16', 'fp8-e4m3'"),
        ({"name": "scale", "by": 2}, "'by'"),
        ({"name": "soup", "rate": 0}, "rate is a finite number above 0"),
        ({"name": "ema", "epochs": 0}, "epochs are at least 1"),
        ({"name": "dare", "statistics": 2}, "statistics is a share between 0 and 1"),
        ({"name": "interpolate", "other": "host"}, "other is 'base' or 'sibling'"),
        ({"name": "interpolate", "path": "bezier"}, "path is 'linear' or 'slerp'"),
        ({"name": "ties", "others": 0}, "others is at least 1"),
        ({"name": "overwrite", "marks": 2}, "'marks'"),
        ({"name": "permute", "groups": 2}, "'groups'"),
        ({"name": "insert", "kind": "loud"}, "kind is one of zero, split, clique, not 'loud'"),
        ({"name": "overwrite", "scheme": "cwk"}, "unknown scheme 'cwk'"),
        ({"name": "overwrite", "scheme": "cwc", "parameters": {"lifts": 2}}, "lift"),
        ({"name": "overwrite", "factor": 0.5}, "factor is a number of at least 1"),
        ({"name": "targeted", "suspects": "all"}, "suspects is 'largest', 'repeats' or 'outliers'"),
        ({"name": "targeted", "action": "zero"}, "action is 'noise' or 'redraw'"),
        ({"name": "targeted", "sigma": 0}, "sigma is a number above 0"),
        ({"name": "collude", "mode": "sum"}, "mode is 'average' or 'difference'"),
        ({"name": "collude", "fill": "zero"}, "fill is one of 'average', 'median', 'smallest', 'redraw'"),
        ({"name": "collude", "beyond": -1}, "beyond is 0 or a positive number"),
        ({"name": "admm-prune", "update": 2}, "updates"),
        ({"name": "admm-compress", "bit": 2}, "bits"),
        ({"name": "memristor", "row": 2}, "rows"),
        ({"name": "analog", "device": "flash"}, "device is one of 'pcm', 'pcm-hermes', 'reram-wan', 'reram-cmo'"),
        ({"name": "cluster", "bits": 2}, "'bits'"),
        ({"name": "distill", "transfer": "stolen"}, "transfer is 'train', 'held-out' or"),
        ({"name": "distill", "labels": "soft"}, "labels is 'logits', 'top-k' or 'hard'"),
        ({"name": "distill", "mixing": 1.5}, "mixing between 0 and 1"),
        ({"name": "gradual", "updates": 0}, "updates and epochs are at least 1"),
        ({"name": "structured-removed", "channels": "some"}, "channels is 'all' or 'interior'"),
        ({"name": "quantise-torch", "algorithm": "awq"}, "algorithm is 'minmax' or 'hqq'"),
        ({"name": "prune-nm", "group": 1}, "a group has 2 or more weights, not 1"),
        ({"name": "wanda", "group": 0}, "a group has 2 or more weights, not 0"),
        ({"name": "wanda", "images": 0}, "wanda: images is a whole number of at least 1, not 0"),
        ({"name": "sparsegpt", "block": 0}, "sparsegpt: block is a whole number of at least 1, not 0"),
        ({"name": "gptq", "images": 0}, "gptq: images is a whole number of at least 1, not 0"),
        ({"name": "svd", "by": "trace"}, "by is 'rank' or 'energy', not 'trace'"),
        ({"name": "drop-blocks", "by": "name"}, "by is 'similarity' or 'loss', not 'name'"),
        ({"name": "split-layers", "kind": "both"}, "kind is 'rotate' or 'identity', not 'both'"),
        ({"name": "idle", "ranking": "row"}, "ranking is 'global' or 'layer', not 'row'"),
        ({"name": "noise-shaped", "damping": 0}, "damping is a number of at least 1e-6, not 0"),
        ({"name": "lora", "alpha": 0}, "alpha and rate are numbers above 0"),
        ({"name": "lora", "epochs": 0}, "epochs are at least 1"),
        ({"name": "distill-stolen", "student": "lenet5"}, "the student is the stolen model itself, 'same'"),
        (7, "an attack is a name"),
    ],
)
def test_a_bad_attack_is_refused_in_one_line(spec: object, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        make_attack(spec, "suite.yaml: attacks[0]")


@pytest.mark.parametrize(
    ("name", "strength", "why"),
    [
        ("magnitude", 1.5, "between 0 and 1"),
        ("random", -0.5, "between 0 and 1"),
        ("structured", float("nan"), "between 0 and 1"),
        ("finetune", 0.0, "above 0"),
        ("new-head", -1.0, "above 0"),
        ("noise", -0.1, "positive number of sigmas"),
        ("noise", float("nan"), "positive number of sigmas"),
        ("quantise", 1, "integer from 2 to 16"),
        ("quantise", 4.5, "integer from 2 to 16"),
        ("cast", 8, "bits of 'bf16' are 16"),
        ("scale", 0.0, "above 0"),
        ("scale", float("inf"), "above 0"),
        ("ema", 1.0, "the decay is at least 0 and below 1"),
        ("soup", 1, "integer of at least 2"),
        ("soup", 2.5, "integer of at least 2"),
        ("interpolate", 1.1, "between 0 and 1"),
        ("task-arithmetic", -0.1, "0 or a positive number"),
        ("ties", 1.0, "trimmed is at least 0 and below 1"),
        ("dare", float("nan"), "dropped is at least 0 and below 1"),
        ("structured-removed", 1.0, "at least 0 and below 1"),
        ("gradual", 1.1, "between 0 and 1"),
        ("quantise-torch", 9, "integer from 2 to 8"),
        ("cluster", 0, "integer from 1 to 8"),
        ("prune-nm", 1.5, "between 0 and 1"),
        ("wanda", -0.1, "between 0 and 1"),
        ("sparsegpt", float("nan"), "between 0 and 1"),
        ("gptq", 4.5, "integer from 2 to 8"),
        ("svd", 1.0, "at least 0 and below 1"),
        ("drop-blocks", 1.1, "between 0 and 1"),
        ("drop-blocks", 0.5, "no numbered block that gives the shape it takes"),
        ("split-layers", -0.5, "between 0 and 1"),
        ("idle", 1.5, "between 0 and 1"),
        ("noise-shaped", -0.1, "positive number of sigmas"),
        ("lora", 0, "integer of at least 1"),
        ("lora", 2.5, "integer of at least 1"),
        ("distill-stolen", 0.0, "finite and above 0"),
        ("distill", 0.0, "finite and above 0"),
        ("distill", float("inf"), "finite and above 0"),
        ("admm-prune", 0.5, "ratio 0.5 is not between 1 and"),
        ("admm-structured", 1e9, "out of reach"),
        ("admm-compress", float("nan"), "ratio nan is not between 1 and"),
        ("memristor", 0.0, "out of reach"),
        ("analog", -1.0, "read 0 or more seconds later"),
        ("analog", float("inf"), "read 0 or more seconds later"),
        ("overwrite", 0, "integer of at least 1"),
        ("permute", 1.1, "between 0 and 1"),
        ("rescale", 0.9, "at least 1"),
        ("rotate", 0.9, "at least 1"),
        ("rescale", float("inf"), "at least 1"),
        ("insert", 0.0, "above 0"),
        ("insert", float("nan"), "above 0"),
        ("overwrite", 1.5, "integer of at least 1"),
        ("targeted", 1.5, "between 0 and 1"),
        ("collude", 1, "integer of at least 2"),
        ("collude", 2, "needs 2 differently marked copies, not 1"),
    ],
)
def test_an_impossible_strength_is_refused_in_one_line(
    name: str, strength: float, why: str, model: nn.Module, context: AttackContext
) -> None:
    with pytest.raises(BadInput, match=why) as refusal:
        next(make_attack(name, "test").curve([model], [strength], context))
    assert "\n" not in str(refusal.value)
    if (name, strength) not in ON_THIS_MODEL:
        with pytest.raises(BadInput, match=name):
            make_attack(name, "test").check_strength(strength)


ON_THIS_MODEL = [
    ("admm-structured", 1e9),
    ("collude", 2),
    ("drop-blocks", 0.5),
]  # other models, or more copies, take them


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"name": "then", "first": PRUNE, "second": "cluster", "second_strength": 0}, "cluster: bits"),
        ({"name": "then", "first": "cluster", "second": "bn"}, "cluster: bits"),
        ({"name": "search", "attack": PRUNE, "mildest": 0.5, "hardest": 2}, "between 0 and 1, not 2"),
    ],
)
def test_an_attack_made_of_others_takes_what_they_take(spec: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        make_attack(spec, "test").check_strength(0.5)


def snapshots(
    name: str | Mapping[str, object], strengths: list[float], model: nn.Module, context: AttackContext
) -> list[Weights]:
    items = make_attack(name, "test").curve([model], strengths, context)
    return [{n: t.clone() for n, t in prunable_tensors(item.model).items()} for item in items]


def flat(tensors: Weights) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def test_noise_has_the_spread_asked_for_and_one_direction(model: nn.Module, context: AttackContext) -> None:
    before = prunable_tensors(model)
    zero, small, large = snapshots("noise", [0.0, 0.2, 0.8], model, context)
    assert torch.equal(flat(zero), flat(before))
    noise = flat(small) - flat(before)
    sigma, count = 0.2 * float(flat(before).std()), noise.numel()
    assert float(noise.std()) == pytest.approx(sigma, rel=4 / (2 * count) ** 0.5)
    assert abs(float(noise.mean())) < 4 * sigma / count**0.5
    assert torch.allclose(4 * noise, flat(large) - flat(before), atol=1e-6)


def test_noise_by_layer_follows_each_layers_own_spread(model: nn.Module, context: AttackContext) -> None:
    with torch.no_grad():
        model.get_parameter("conv1.weight").mul_(100)
    before = prunable_tensors(model)
    (noisy,) = snapshots({"name": "noise", "scope": "layer"}, [0.5], model, context)
    for name, tensor in before.items():
        spread = float((noisy[name] - tensor).std() / tensor.std())
        assert spread == pytest.approx(0.5, rel=4 / (2 * tensor.numel()) ** 0.5)
    (drowned,) = snapshots("noise", [0.5], model, context)
    assert float((drowned["fc.weight"] - before["fc.weight"]).std() / before["fc.weight"].std()) > 10


def test_only_noise_in_units_of_the_pool_names_its_law() -> None:
    assert make_attack("noise", "test").predicted(0.2) == ("noise", 0.2)
    assert make_attack({"name": "noise", "scope": "layer"}, "test").predicted(0.2) is None


@pytest.mark.parametrize("first", ["noise", "overwrite"])
def test_masks_that_an_attack_found_stay_zero(first: str, model: nn.Module, context: AttackContext) -> None:
    spec = {"name": "then", "first": PRUNE, "second": first, "second_strength": 4}
    (left,) = snapshots(spec, [0.05], model, context)  # four marks have 320 hosts, some of them pruned
    assert int((flat(left) == 0).sum()) == pruned_count(0.05, flat(left).numel())


@pytest.mark.parametrize("bits", [8, 6, 4, 3, 2])
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_quantisation_keeps_few_levels_and_errs_by_half_a_step_at_most(
    granularity: str, bits: int, model: nn.Module, context: AttackContext
) -> None:
    attack = make_attack({"name": "quantise", "granularity": granularity}, "test")
    item = next(attack.curve([model], [bits], context))
    assert item.achieved["bits"] == bits
    assert item.achieved["levels"] <= 2**bits - 1
    for name, tensor in prunable_tensors(model).items():
        rows = tensor.reshape(len(tensor) if granularity == "channel" else 1, -1)
        rounded = prunable_tensors(item.model)[name].reshape(rows.shape)
        assert max(len(row.unique()) for row in rounded) <= item.achieved["levels"]
        largest = rows.abs().amax(1, keepdim=True)
        assert torch.allclose(rounded.abs().amax(1, keepdim=True), largest)
        assert bool(((rounded - rows).abs() <= largest / (2 ** (bits - 1) - 1) * (0.5 + 1e-5)).all())


def test_quantisation_by_channel_errs_less_and_leaves_a_layer_of_zeros(
    model: nn.Module, context: AttackContext
) -> None:
    torch.nn.init.zeros_(model.get_parameter("conv2.weight"))
    changes = [
        next(make_attack({"name": "quantise", "granularity": g}, "test").curve([model], [3], context)).achieved
        for g in ("tensor", "channel")
    ]
    assert changes[1]["change"] < changes[0]["change"]
    assert changes[0]["layers"]["conv2.weight"] is None
    assert changes[0]["levels"] == 7


def test_quantisation_errs_less_with_every_bit(model: nn.Module, context: AttackContext) -> None:
    items = make_attack("quantise", "test").curve([model], [2, 3, 4, 6, 8], context)
    changes = [item.achieved["change"] for item in items]
    assert changes == sorted(changes, reverse=True)


def test_scaling_is_exact_and_touches_weights_only(model: nn.Module, context: AttackContext) -> None:
    item = next(make_attack("scale", "test").curve([model], [3.0], context))
    attacked = dict(item.model.named_parameters())
    scaled = set(prunable_tensors(model))
    for name, value in model.named_parameters():
        assert torch.equal(attacked[name], 3.0 * value if name in scaled else value)
    assert item.achieved["change"] == pytest.approx(4.0)


def test_change_of_lost_or_replaced_layers_does_not_count() -> None:
    before = {"a": torch.ones(2), "b": torch.ones(2), "c": torch.tensor([1.0, 1.0])}
    after = {"a": torch.zeros(2), "b": torch.zeros(3), "c": torch.tensor([1.0, float("nan")])}
    assert measure_change(before, after) == {"change": None, "layers": {"a": 1.0, "c": None}}


AIMED = ["prune-nm", "wanda", "sparsegpt", "svd", "drop-blocks", "split-layers", "idle", "noise-shaped"]


@pytest.mark.parametrize("name", [*AIMED, "gptq", "lora", "distill-stolen"])
def test_a_model_that_diverged_before_is_attacked_all_the_same(name: str, context: AttackContext) -> None:
    broken = residual_net()
    nn.init.constant_(broken.get_parameter("stages.0.1.conv1.weight"), float("nan"))
    strength = 0.5 if name in AIMED else 4
    item = next(make_attack(name, "test")(broken, [strength], context))
    assert json.dumps(item.achieved, allow_nan=False)
    assert item.achieved.get("diverged", True) is True


@pytest.mark.parametrize("name", ["wanda", "sparsegpt", "drop-blocks", "idle", "noise-shaped"])
def test_calibration_without_training_images_is_refused_in_one_line(
    name: str, model: nn.Module, context: AttackContext
) -> None:
    untaught = replace(context, data=load("photo-crops", size=16))
    assert not len(untaught.data.train)
    with pytest.raises(BadInput, match="has no training images, from which calibration takes some"):
        next(make_attack(name, "test")(model, [0.5], untaught))


@dataclass(frozen=True, kw_only=True)
class TrainedSigns(SignRepetition):
    """Signs that can only be embedded while training."""

    one_shot: ClassVar[bool] = False


def carries(model: nn.Module, host: str, number: int, context: AttackContext) -> bool:
    """Say whether a model carries the attacker's mark `number`, put into what has the digest `host`."""
    assert context.scheme is not None
    key, nonce, message = attacker_secret(context.seed, number, SCHEME.payload_bits)
    weights = as_weights(model)
    carrier = Carrier.choose(weights, SCHEME.carrier)
    found = SCHEME.bind(weights, message, key, EmbedContext(nonce=nonce), carrier=carrier)
    mark = replace(found, original=host).salted(key, message)
    return bool(np.array_equal(context.scheme.extract(weights, key, mark).bits, message))


@pytest.mark.parametrize(
    "scheme", [SCHEME, TrainedSigns(payload_bits=16, repetition=5)], ids=["one-shot", "trained"]
)
def test_overwriting_leaves_the_attackers_own_mark(
    scheme: SignRepetition, model: nn.Module, context: AttackContext
) -> None:
    item = next(make_attack("overwrite", "test").curve([model], [1], replace(context, scheme=scheme)))
    host = host_digest(as_weights(model))
    assert carries(item.model, host, 0, context)
    assert not carries(model, host, 0, context)
    assert not carries(item.model, host, 1, context)
    assert item.achieved["readable"] == item.achieved["marks"] == 1
    assert (item.cost.steps > 0) == (not scheme.one_shot)
    assert (item.cost.data_fraction == 1.0) == (not scheme.one_shot)


def test_more_marks_include_the_fewer_in_any_order_of_strengths(model: nn.Module, context: AttackContext) -> None:
    one, four, again = snapshots("overwrite", [1, 4, 1], model, context)
    (directly,) = snapshots("overwrite", [4], model, context)
    assert torch.equal(flat(one), flat(again))
    assert torch.equal(flat(four), flat(directly))
    item = next(make_attack("overwrite", "test").curve([copy.deepcopy(model)], [1], context))
    hosts = [host_digest(as_weights(host)) for host in (model, item.model)]
    item = next(make_attack("overwrite", "test").curve([model], [2], context))
    assert all(carries(item.model, host, number, context) for number, host in enumerate(hosts))


def test_overwriting_needs_the_encoding_and_a_host_that_can_carry_it(
    model: nn.Module, context: AttackContext
) -> None:
    attack = make_attack("overwrite", "test")
    with pytest.raises(BadInput, match="needs to know the encoding"):
        next(attack.curve([model], [1], replace(context, scheme=None)))
    with pytest.raises(BadInput, match="choose a larger carrier"):
        next(attack.curve([model], [1], replace(context, scheme=SignRepetition(payload_bits=4096))))


@dataclass(frozen=True, kw_only=True)
class Halving(Attack):
    """An attack that works, for others to break: each weight becomes a half of itself."""

    name: ClassVar[str] = "halve"
    strength: ClassVar[str] = "how often"

    by: float = 0.5

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        for tensor in prunable_tensors(model).values():
            tensor.mul_(self.by**strength)
        return Attacked(model, strength, {"by": self.by**strength}, {}, Cost(seconds=0.0))


@dataclass(frozen=True, kw_only=True)
class Nameless(Halving):
    """Has the name of what it derives from."""


@dataclass(frozen=True, kw_only=True)
class Lossy(Halving):
    """Leaves a parameter out of its JSON."""

    name: ClassVar[str] = "lossy"

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name}


@dataclass(frozen=True, kw_only=True)
class Choosy(Halving):
    """Takes no strength above 1."""

    name: ClassVar[str] = "choosy"

    def check_strength(self, strength: float) -> None:
        if strength > 1:
            raise BadInput(f"choosy: at most 1, not {strength:g}")


@dataclass(frozen=True, kw_only=True)
class Sorted(Halving):
    """Yields in an order of its own."""

    name: ClassVar[str] = "sorted"

    def curve(
        self, targets: Sequence[nn.Module], strengths: Sequence[float], context: AttackContext
    ) -> Iterator[Attacked]:
        return super().curve(targets, sorted(strengths, reverse=True), context)


@dataclass(frozen=True, kw_only=True)
class Greedy(Halving):
    """Attacks the model that it was given, and so each strength comes on top of the one before."""

    name: ClassVar[str] = "greedy"

    def curve(
        self, targets: Sequence[nn.Module], strengths: Sequence[float], context: AttackContext
    ) -> Iterator[Attacked]:
        for strength in strengths:
            yield self.apply(targets[0], strength, context)


@dataclass(frozen=True, kw_only=True)
class Heaping(Halving):
    """Leaves its target alone, and attacks what the strength before left."""

    name: ClassVar[str] = "heap"

    def curve(
        self, targets: Sequence[nn.Module], strengths: Sequence[float], context: AttackContext
    ) -> Iterator[Attacked]:
        model = copy.deepcopy(targets[0])
        for strength in strengths:
            yield self.apply(model, strength, context)


@dataclass(frozen=True, kw_only=True)
class Moody(Halving):
    """Draws from the global generator."""

    name: ClassVar[str] = "moody"

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        return replace(super().apply(model, strength + float(torch.rand(())), context), strength=strength)


@dataclass(frozen=True, kw_only=True)
class Endless(Halving):
    """Achieves what no JSON holds."""

    name: ClassVar[str] = "endless"

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        return replace(super().apply(model, strength, context), achieved={"change": float("inf")})


@dataclass(frozen=True, kw_only=True)
class Masked(Halving):
    """Says of weights that it holds them at zero, and does not."""

    name: ClassVar[str] = "masked"

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        masks = {"fc.weight": torch.zeros(10, 16, dtype=torch.bool)}
        return replace(super().apply(model, strength, context), masks=masks)


@dataclass(frozen=True, kw_only=True)
class Needy(Halving):
    """Takes the encoding, and does not say so."""

    name: ClassVar[str] = "needy"

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        if context.scheme is None:
            raise BadInput("needy: give AttackContext its scheme")
        return super().apply(model, strength, context)


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        (Nameless, "frozen dataclass with a name of its own .*: Nameless has no name of its own"),
        (Lossy(by=0.25), "survives JSON, .*: its JSON gives Lossy"),
        (Choosy, "check_strength takes each strength .*: it raised BadInput: choosy: at most 1, not 2"),
        (Sorted, r"one model a strength, in the order asked for': it yields models for \[2, 1\]"),
        (Greedy, "leaves its target alone': it changed conv1.weight"),
        (Heaping, "gives the same alone as in a curve': strength 2 alone"),
        (Moody, "repeats bit by bit': two runs at strength 1"),
        (Endless, "in finite numbers': it raised ValueError"),
        (Masked, "masks hold are zero': a weight of fc.weight"),
        (Needy, "says what it needs': it says that it needs nothing, and without a context refuses: needy"),
    ],
)
def test_an_attack_that_breaks_a_rule_is_told_which(attack: Attack | type[Attack], says: str) -> None:
    with pytest.raises(BrokenRule, match=says) as broken:
        check_attack(attack, [1, 2])
    assert str(broken.value).startswith("attack ")
    assert "at [1, 2] breaks the rule" in str(broken.value)


def test_an_attack_that_keeps_all_rules_passes() -> None:
    check_attack(Halving, [1, 2])
    with pytest.raises(BadInput, match="at one strength or more"):
        check_attack(Halving, [])
    assert len({rule.says for rule in ATTACK_RULES}) == len(ATTACK_RULES)
