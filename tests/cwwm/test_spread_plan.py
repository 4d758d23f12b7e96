"""What a spread mark stands by law, against real changes of a Gaussian host, and how `cwwm plan` shows it."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cwwm.design.spread import ALONE, CHANGES, FELT, MESSAGE, NOTHING, PROOF, plan_spread, said_blind
from cwwm.ownership.evidence import SUREST
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.readers import find_reader, view_of
from cwwm.residual.law import Change, LayerStrength, Pattern, averaged, blind, drift, noise, pruned, quantised
from cwwm.schemes import Claim, EmbedContext, Scheme, embed, make_scheme
from cwwm.schemes.common.spread import GAINS
from cwwm.weights.view import TensorWeights, as_weights
from tests.cwwm.owner_commands import as_json, said

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


@pytest.mark.parametrize("change", [*CHANGES.values(), quantised(2)])
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
