"""Detectability: clamped marks repeat values and are told from unmarked layers; unmarked pairs are not."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from torch import Tensor, nn

from bench.metrics.detectability import (
    FEATURES,
    auc_of,
    commonest,
    detectability,
    detectability_facts,
    exact_repeats,
    layer_features,
    summarise,
    two_sample_test,
)
from cwwm.ownership.keys import Key
from cwwm.schemes import EmbedContext, embed, make_scheme
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier
from cwwm.weights.view import as_weights

State = dict[str, Tensor]
HOSTS = 4


def host(seed: int) -> State:
    """Return 40,000 weights in three layers, float32: heavier tails and other scales from layer to layer."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"stem.weight": (40, 10, 5, 5), "block.weight": (100, 200), "head.weight": (100, 100)}
    scales = {"stem.weight": 0.1, "block.weight": 0.03, "head.weight": 0.06}
    return {
        name: scales[name] * torch.randn(shape, generator=generator) * (1 + 0.1 * seed)
        for name, shape in shapes.items()
    }


def marked(seed: int, **parameters: Any) -> tuple[State, State, Carrier]:  # noqa: ANN401 (any parameter)
    """Return a host really marked with 256 bits of cwc, the host as it was, and the carrier."""
    control, state = host(seed), host(seed)
    scheme = make_scheme("cwc", {"payload_bits": 256, **parameters})
    message = np.arange(256, dtype=np.uint8) % 2
    context = EmbedContext(nonce=bytes(range(16)))
    _, mark = embed(scheme, as_weights(state), message, Key.for_harness(seed=seed), context)
    assert mark.carrier is not None
    return state, control, mark.carrier


def unmarked(seed: int) -> tuple[State, State, Carrier]:
    """Return two hosts of one distribution, neither marked."""
    other = {name: tensor.flip(0) * 1.0001 + 1e-5 for name, tensor in host(seed).items()}
    return other, host(seed), Carrier.choose(as_weights(other), "all")


@given(st.lists(st.integers(-4, 4), max_size=40), st.integers(1, 5))
def test_repeats_are_the_magnitudes_found_elsewhere_again(values: list[int], chance: int) -> None:
    tensor = torch.tensor(values, dtype=torch.float32)
    counts = [[abs(v) for v in values].count(abs(value)) for value in values if value]
    assert exact_repeats(tensor, chance) == sum(count > chance for count in counts)
    assert commonest(tensor) == max(counts, default=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_repeats_are_counted_in_half_precision(dtype: torch.dtype) -> None:
    assert exact_repeats(torch.tensor([[0.5, -0.5], [0.25, 0.0]], dtype=dtype)) == 2


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.3])
def test_the_two_sample_test_agrees_with_scipy(shift: float) -> None:
    generator = torch.Generator().manual_seed(1)
    first = torch.randn(4000, generator=generator)
    second = (torch.randn(3000, generator=generator) + shift).mul(50).round() / 50  # ties
    distance, log10_p = two_sample_test(first, second)
    expected = ks_2samp(first.double().numpy(), second.double().numpy(), method="asymp")
    assert distance == pytest.approx(expected.statistic, abs=1e-12)
    assert log10_p == pytest.approx(math.log10(expected.pvalue), rel=0.03, abs=0.02)


def test_the_p_value_of_plainly_different_samples_does_not_underflow() -> None:
    distance, log10_p = two_sample_test(torch.zeros(100_000), torch.ones(100_000))
    assert distance == 1.0
    assert log10_p == pytest.approx(math.log10(2) - 2 * 50_000 / math.log(10))


def test_the_features_of_a_gaussian_layer_are_the_textbooks() -> None:
    features = dict(zip(FEATURES, layer_features(host(0)["stem.weight"]), strict=True))
    assert features["log10 of the standard deviation"] == pytest.approx(-1, abs=0.02)
    assert features["skewness"] == pytest.approx(0, abs=0.1)
    assert features["excess kurtosis"] == pytest.approx(0, abs=0.2)
    assert features["quantile 0.5 of |w| over the root mean square"] == pytest.approx(0.6745, abs=0.03)
    assert features["quantile 0.99 of |w| over the root mean square"] == pytest.approx(2.576, abs=0.1)
    assert features["share of zeros"] == 0


def test_only_the_first_feature_sees_the_scale() -> None:
    layer = host(0)["head.weight"]
    small, large = layer_features(layer), layer_features(4 * layer)
    assert large[1:] == small[1:]
    assert large[0] - small[0] == pytest.approx(math.log10(4), abs=1e-5)


def test_features_are_finite_whatever_the_layer() -> None:
    broken = torch.tensor([float("nan"), float("inf"), 1.0, 2.0])
    for layer in (torch.zeros(3, 3), torch.ones(3, 3), broken):
        assert len(layer_features(layer)) == len(FEATURES) == 12
        assert all(map(math.isfinite, layer_features(layer)))


def test_facts_of_a_clamped_mark_show_its_repeats_and_survive_json() -> None:
    facts = detectability_facts(*marked(0))
    assert facts["repeats"] > 200
    assert facts["ks_statistic"] > 0
    assert len(facts["marked_layers"]) == len(facts["control_layers"]) == 3
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_a_covert_mark_repeats_nothing() -> None:
    facts = detectability_facts(*marked(0, covert=True))
    assert facts["repeats"] == 0
    often = FEATURES.index("log2 of how often the commonest |w| occurs")
    assert all(row[often] <= math.log2(3) for row in facts["marked_layers"])


def test_an_identical_twin_shows_nothing() -> None:
    facts = detectability_facts(host(0), host(0), Carrier.choose(as_weights(host(0)), "all"))
    assert facts["repeats"] == facts["ks_statistic"] == facts["log10_p"] == 0
    assert auc_of([facts] * 3, range(3))[0] == 0.5


def test_clamped_marks_are_told_and_covert_ones_less() -> None:
    clamped = detectability([marked(seed) for seed in range(HOSTS)])
    covert = detectability([marked(seed, covert=True) for seed in range(HOSTS)])
    assert clamped.auc == 1.0
    assert clamped.auc_interval[0] > 0.7
    assert clamped.auc_interval[1] == 1.0
    assert covert.auc < clamped.auc
    assert clamped.repeats > 200 * HOSTS > 0 == covert.repeats


@pytest.mark.parametrize("start", [0, 10, 20])
def test_unmarked_pairs_are_not_told_apart(start: int) -> None:
    seen = detectability([unmarked(start + seed) for seed in range(HOSTS)])
    low, high = seen.auc_interval
    assert low <= 0.5 <= high
    assert low <= seen.auc <= high
    assert seen.log10_p > -3


def test_the_summary_counts_every_model_it_looked_at() -> None:
    facts = [detectability_facts(*marked(seed)) for seed in range(2)]
    two = summarise(facts, ["a", "b"])
    assert two.repeats == sum(f["repeats"] for f in facts)
    assert two.ks_statistic == max(f["ks_statistic"] for f in facts)
    smallest = min(f["log10_p"] for f in facts)
    assert two.log10_p == min(0.0, smallest + math.log10(2))


def test_models_of_one_host_are_left_out_together() -> None:
    facts = [detectability_facts(*marked(seed)) for seed in range(3)]
    with pytest.raises(BadInput, match="at least two hosts, not 1"):
        auc_of(facts, ["a", "a", "a"])
    assert auc_of(facts, ["a", "a", "b"])[0] == 1.0


def test_what_only_the_unmarked_twin_would_reveal_does_not_count() -> None:
    offsets = np.random.default_rng(0).normal(size=12)
    facts = [{"marked_layers": [[x + 1e-3]], "control_layers": [[x]]} for x in offsets]  # always above its twin
    area, low, high = auc_of(facts, range(12))
    assert low < 0.5 < high
    assert area < 0.6
    told = [{"marked_layers": [[x + 9]], "control_layers": [[x]]} for x in offsets]
    assert auc_of(told, range(12))[0] == 1.0


def _without_stem() -> State:
    return {name: tensor for name, tensor in host(0).items() if name != "stem.weight"}


def _wider_head() -> nn.Module:
    return nn.ModuleDict({"stem": nn.Conv2d(10, 40, 5), "block": nn.Linear(200, 100), "head": nn.Linear(7, 100)})


@pytest.mark.parametrize(
    ("control", "why"),
    [(_without_stem, "control model .* no tensor stem.weight"), (_wider_head, "head.weight has shape")],
)
def test_models_of_different_shape_are_refused(control: Callable[[], Any], why: str) -> None:
    state = host(0)
    with pytest.raises(BadInput, match=why):
        detectability_facts(state, control(), Carrier.choose(as_weights(state), "all"))
