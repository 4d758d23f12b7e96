"""Outer codes in schemes: evidence without decoding, its bound by counting, and marks that the code alone saves."""

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from cwwm.codes import Bits
from cwwm.ownership.evidence import log10_bound_of_signs
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes import Claim, EmbedContext, Extraction, Scheme, embed, make_scheme, scheme_of
from cwwm.schemes.common.spreading import Spreading
from cwwm.testing import check_scheme
from cwwm.weights.view import as_weights

State = dict[str, Tensor]
K = 64
CASES: list[tuple[str, dict[str, Any]]] = [
    ("spread-spectrum", {}),
    ("spread-spectrum", {"outer": "polar"}),
    ("sign-erasure", {"survive": 0.5}),
    ("sign-erasure", {"survive": 0.5, "outer": "polar"}),
    ("sign-repetition", {"repetition": 3, "outer": "polar", "length": 256}),
    ("dm-qim", {"outer": "linear"}),
    ("fixed-weights", {"outer": "polar", "length": 256}),
]
coded = pytest.mark.parametrize(("name", "parameters"), CASES)


def _host(size: int = 40_000) -> State:
    return {"w.weight": torch.randn(size // 200, 200, generator=torch.Generator().manual_seed(1))}


def _message(bits: int = K) -> Bits:
    return np.random.default_rng(8).integers(0, 2, bits).astype(np.uint8)


def _marked(name: str, key: Key, nonce: bytes, **parameters: Any) -> tuple[Scheme, Mark, State]:  # noqa: ANN401
    scheme, state = make_scheme(name, {"payload_bits": K, **parameters}), _host()
    message = _message(scheme.payload_bits)
    return scheme, embed(scheme, as_weights(state), message, key, EmbedContext(nonce=nonce))[1], state


def _pruned(state: State, rate: float) -> State:
    lost = {
        name: torch.rand(t.shape, generator=torch.Generator().manual_seed(2)) < rate for name, t in state.items()
    }
    return {name: torch.where(lost[name], 0.0, t) for name, t in state.items()}


def _whole(found: Extraction, bits: int = K) -> bool:
    return found.ok and np.array_equal(found.bits, _message(bits))


@coded
def test_reading_alone_gives_the_evidence_and_overlap_of_an_extraction(
    name: str, parameters: dict[str, Any], harness_key: Key, nonce: bytes
) -> None:
    scheme, mark, state = _marked(name, harness_key, nonce, **parameters)
    assert scheme_of(mark) == scheme
    innocent = _host()
    for suspect in (state, _pruned(state, 0.4), innocent):
        for key in (harness_key, *(Key.for_harness(other=number) for number in range(4))):
            claim = Claim(key, mark, _message())
            extracted, read = (ask(as_weights(suspect), key, mark) for ask in (scheme.extract, scheme.read))
            assert not read.ok
            assert not read.bits.any()
            assert scheme.evidence(read, claim).log10_p == scheme.evidence(extracted, claim).log10_p
            assert scheme.overlap(read, claim) == scheme.overlap(extracted, claim)
            assert extracted.ok == _whole(extracted) == (key == harness_key and suspect is not innocent)


@pytest.mark.parametrize("outer", ["linear", "polar"])
def test_wrong_keys_are_not_decoded(
    outer: str, harness_key: Key, nonce: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme, mark, state = _marked("spread-spectrum", harness_key, nonce, outer=outer)
    expected = scheme.evidence(
        scheme.extract(as_weights(state), harness_key, mark), Claim(harness_key, mark, _message())
    )
    assert hasattr(scheme, "code")
    monkeypatch.setattr(type(scheme.code), "decode", None)  # whoever calls it fails
    found = scheme.evidence(scheme.read(as_weights(state), harness_key, mark), Claim(harness_key, mark, _message()))
    assert found.combined == expected.combined < -20


def test_the_default_code_leaves_marks_as_they_were() -> None:
    assert make_scheme("dm-qim", {}).parameters.keys() == {"payload_bits", "step", "repetition", "carrier"}
    assert make_scheme("spread-spectrum", {}).parameters.keys() == {
        "payload_bits", "length", "ratio", "gain", "carrier",
    }  # fmt: skip
    assert make_scheme("spread-spectrum", {"outer": "polar"}).parameters["outer"] == "polar"
    assert make_scheme("uchida", {}).parameters.keys() == {"payload_bits", "strength", "layer"}


def test_a_trained_projection_carries_a_codeword() -> None:
    check_scheme(make_scheme("uchida", {"payload_bits": K, "strength": 1.0, "outer": "polar", "length": 128}))


@pytest.mark.parametrize("shape", ["equal", "one large", "falling"])
def test_the_bound_on_sums_of_signs_holds_for_all_of_them(shape: str) -> None:
    terms = {"equal": np.ones(12), "one large": np.append(np.ones(11), 4.0), "falling": 0.7 ** np.arange(12)}[shape]
    signs = np.array(list(itertools.product((-1, 1), repeat=12)))
    sums = np.sort(signs @ (terms / np.linalg.norm(terms)))
    tails = 1 - np.arange(len(sums)) / len(sums)
    bounds = np.array([10 ** log10_bound_of_signs(value - 1e-12) for value in sums])
    assert (tails <= bounds + 1e-12).all()
    assert bounds[0] == 1.0  # a sum below zero says nothing


def test_the_correlation_of_spread_spectrum_is_that_of_the_weights(harness_key: Key, nonce: bytes) -> None:
    scheme, mark, state = _marked("spread-spectrum", harness_key, nonce, outer="polar", ratio=0.5)
    assert mark.carrier is not None
    length = make_scheme("spread-spectrum", {"payload_bits": K, "outer": "polar"}).default_length()  # type: ignore[attr-defined]
    spreading = Spreading.keyed(mark.streams(harness_key), mark.carrier.size, length)
    word = scheme.codeword(_message(), mark.streams(harness_key))  # type: ignore[attr-defined]
    weights: npt.NDArray[np.float64] = state["w.weight"].double().numpy().ravel()
    correlation = spreading.pattern(0, len(weights), word) @ weights
    expected = -(correlation**2) / (2 * np.sum(weights**2) * math.log(10))
    claim = Claim(harness_key, mark, _message())
    found = scheme.evidence(scheme.read(as_weights(state), harness_key, mark), claim)
    assert found.log10_p["correlation"] == pytest.approx(expected)


def test_polar_reads_and_proves_at_an_energy_at_which_the_linear_code_is_lost(
    harness_key: Key, nonce: bytes
) -> None:
    gain = math.sqrt(1500 / 40_000)  # SNR2 of 1,500 before, 750 and 225 after pruning
    recovered = {}
    for outer in ("linear", "polar"):
        scheme, mark, state = _marked(
            "spread-spectrum", harness_key, nonce, payload_bits=256, outer=outer, gain=gain, length=None
        )
        for rate in (0.5, 0.85):
            found = scheme.extract(as_weights(_pruned(state, rate)), harness_key, mark)
            recovered[outer, rate] = _whole(found, 256)
            claim = Claim(harness_key, mark, _message(256))
            if outer == "polar":
                assert scheme.evidence(found, claim).combined < -0.7 * (1 - rate) * 1500 / (2 * math.log(10))
    assert recovered == {
        ("linear", 0.5): False, ("linear", 0.85): False, ("polar", 0.5): True, ("polar", 0.85): False,
    }  # fmt: skip


def test_the_laws_of_both_codes_under_random_pruning() -> None:
    """Spread spectrum at ratio 0.7: SNR2 is 0.49 n (1 - R), 1,003 for polar of 256 bits and 282 for linear."""
    polar, linear = (
        make_scheme("spread-spectrum", {"payload_bits": 256, "ratio": 0.7, "outer": outer})
        for outer in ("polar", "linear")
    )
    law = [polar.survival("random", rate) for rate in (0.0, 0.4, 0.5, 0.6)]
    assert law[0] == pytest.approx(1.0, abs=1e-6)
    assert law == sorted(law, reverse=True)  # type: ignore[type-var]
    assert polar.survival("random", 1 - 538 / 1003.5) == pytest.approx(0.9, abs=0.05)  # as simulated
    assert linear.survival("random", 0.0) == pytest.approx(0.0, abs=1e-3)
