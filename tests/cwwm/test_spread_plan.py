"""What a spread mark stands by law, against real changes of a Gaussian host, and how `cwwm plan` shows it."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cwwm.design.spread import (
    ALONE,
    CHANGES,
    FELT,
    MESSAGE,
    NOTHING,
    PROOF,
    SpreadPlan,
    answers_kept,
    gain_for_targets,
    plan_spread,
    said_blind,
)
from cwwm.design.spread_targets import LEAST_GAIN, MOST_GAIN, Target, parse_targets
from cwwm.ownership.evidence import SUREST
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.readers import find_reader, view_of
from cwwm.residual.law import (
    Change,
    LayerStrength,
    Pattern,
    averaged,
    blind,
    drift,
    low_rank,
    noise,
    pruned,
    quantised,
)
from cwwm.residual.spectrum import Spectrum
from cwwm.schemes import Claim, EmbedContext, Scheme, embed, make_scheme
from cwwm.schemes.common.spread import GAINS
from cwwm.schemes.spread_cwc import SpreadConstantWeight
from cwwm.support.console import DONE
from cwwm.support.errors import BadInput
from cwwm.weights.view import TensorWeights, as_weights
from tests.cwwm.owner_commands import EMBED, as_json, run, said

State = dict[str, Tensor]
SHAPES = {"conv.weight": (64, 96, 3, 3), "wide.weight": (300, 512), "head.weight": (40, 300)}
POOL = sum(math.prod(shape) for shape in SHAPES.values())
BITS, GAIN = 64, 0.03


def _original() -> State:
    generator = torch.Generator().manual_seed(0)
    return {name: 0.05 * torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def _message() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.arange(BITS, dtype=np.uint8) % 2


def _scheme(gain: float = GAIN) -> Scheme:
    return make_scheme("spread-cwc", {"payload_bits": BITS, "gain": gain})


def _marked(copy: int = 0, gain: float = GAIN) -> tuple[State, Mark]:
    state, key = _original(), Key.for_harness(plan=copy)
    return state, embed(_scheme(gain), as_weights(state), _message(), key, EmbedContext(nonce=bytes(16)))[1]


def _pattern(mark: Mark, gain: float = GAIN) -> Pattern:
    assert mark.carrier is not None
    amplitudes = {name: gain * gamma for name, gamma in mark.state[GAINS].items()}
    return Pattern.of(TensorWeights(_original()), mark.carrier.layers, amplitudes)


def _measured(suspect: State, mark: Mark, reader: str) -> float:
    """Return SNR2: what Hoeffding's bound says of the correlation with the claimed word, in nats, twice."""
    scheme, key = _scheme(), Key.for_harness(plan=0)
    owned = TensorWeights(_original()) if reader == "informed" else None
    view = view_of(find_reader(reader), scheme, TensorWeights(suspect), key, mark, owned)
    found = scheme.evidence(view.reading(scheme, key, mark), Claim(key, mark, _message()))
    return -2 * math.log(10) * found.combined


def _with_noise(share: float) -> Callable[[Tensor], Tensor]:
    def noisy(weight: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(weight.numel())
        return weight + share * weight.std() * torch.randn(weight.shape, generator=generator)

    return noisy


def _by_magnitude(weight: Tensor) -> Tensor:
    return weight.masked_fill(weight.abs() <= weight.abs().flatten().kthvalue(int(0.9 * weight.numel())).values, 0)


def _at_random(weight: Tensor) -> Tensor:
    return weight.masked_fill(torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) < 0.5, 0)


def _rounded(weight: Tensor) -> Tensor:
    step = weight.abs().max() / 7
    return (weight / step).round() * step


REAL: Mapping[str, tuple[Change, Callable[[Tensor], Tensor]]] = {
    "magnitude": (pruned(0.9), _by_magnitude),
    "random": (pruned(0.5), _at_random),
    "noise": (noise(0.2), _with_noise(0.2)),
    "drift": (drift(0.4), _with_noise(0.4)),
    "4 bits": (quantised(4), _rounded),
}


@pytest.mark.parametrize("name", REAL)
def test_what_is_left_is_what_the_law_says(name: str) -> None:
    change, attack = REAL[name]
    state, mark = _marked()
    suspect = {layer: attack(weight) for layer, weight in state.items()}
    assert _measured(suspect, mark, "informed") == pytest.approx(_pattern(mark).after(change), rel=0.25)


@pytest.mark.parametrize("copies", [2, 4, 8])
def test_averages_leave_what_the_law_says(copies: int) -> None:
    state, mark = _marked()
    others = [_marked(copy)[0] for copy in range(1, copies)]
    suspect = {name: torch.stack([state[name], *(other[name] for other in others)]).mean(0) for name in state}
    assert _measured(suspect, mark, "informed") == pytest.approx(_pattern(mark).after(averaged(copies)), rel=0.25)


def test_blind_reading_is_reading_beside_the_whole_host() -> None:
    """The correlation is normal of variance one, so its square is met within three deviations."""
    state, mark = _marked(gain=0.06)
    law = math.sqrt(_pattern(mark, 0.06).after(blind))
    assert law == pytest.approx(0.06 * math.sqrt(POOL), rel=0.01)
    assert math.sqrt(_measured(state, mark, "blind")) == pytest.approx(law, abs=3)


FAMILIES: Mapping[str, tuple[Callable[[float], Change], list[float]]] = {
    "pruned": (pruned, [0.0, 0.5, 0.9, 0.99]),
    "noise": (noise, [0.0, 0.05, 0.2, 1.0]),
    "drift": (drift, [0.0, 0.05, 0.2, 1.0]),
    "averaged": (averaged, [1, 2, 4, 100]),
    "quantised": (quantised, [16, 8, 4, 3, 2]),
    "low rank": (low_rank, [0.0, 0.1, 0.5, 0.9]),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_harder_change_leaves_less_and_a_stronger_mark_more(family: str) -> None:
    law, strengths = FAMILIES[family]
    mark = _marked()[1]
    left = [_pattern(mark).after(law(strength)) for strength in strengths]
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1] > 0
    assert left[0] <= POOL * (1 + 1e-9)
    stronger = [_pattern(mark, 2 * GAIN).after(law(strength)) for strength in strengths]
    assert all(more >= less for more, less in zip(stronger, left, strict=True))


@pytest.mark.parametrize("change", [*CHANGES.values(), quantised(2), low_rank(0.5)])
def test_layers_of_zeros_and_noise_without_end_leave_nothing(change: Change) -> None:
    carrier = _marked()[1].carrier
    assert carrier is not None
    zeros = TensorWeights({name: torch.zeros(shape) for name, shape in SHAPES.items()})
    assert Pattern.of(zeros, carrier.layers, dict.fromkeys(SHAPES, GAIN)).after(change) == 0
    assert noise(math.inf)(LayerStrength(100, 0.01, 1.0, 4.0)) == 0


def test_the_plan_takes_what_answers_allow_and_less_where_nobody_asked() -> None:
    weights = TensorWeights(_original())
    alone = plan_spread(weights, BITS)
    assert (alone.gain, alone.pool, alone.felt) == (ALONE, POOL, None)
    felt = dict.fromkeys(SHAPES, 0.5)
    asked = plan_spread(weights, BITS, sensitivity=felt)
    assert asked.felt == pytest.approx(FELT)
    assert asked.gain > alone.gain
    twice = plan_spread(weights, BITS, sensitivity=dict.fromkeys(SHAPES, 2.0))
    assert twice.gain == pytest.approx(asked.gain / 2)
    assert plan_spread(weights, BITS, gain=0.01, sensitivity=felt).felt == pytest.approx(0.01**2 * 0.5 * _unit())
    assert all(less.snr2 <= more.snr2 for less, more in zip(alone.stands, asked.stands, strict=True))


def _unit() -> float:
    """Return the sum of gamma^2 over the layers where all feel alike."""
    return sum(float(gamma) ** 2 for gamma in _marked()[1].state[GAINS].values())


@pytest.mark.parametrize(("gain", "says"), [(0.001, NOTHING), (0.025, PROOF), (0.1, MESSAGE)])
def test_the_law_tells_what_a_mark_says_without_the_original(gain: float, says: str) -> None:
    state, mark = _marked(gain=gain)
    assert said_blind(_scheme(gain), mark) == says
    log10_p = -_measured(state, mark, "blind") / (2 * math.log(10))
    assert (log10_p < -12) == (says != NOTHING)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_file(_original(), "model.safetensors", {"format": "pt"})
    return tmp_path


def test_plan_shows_each_change_and_the_command_that_follows(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(capsys, "plan", "model.safetensors", "--payload-bits", str(BITS))
    rows = {line[: line.rindex(name) + len(name)].strip(): line for line in out.splitlines() for name in CHANGES
            if line.strip().startswith(name)}  # fmt: skip
    assert set(rows) == set(CHANGES)
    assert rows["nothing, but read without the original"].split()[-2] == "0.000"
    assert f"{BITS} bits in {POOL:,} weights (carrier wide) at gain {ALONE:g}, by law" in " ".join(out.split())
    assert "what the answers feel was not measured" in out
    assert f"embed with: --payload-bits {BITS} --carrier 'wide' --set gain={ALONE:g}" in out


def test_plan_says_the_same_in_json(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = ("plan", "model.safetensors", "--payload-bits", str(BITS))
    found = as_json(capsys, *plan)
    assert (found["gain"], found["pool"], found["felt"]) == (ALONE, POOL, None)
    assert [stand["change"] for stand in found["stands"]] == list(CHANGES)
    assert all(set(stand) == {"change", "snr2", "recovered", "log10_p"} for stand in found["stands"])
    assert all(0 <= stand["recovered"] <= 1 and SUREST <= stand["log10_p"] <= 0 for stand in found["stands"])
    strong = as_json(capsys, *plan, "--gain", "0.1")
    assert strong["gain"] == 0.1
    assert strong["stands"][-1]["recovered"] > 0.99 > found["stands"][-1]["recovered"]


def _truncated(share: float) -> Callable[[Tensor], Tensor]:
    def truncated(weight: Tensor) -> Tensor:
        left, values, right = torch.linalg.svd(weight.flatten(1).double(), full_matrices=False)
        values[max(1, round((1 - share) * len(values))) :] = 0
        kept: Tensor = (left * values) @ right
        return kept.view_as(weight).float()

    return truncated


def test_a_spectrum_says_what_lower_ranks_lose_and_keep() -> None:
    state = _original() | {"line.weight": torch.outer(torch.arange(1.0, 9), torch.arange(1.0, 33))}
    state["tall.weight"] = state["wide.weight"].T.contiguous()
    weights = TensorWeights(state)
    for name, weight in state.items():
        for share in (0.0, 0.3, 0.5, 0.9, 0.999):
            spectrum, left = Spectrum(weights, name), _truncated(share)(weight)
            lost = float((left - weight).square().sum() / weight.square().sum())
            assert spectrum.lost(share) == pytest.approx(lost, rel=1e-4, abs=1e-9)
    assert Spectrum(weights, "wide.weight").kept(0.5) == pytest.approx(1 - 0.5 * (1 - 150 / 512))
    assert Spectrum(weights, "conv.weight").kept(0) == 1
    for vector in (torch.ones(7), torch.tensor(2.0)):
        spectrum = Spectrum(TensorWeights({"a": vector}), "a")
        assert (spectrum.lost(0.9), spectrum.kept(0.9)) == (0, 1)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("gain", [0.03, 0.1])
def test_low_rank_leaves_no_less_than_the_law_says(share: float, gain: float) -> None:
    """On a Gaussian host, where as much as possible lies in each direction that is dropped."""
    state, mark = _marked(gain=gain)
    suspect = {name: _truncated(share)(weight) for name, weight in state.items()}
    law = _pattern(mark, gain).after(low_rank(share))
    assert law > 20
    assert _measured(suspect, mark, "informed") > law


def test_of_a_layer_of_unknown_spectrum_nothing_is_counted() -> None:
    assert low_rank(0.0)(LayerStrength(100, 0.01, 1.0, 4.0)) == 0


def _planned(*targets: str, gain: float | None = None, felt: Mapping[str, float] | None = None) -> SpreadPlan:
    stated = parse_targets(",".join(targets))
    return plan_spread(TensorWeights(_original()), BITS, gain=gain, sensitivity=felt, targets=stated)


def _recovered(target: str, gain: float) -> float:
    return _planned(target, gain=gain).targets[0].recovered


#: targets that take a gain between the least and the most, each harder than the one before
HARDER = {
    "drift": ["drift=0.05", "drift=0.2", "drift=0.5"],
    "noise": ["noise=0.05", "noise=0.2", "noise=0.5"],
    "low-rank": ["low-rank=0.1", "low-rank=0.3", "low-rank=0.5"],
    "quantise": ["quantise=5", "quantise=4", "quantise=2"],
    "blind": ["blind=1"],
}


@pytest.mark.parametrize("kind", HARDER)
def test_the_least_gain_meets_its_target_and_no_smaller_one_does(kind: str) -> None:
    gains = [_planned(target).gain for target in HARDER[kind]]
    assert gains == sorted(set(gains))
    for target, gain in zip(HARDER[kind], gains, strict=True):
        assert LEAST_GAIN < gain < MOST_GAIN
        assert _recovered(target, gain) >= 0.99 > _recovered(target, 0.99 * gain)


def test_a_plan_meets_each_target_by_the_gain_of_the_strictest() -> None:
    targets = ("drift=0.2", "low-rank=0.5", "quantise=4", "magnitude=0.9", "random=0.5", "average=4")
    found = _planned(*targets)
    alone = {target: _planned(target).gain for target in targets}
    assert [(target.change, target.least_gain) for target in found.targets] == list(alone.items())
    assert found.gain == max(alone.values())
    assert not found.missed
    assert [target.change for target in found.dear_targets] == ["low-rank=0.5", "drift=0.2"]
    assert alone["average=4"] == alone["magnitude=0.9"] == LEAST_GAIN  # what is left is whole
    assert _planned(*targets, gain=ALONE).missed == _planned("drift=0.2", "low-rank=0.5", gain=ALONE).missed != []


REAL_TARGETS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "drift=0.3": _with_noise(0.3),
    "low-rank=0.5": _truncated(0.5),
    "low-rank=0.75": _truncated(0.75),
    "magnitude=0.9": _by_magnitude,
    "random=0.5": _at_random,
    "quantise=4": _rounded,
}


@pytest.mark.parametrize("target", REAL_TARGETS)
def test_a_mark_of_the_planned_gain_survives_the_real_change(target: str) -> None:
    gain = _planned(target).gain
    state, mark = _marked(gain=gain)
    suspect = TensorWeights({name: REAL_TARGETS[target](weight) for name, weight in state.items()})
    key = Key.for_harness(plan=0)
    view = view_of(find_reader("informed"), _scheme(gain), suspect, key, mark, TensorWeights(_original()))
    found = view.extraction(_scheme(gain), key, mark)
    assert found.ok
    assert np.array_equal(found.bits, _message())


def test_answers_kept_fall_with_the_root_of_what_is_felt() -> None:
    """Against leads and gains drawn at random, that is without the law."""
    draw = np.random.default_rng(0)
    leads = draw.exponential(1.0, 400_000)
    changed = [float(np.mean(draw.normal(0, math.sqrt(felt), len(leads)) > leads)) for felt in (FELT, 16 * FELT)]
    assert changed[1] / changed[0] == pytest.approx(4, rel=0.1)
    assert (1 - answers_kept(16 * FELT)) / (1 - answers_kept(FELT)) == pytest.approx(4)
    assert (answers_kept(0.0), answers_kept(FELT), answers_kept(10.0)) == (1.0, 0.98, 0.0)


def test_what_costs_more_than_the_default_is_the_owner_s_choice() -> None:
    weights, scheme = TensorWeights(_original()), _scheme()
    assert isinstance(scheme, SpreadConstantWeight)
    felt = dict.fromkeys(SHAPES, 0.5)
    dear = _planned("low-rank=0.75", "drift=0.02", felt=felt)
    assert dear.kept is not None
    assert dear.kept == answers_kept(dear.felt or 0) < 0.98
    with pytest.raises(
        BadInput, match=rf"low-rank=0.75 .* {dear.gain:g}: .* {dear.kept:.1%} of the .*gain={dear.gain:g}"
    ):
        gain_for_targets(weights, scheme, [Target("low-rank", 0.75)], sensitivity=felt)
    chosen = gain_for_targets(weights, scheme, [Target("low-rank", 0.75)], gain=dear.gain, sensitivity=felt)
    assert chosen == dear.gain
    with pytest.raises(BadInput, match=r"does not meet low-rank=0\.75"):
        gain_for_targets(weights, scheme, [Target("low-rank", 0.75)], gain=0.99 * dear.gain, sensitivity=felt)
    cheap = gain_for_targets(weights, scheme, [Target("drift", 0.02)], sensitivity=felt)
    assert cheap == _planned("drift=0.02", felt=felt).gain < dear.allowed


UNMET = {
    "random=0.9999": (0.9999, 0.99),
    "noise=40": (40.0, 1.0),
    "average=9000": (9000.0, 500.0),
    "low-rank=0.98": (0.98, 0.5),
}


@pytest.mark.parametrize("target", UNMET)
def test_a_target_that_no_gain_meets_names_the_nearest_that_one_does(target: str) -> None:
    with pytest.raises(BadInput, match=f"{target}: nearest is ") as refusal:
        _planned(target)
    nearest = str(refusal.value).rpartition("nearest is ")[2]
    high, low = UNMET[target]
    assert high > float(nearest.partition("=")[2]) > low
    assert _planned(nearest).gain <= MOST_GAIN


def test_where_nothing_is_near_a_larger_carrier_is_named() -> None:
    with pytest.raises(BadInput, match=r"blind=1: nothing near; take a larger carrier"):
        plan_spread(TensorWeights({"a.weight": _original()["head.weight"]}), BITS, targets=parse_targets("blind=1"))


def test_stated_targets_lead_the_table_and_the_price_is_told(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ("plan", "model.safetensors", "--payload-bits", str(BITS), "--survive")
    out = said(capsys, *plan, "drift=0.3,low-rank=0.1")
    rows = [line.split()[0] for line in out.splitlines() if line.strip()]
    first = rows.index("after")
    assert rows[first + 1 : first + 4] == ["drift=0.3", "low-rank=0.1", "pruning,"]
    gain = _planned("drift=0.3").gain
    assert f"drift=0.3 alone asks for {gain:g}" in out
    assert f"--set gain={gain:g}" in out
    found = as_json(capsys, *plan, "drift=0.3,low-rank=0.1")
    assert (found["gain"], found["kept"], found["targets"][0]["least_gain"]) == (gain, None, gain)
    assert "taken by default stands more" in said(capsys, *plan, "0.9")
    assert "does not meet drift=0.3" in said(capsys, *plan, "drift=0.3", "--gain", "0.001")


def test_embed_takes_the_gain_of_its_targets(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("keygen", "-o", "owner.key") == DONE
    mark = (*EMBED, "--payload-bits", "96", "--force", "--survive")
    assert as_json(capsys, *mark, "drift=0.05")["report"]["relative_gain"] < ALONE
    chosen = as_json(capsys, *mark, "drift=0.3", "--set", "gain=0.02")
    assert chosen["report"]["relative_gain"] == 0.02
