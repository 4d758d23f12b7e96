"""Analog cells return the weights but for the noise of the fit, age by one draw, and leave the generator alone."""

import copy
import importlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.attacks import AttackContext, Attacked
from bench.attacks.compression.analog import DEVICES, Analog, Chip
from bench.attacks.pruning import MagnitudePruning, prunable_tensors
from cwwm.support.errors import BadInput, EnvironmentFault

HOUR, DAY, YEAR = 3600.0, 86400.0, 3.15e7
READ_AT = {"pcm": (0, HOUR, YEAR), "pcm-hermes": (0, HOUR, YEAR), "reram-wan": (1, DAY), "reram-cmo": (0, 1, YEAR)}


def library(module: str) -> Any:  # noqa: ANN401 (an untyped module)
    """Return a module of the library, which tests do without where it is not installed."""
    return pytest.importorskip(f"aihwkit.inference.{module}")


def attacked(attack: Analog, model: nn.Module, seconds: float, context: AttackContext) -> Attacked:
    library("noise.pcm")
    return attack.apply(copy.deepcopy(model), seconds, context)


def flat(model: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in prunable_tensors(model).values()])


def pcm(**scales: float) -> Chip:
    """Return phase-change cells, uncompensated, with some of their noise turned off."""
    noise = library("noise.pcm").PCMLikeNoiseModel(**scales)
    return Chip("aihwkit", noise, noise.g_converter, None)


def aged(chip: Chip, weights: Tensor, times: Sequence[float]) -> list[Tensor]:
    read = []
    for seconds in times:
        torch.manual_seed(3)
        read.append(chip.deploy(weights, weights != 0, seconds)[0])
    return read


@given(st.lists(st.floats(-8, 8, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3), min_size=2, max_size=20))
@settings(max_examples=30, deadline=None)
def test_without_noise_the_weights_come_back(values: list[float]) -> None:
    weights = torch.tensor(values)
    chip = pcm(prog_noise_scale=0.0, read_noise_scale=0.0, drift_scale=0.0)
    for read in aged(chip, weights, (0, YEAR)):
        assert torch.allclose(read, weights, rtol=0, atol=1e-6 * max(map(abs, values)))


def test_all_times_share_the_programming() -> None:
    weights = torch.linspace(-1, 1, 999)
    first, *later = aged(pcm(read_noise_scale=0.0, drift_scale=0.0), weights, (0, 1, YEAR))
    assert not torch.allclose(first, weights, atol=1e-3)
    assert all(torch.equal(first, read) for read in later)


def test_a_quarter_of_all_zeros_is_programmed_as_zeros() -> None:
    weights = torch.zeros(40_000)
    weights[0] = 1.0
    (read,) = aged(pcm(read_noise_scale=0.0), weights, (0,))
    assert float((read == 0).float().mean()) == pytest.approx(0.25, abs=0.01)  # both cells cut off at g_min = 0
    assert float(read[read > 0].mean()) == pytest.approx(-float(read[read < 0].mean()), rel=0.05)


def test_all_times_share_the_drift_coefficients() -> None:
    weights = torch.linspace(-1, 1, 1000)
    hour, year = aged(pcm(prog_noise_scale=0.0, read_noise_scale=0.0), weights, (HOUR, YEAR))
    exponents = [-(w / weights).log() / math.log(t / 20 + 1) for w, t in ((hour, HOUR), (year, YEAR))]
    assert torch.allclose(exponents[0], exponents[1], atol=1e-5)
    assert float(exponents[0].mean()) == pytest.approx(0.055, abs=0.01)  # 0.049 to 0.1 by the fit
    assert float(exponents[0].std()) > 0.005


@pytest.mark.parametrize("device", DEVICES)
def test_an_attack_repeats_by_seed_and_leaves_the_global_generator(
    device: str, model: nn.Module, attacker: AttackContext
) -> None:
    attack = Analog(device=device)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = [flat(attacked(attack, model, t, attacker).model) for t in READ_AT[device]]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    backwards = [flat(attacked(attack, model, t, attacker).model) for t in reversed(READ_AT[device])]
    assert all(torch.equal(one, other) for one, other in zip(first, reversed(backwards), strict=True))
    assert not torch.equal(
        first[0], flat(attacked(attack, model, READ_AT[device][0], replace(attacker, seed=8)).model)
    )


@pytest.mark.parametrize("device", DEVICES)
def test_the_record_says_what_was_done_and_time_makes_it_worse(
    device: str, model: nn.Module, attacker: AttackContext
) -> None:
    items = [attacked(Analog(device=device), model, t, attacker) for t in READ_AT[device]]
    for item in items:
        error = float((flat(item.model) - flat(model)).norm() / flat(model).norm())
        assert item.achieved["relative_error"] == pytest.approx(error, rel=1e-4)
        assert item.achieved["device"] == device
        assert item.achieved["library"].startswith("aihwkit ")
        assert set(item.achieved["compensation"]) == set(item.achieved["layers"]) == set(prunable_tensors(model))
        assert json.dumps(item.achieved, allow_nan=False)
    errors = [item.achieved["relative_error"] for item in items]
    assert errors == sorted(errors)
    assert 0 < errors[0] < errors[-1] < 1


def test_phase_change_cells_fade_and_compensation_brings_the_magnitude_back(
    model: nn.Module, attacker: AttackContext
) -> None:
    times = (0, 1, HOUR, DAY, YEAR)
    plain = [attacked(Analog(compensate=False), model, t, attacker) for t in times]
    mended = [attacked(Analog(), model, t, attacker) for t in times]
    magnitudes = [float(flat(item.model).abs().mean()) for item in plain]
    assert magnitudes == sorted(magnitudes, reverse=True)
    assert magnitudes[-1] < 0.6 * magnitudes[0]
    for name, tensor in prunable_tensors(mended[-1].model).items():
        factor = mended[-1].achieved["compensation"][name]
        assert factor > 1.5
        assert torch.allclose(tensor, factor * prunable_tensors(plain[-1].model)[name], rtol=1e-5)
        assert float(tensor.abs().mean()) == pytest.approx(
            float(prunable_tensors(mended[0].model)[name].abs().mean()), rel=0.02
        )
    assert mended[-1].achieved["change"] < plain[-1].achieved["change"]
    assert set(plain[-1].achieved["compensation"].values()) == {1.0}


@pytest.mark.parametrize("power", [-6, 3])
def test_noise_is_in_units_of_each_layers_largest_weight(
    power: int, model: nn.Module, attacker: AttackContext
) -> None:
    plain = attacked(Analog(), model, HOUR, attacker)
    with torch.no_grad():
        model.get_parameter("fc1.weight").mul_(2.0**power)  # exact
    scaled = attacked(Analog(), model, HOUR, attacker)
    for name, tensor in prunable_tensors(scaled.model).items():
        factor = 2.0**power if name == "fc1.weight" else 1.0
        assert torch.equal(tensor, prunable_tensors(plain.model)[name] * factor)


def test_wan_cells_have_the_spread_that_was_published(model: nn.Module, attacker: AttackContext) -> None:
    with torch.no_grad():
        model.get_parameter("fc1.weight").fill_(0.5)[0, 0] = 1.0
    item = attacked(Analog(device="reram-wan", compensate=False), model, DAY, attacker)
    read = prunable_tensors(item.model)["fc1.weight"].flatten()[1:] * 40  # microsiemens
    half = sum(c * 0.5**i for i, c in enumerate((0.701, 22.086, -50.773, 47.095, -16.458)))
    other = 0.701 * math.sqrt(0.5 - 0.5 / math.pi)  # a normal at g_min = 0, cut off below
    assert float(read.std()) == pytest.approx(math.hypot(half, other), rel=4 / math.sqrt(2 * read.numel()))


def test_zeros_are_pairs_that_have_noise_unless_a_mask_switches_them_off(
    model: nn.Module, attacker: AttackContext
) -> None:
    pruned = next(MagnitudePruning(ranking="layer").curve([model], [0.9], attacker))
    loose = attacked(Analog(), pruned.model, DAY, attacker)
    zeros = flat(pruned.model) == 0
    assert 0.25 < float((flat(loose.model)[zeros] == 0).float().mean()) < 0.5  # read noise cuts off some more
    held = attacked(Analog(), pruned.model, DAY, replace(attacker, masks=pruned.masks))
    assert not flat(held.model)[zeros].any()
    assert held.masks == pruned.masks
    for name, tensor in prunable_tensors(held.model).items():
        kept = pruned.masks[name]
        factors = [item.achieved["compensation"][name] for item in (held, loose)]
        assert factors[0] != factors[1]
        assert torch.allclose(
            tensor[kept] / factors[0], prunable_tensors(loose.model)[name][kept] / factors[1], rtol=1e-5
        )


def test_relaxing_cells_lose_small_weights_only(model: nn.Module, attacker: AttackContext) -> None:
    attack = Analog(device="reram-cmo", compensate=False)
    fresh, old = (attacked(attack, model, t, attacker) for t in (0, YEAR))
    assert fresh.achieved["relative_error"] < 0.01
    assert old.achieved["relative_error"] > 10 * fresh.achieved["relative_error"]
    weights = prunable_tensors(model)["fc1.weight"].abs()
    lost = prunable_tensors(old.model)["fc1.weight"] == 0  # both cells of a pair at g_min
    assert not lost[weights > 0.2 * weights.max()].any()
    assert float(lost[weights < 0.01 * weights.max()].float().mean()) > 0.2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_come_back_in_their_own_dtype(
    dtype: torch.dtype, model: nn.Module, attacker: AttackContext
) -> None:
    model.to(dtype)
    expected = flat(attacked(Analog(), copy.deepcopy(model).float(), HOUR, attacker).model)
    read = flat(attacked(Analog(), model, HOUR, attacker).model)
    assert read.dtype == dtype
    assert torch.equal(read, expected.to(dtype))


@pytest.mark.parametrize(
    ("device", "seconds", "why"),
    [
        ("pcm", -1.0, "'pcm' is read 0 or more seconds later, not -1"),
        ("pcm-hermes", math.nan, "0 or more seconds later, not nan"),
        ("reram-cmo", 0.5, "'reram-cmo' is read 0 or at least 1 seconds later, not 0.5"),
        ("reram-wan", HOUR, "'reram-wan' is fitted at 1, 86400, 172800 seconds only, not at 3600"),
        ("reram-wan", 0, "fitted at 1, 86400, 172800 seconds only, not at 0"),
    ],
)
def test_a_time_without_a_fit_is_refused_in_one_line(
    device: str, seconds: float, why: str, model: nn.Module, attacker: AttackContext
) -> None:
    with pytest.raises(BadInput, match=why) as refusal:
        attacked(Analog(device=device), model, seconds, attacker)
    assert "\n" not in str(refusal.value)


def test_without_the_library_the_message_says_what_to_install(
    model: nn.Module, attacker: AttackContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "aihwkit", None)
    with pytest.raises(EnvironmentFault, match=r"pip install 'aihwkit>=1\.0'.*source archive") as refusal:
        Analog().apply(model, HOUR, attacker)
    assert "\n" not in str(refusal.value)


def test_a_library_from_before_a_device_is_refused(
    model: nn.Module, attacker: AttackContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    library("noise.reram")
    monkeypatch.delattr(importlib.import_module("aihwkit.inference.noise.reram"), "ReRamCMONoiseModel")
    with pytest.raises(BadInput, match=r"pip install 'aihwkit>=1\.0'"):
        Analog(device="reram-cmo").apply(model, HOUR, attacker)
