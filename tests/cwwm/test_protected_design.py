"""Designs against what marking and attacking really do: predicted survival, energy, and refusals with a way out."""

import copy
import re

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from cwwm.codes import ProtectedCode
from cwwm.codes.survival import gaussian_quantile, gaussian_zeros, misread_under_noise
from cwwm.design import Design, Targets, design
from cwwm.design.protected import MOST_OF_POOL, fewest_blocks
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes import EmbedContext, Scheme, embed, make_scheme
from cwwm.support.errors import BadInput
from cwwm.weights.view import as_weights

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def pool() -> State:
    """Return 500,000 Gaussian weights in two layers of one scale."""
    generator = torch.Generator().manual_seed(0)
    return {
        "a.weight": torch.randn(800, 400, generator=generator) * 0.05,
        "b.weight": torch.randn(450, 400, generator=generator) * 0.05,
    }


def _marked(pool: State, found: Design, message: np.ndarray, key: Key, nonce: bytes) -> tuple[State, Scheme, Mark]:
    state = copy.deepcopy(pool)
    scheme = make_scheme("protected-cwc", {"payload_bits": len(message), **found.parameters})
    _, mark = embed(scheme, as_weights(state), message, key, EmbedContext(nonce=nonce))
    return state, scheme, mark


def _attacked(state: State, kind: str, strength: float, seed: int) -> State:
    generator = torch.Generator().manual_seed(seed)
    joined = torch.cat([value.flatten() for value in state.values()])
    if kind == "magnitude":
        joined = joined * (joined.abs() > joined.abs().kthvalue(round(strength * len(joined))).values)
    elif kind == "random":
        joined = joined * (torch.rand(len(joined), generator=generator) >= strength)
    else:
        joined = joined + strength * joined.std() * torch.randn(len(joined), generator=generator)
    parts = joined.split([value.numel() for value in state.values()])
    return {name: part.view(value.shape) for (name, value), part in zip(state.items(), parts, strict=True)}


@pytest.mark.parametrize("targets", [
    Targets(depth_energy=1.0),
    Targets(magnitude=0.9, random=0.3, noise=0.1, payload_bits=64),
    Targets(magnitude=0.95, random=0.1, noise=0.4, payload_bits=512, energy=0.01),
])  # fmt: skip
def test_a_design_meets_its_targets_at_the_energy_it_says(
    targets: Targets, pool: State, harness_key: Key, nonce: bytes
) -> None:
    found = design(as_weights(pool), ["all"], targets)
    assert found == sorted(found, key=lambda d: (d.energy, d.share))
    assert all(d.share <= MOST_OF_POOL and d.energy <= targets.energy for d in found)
    message = np.random.default_rng(1).integers(0, 2, targets.payload_bits).astype(np.uint8)
    for chosen in (found[0], found[-1]):
        state, scheme, mark = _marked(pool, chosen, message, harness_key, nonce)
        spent = mark.report["squared_change"] / sum(float(v.double().square().sum()) for v in pool.values())
        rare = chosen.blocks * chosen.block_weight  # ones, which cost most, and each by its own host
        assert spent == pytest.approx(chosen.energy, rel=0.05 + 2 / rare**0.5)
        for kind in ("magnitude", "random", "noise"):
            attacked = _attacked(state, kind, getattr(targets, kind), 3)
            read = scheme.extract(as_weights(attacked), harness_key, mark)
            assert read.ok, (kind, chosen)
            assert np.array_equal(read.bits, message)


def test_an_impossible_target_is_refused_with_the_nearest_that_can_be_met(pool: State) -> None:
    weights = as_weights(pool)
    with pytest.raises(BadInput, match="no protected code meets") as refusal:
        design(weights, ["b.weight", "all"], Targets(random=0.9))
    text = str(refusal.value)
    assert "carrier 'b.weight' (180,000 weights)" in text
    in_all = text.split("in carrier 'all'")[1]
    nearest = {name: float(value) for name, value in re.findall(r"(random|payload-bits) ([\d.]+)", in_all)}
    assert design(weights, ["all"], Targets(random=nearest["random"]))
    with pytest.raises(BadInput, match="no protected code"):
        design(weights, ["all"], Targets(random=min(0.89, nearest["random"] + 0.05)))


def test_a_carrier_without_room_is_passed_over(pool: State) -> None:
    assert design(as_weights(pool), ["b.weight", "all"], Targets(payload_bits=400))[0].carrier == "all"


@pytest.mark.parametrize(
    ("length", "weight", "payload"), [(256, 1, 256), (128, 1, 1024), (32, 2, 64), (16, 3, 500)]
)
def test_fewest_blocks_are_those_of_the_code(length: int, weight: int, payload: int) -> None:
    lost = 0.4
    found = fewest_blocks(length, weight, payload, 10_000, lost, 0.01)
    assert found is not None
    blocks, codewords, whole, _ = found
    code = ProtectedCode(payload_bits=payload, blocks=blocks, block_length=length, block_weight=weight)
    assert code.codewords == codewords
    rng = np.random.default_rng(0)
    losses = rng.random((20_000, blocks)) < lost
    per_codeword = [losses[:, i::codewords].sum(axis=1) for i in range(codewords)]
    room = [n - code.data_symbols for n in code.codeword_lengths]
    survived = np.all([c <= r for c, r in zip(per_codeword, room, strict=True)], axis=0).mean()
    assert whole >= 0.999
    assert survived == pytest.approx(whole, abs=0.001)
    assert fewest_blocks(length, weight, payload, blocks - 1, lost, 0.01) is None


@pytest.mark.parametrize(("length", "weight", "delta"), [(256, 1, 0.3), (256, 1, 0.5), (64, 2, 0.4), (32, 3, 0.6)])
def test_misreads_under_noise_follow_the_law(length: int, weight: int, delta: float) -> None:
    rng, trials = np.random.default_rng(2), 4000
    one, cut = gaussian_quantile(0.99), gaussian_quantile(0.9)
    zeros = np.minimum(np.abs(rng.standard_normal((trials, length - weight))), cut)
    noisy = np.abs(zeros + delta * rng.standard_normal(zeros.shape)).max(axis=1)
    ones = np.abs(one + delta * rng.standard_normal((trials, weight))).min(axis=1)
    law = misread_under_noise(gaussian_zeros(0.9), float(one), delta, length, weight)
    spread = np.sqrt(law * (1 - law) / trials)
    assert 0.01 < law < 0.99
    assert np.mean(ones < noisy) == pytest.approx(law, abs=3.3 * spread + 0.01)


def test_targets_are_read_from_text() -> None:
    assert Targets.parse("0.9") == Targets(magnitude=0.9)
    assert Targets.parse("random=0.5, noise=0.1") == Targets(random=0.5, noise=0.1)
    assert Targets.parse("", payload_bits=8) == Targets(payload_bits=8)


@pytest.mark.parametrize(("kind", "strength"), [("random", 0.7), ("random", 0.8)])
def test_messages_survive_as_often_as_the_law_says(
    kind: str, strength: float, pool: State, harness_key: Key, nonce: bytes
) -> None:
    scheme = make_scheme("protected-cwc", {"payload_bits": 64, "blocks": 54, "block_length": 64})
    state, trials = copy.deepcopy(pool), 150
    message = np.random.default_rng(1).integers(0, 2, 64).astype(np.uint8)
    _, mark = embed(scheme, as_weights(state), message, harness_key, EmbedContext(nonce=nonce))
    attacked = (_attacked(state, kind, strength, seed) for seed in range(trials))
    whole = sum(scheme.extract(as_weights(suspect), harness_key, mark).ok for suspect in attacked)
    law = scheme.survival(kind, strength)
    assert law is not None
    assert binom.cdf(whole, trials, law) > 0.0005
    assert binom.sf(whole - 1, trials, law) > 0.0005
