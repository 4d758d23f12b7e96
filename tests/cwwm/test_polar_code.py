"""Laws of the polar code: round trip, the list against brute force and plain cancellation, erasures, the check."""

import hashlib
from functools import cache, reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from cwwm.codes import Bits, Check, Decoded
from cwwm.codes.finite_length import best_success, capacity_and_dispersion, snr_needed
from cwwm.codes.polar import PolarCode, default_length, length_for_erasures, transform
from cwwm.codes.polar_design import _check_node, information_set
from cwwm.codes.polar_list import decode_list, integers
from cwwm.ownership.keys import Key
from cwwm.schemes.common.keyed import keyed_check
from cwwm.support.errors import BadInput

NONCE = bytes(16)
Reals = npt.NDArray[np.float64]
SMALL = PolarCode(payload_bits=64, length=512)


@cache
def _check(bits: int, number: int = 0) -> Check:
    return keyed_check(Key.for_harness(polar=number).choices(NONCE), bits)


def _words(code: PolarCode, count: int, seed: int = 0, number: int = 0) -> tuple[Bits, npt.NDArray[np.bool_]]:
    bits = np.random.default_rng(seed).integers(0, 2, (count, code.payload_bits)).astype(np.uint8)
    return bits, np.array([code.encode(one, _check(code.check_bits, number)) for one in bits])


def _noisy(words: npt.NDArray[np.bool_], snr: float, seed: int = 1) -> Reals:
    noise = np.random.default_rng(seed).standard_normal(words.shape)
    return (2.0 * words - 1.0) * np.sqrt(snr / words.shape[1]) + noise


def _decoded(code: PolarCode, values: Any, number: int = 0) -> list[Decoded]:  # noqa: ANN401 (array or tensor)
    return code.decode_many(values, [_check(code.check_bits, number)] * len(values))


def _same(one: Decoded, other: Decoded) -> bool:
    facts = [(d.ok, d.erased, d.corrected, d.candidates) for d in (one, other)]
    return facts[0] == facts[1] and np.array_equal(one.bits, other.bits)


@settings(max_examples=40)
@given(st.integers(1, 300), st.integers(1, 32), st.integers(0, 3), st.integers(0, 2**32))
def test_round_trip_of_any_size_and_scale(payload: int, check_bits: int, longer: int, seed: int) -> None:
    length = 1 << (payload + check_bits - 1).bit_length() + longer
    code = PolarCode(payload_bits=payload, length=length, check_bits=check_bits, paths=4)
    bits, words = _words(code, 1, seed)
    draw = np.random.default_rng(seed)
    values = (2.0 * words - 1.0) * draw.exponential(10.0 ** draw.integers(-30, 30), length)
    found = code.decode(values[0], _check(check_bits))
    assert found.ok
    assert np.array_equal(found.bits, bits[0])
    assert (found.corrected, found.candidates) == (0, 1)


def test_words_are_linear_and_the_transform_is_the_kronecker_power() -> None:
    draw = np.random.default_rng(0)
    one, other = draw.integers(0, 2, (2, SMALL.information)).astype(np.uint8)
    assert np.array_equal(SMALL.word(one) ^ SMALL.word(other), SMALL.word(one ^ other))
    power = reduce(np.kron, [np.array([[1, 0], [1, 1]])] * 5)
    bits = draw.integers(0, 2, (7, 32)).astype(np.uint8)
    assert np.array_equal(transform(bits), bits @ power % 2)
    assert np.array_equal(transform(transform(bits)), bits)


def test_a_list_that_holds_all_words_ranks_them_by_their_correlation() -> None:
    code = PolarCode(payload_bits=4, length=16, check_bits=3, paths=128)
    every = (np.arange(128)[:, None] >> np.arange(7) & 1).astype(np.uint8)
    words = 1 - 2 * np.array([code.word(data) for data in every]).astype(np.int64)
    values = integers(np.random.default_rng(3).standard_normal((20, 16)))
    for read, found in zip(values, decode_list(code.tree, values, 128), strict=True):
        assert {tuple(word) for word in found} == {tuple(word) for word in words}
        assert (found @ read.astype(np.int64)).tolist() == sorted((words @ read.astype(np.int64)).tolist())[::-1]


def _cancelled(values: npt.NDArray[np.int64], free: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the word that plain successive cancellation (Arikan 2009) reads, of -1 and 1."""
    if len(values) == 1:
        return np.where(free & (values < 0), -1, 1)
    half = len(values) // 2
    left, right = values[:half], values[half:]
    upper = _cancelled(np.sign(left) * np.sign(right) * np.minimum(abs(left), abs(right)), free[:half])
    lower = _cancelled(right + upper * left, free[half:])
    return np.concatenate([upper * lower, lower])


@pytest.mark.parametrize(("payload", "length"), [(64, 256), (40, 128), (8, 256), (230, 256)])
def test_one_path_is_plain_successive_cancellation(payload: int, length: int) -> None:
    code = PolarCode(payload_bits=payload, length=length)
    free = np.isin(np.arange(length), code.inputs)
    values = integers(_noisy(_words(code, 30)[1], 2.0 * code.information))
    found = decode_list(code.tree, values, 1)[:, 0]
    assert np.array_equal(found, [_cancelled(read.astype(np.int64), free) for read in values])


def _read(code: PolarCode, seed: int = 5) -> Reals:
    """Return words that are easy, hard and lost, one with erasures, one of nothing, and one with an outlier."""
    words = _words(code, 9, seed)[1]
    values = _noisy(words, 1.0, seed) + (2.0 * words - 1.0) * np.linspace(0.2, 1.0, 9)[:, None]
    values[6, ::3], values[7], values[8, 0] = 0.0, 0.0, 1e30
    return values


def test_many_words_are_decoded_as_one_by_one_and_torch_as_numpy() -> None:
    values = _read(SMALL)
    together = _decoded(SMALL, values)
    assert {found.ok for found in together} == {True, False}
    assert len({found.candidates for found in together}) > 2
    alone = [_decoded(SMALL, one[None])[0] for one in values]
    scaled, tensors = _decoded(SMALL, values * 2.0**-40), _decoded(SMALL, torch.from_numpy(values))
    for other in (alone, scaled, tensors):
        assert all(map(_same, together, other))
    on_torch = decode_list(SMALL.tree, integers(torch.from_numpy(values)), 8)
    assert np.array_equal(on_torch.numpy(), decode_list(SMALL.tree, integers(values), 8))
    single = values.astype(np.float32)
    assert all(map(_same, _decoded(SMALL, single), _decoded(SMALL, torch.from_numpy(single))))
    half = torch.from_numpy(values[:6]).bfloat16()
    assert all(map(_same, _decoded(SMALL, half), _decoded(SMALL, half.double().numpy())))
    assert _decoded(SMALL, values[:0]) == []


def test_an_outlier_does_not_drown_the_other_positions() -> None:
    bits, words = _words(SMALL, 1)
    values = 2.0 * words - 1.0
    values[0, :3] *= -1e12
    found = _decoded(SMALL, values)[0]
    assert found.ok
    assert np.array_equal(found.bits, bits[0])
    assert found.corrected == 3


@pytest.mark.parametrize("erased", [0.0, 0.5, 0.7])
def test_erasures_are_filled_below_the_law_of_plain_cancellation(erased: float) -> None:
    code = PolarCode(payload_bits=64, length=length_for_erasures(64, erased))
    bits, words = _words(code, 100)
    draw = np.random.default_rng(2)
    values = (2.0 * words - 1.0) * draw.exponential(1.0, words.shape) * (draw.random(words.shape) >= erased)
    found = _decoded(code, values)
    assert all(one.ok and np.array_equal(one.bits, own) for one, own in zip(found, bits, strict=True))
    assert [one.erased for one in found] == (values == 0).sum(1).tolist()
    if erased:
        assert PolarCode(payload_bits=64, length=code.length // 2).erasure_failure(erased) > 1e-3


def test_too_few_positions_carry_nothing() -> None:
    _, words = _words(SMALL, 1)
    for known in (0, 1, SMALL.information - 1):
        values = np.zeros((1, 512))
        values[0, :known] = 2.0 * words[0, :known] - 1.0
        found = _decoded(SMALL, values)[0]
        assert not found.ok
        assert (found.erased, found.candidates) == (512 - known, 0)
        assert not found.bits.any()


def test_noise_and_another_key_are_refused_by_the_check() -> None:
    values = np.concatenate([np.random.default_rng(0).standard_normal((20, 512)), _noisy(_words(SMALL, 5)[1], 1e4)])
    found = _decoded(SMALL, values, number=1)
    assert not any(one.ok for one in found)
    assert all(one.candidates == 32 for one in found)


def test_a_short_check_lets_false_messages_pass_at_its_rate_a_path() -> None:
    code = PolarCode(payload_bits=20, length=64, check_bits=8, paths=16)
    passed = sum(found.ok for found in _decoded(code, np.random.default_rng(0).standard_normal((600, 64))))
    low, high = stats.binom.interval(0.999, 600, 1 - (1 - 2.0**-8) ** 16)
    assert low <= passed <= high


@pytest.mark.parametrize(("payload", "length", "snr"), [(64, 1024, 157), (256, 2048, 525)])
def test_the_curve_of_success_is_met_within_four_percent_of_the_snr(payload: int, length: int, snr: float) -> None:
    code = PolarCode(payload_bits=payload, length=length)
    bits, words = _words(code, 192)
    found = _decoded(code, _noisy(words, snr))
    whole = sum(one.ok and np.array_equal(one.bits, own) for one, own in zip(found, bits, strict=True))
    low, high = (stats.binom.interval(0.999, 192, code.success(snr * factor)) for factor in (0.96, 1.04))
    assert low[0] <= whole <= high[1]
    assert code.success(0.0) < 1e-9
    assert code.success(100 * snr) == 1.0


def test_the_limits_of_the_binary_gaussian_channel() -> None:
    capacity, dispersion = capacity_and_dispersion(1e-4)
    assert capacity == pytest.approx(1e-4 / (2 * np.log(2)), rel=1e-3)  # at low snr as for Gaussian inputs
    assert dispersion == pytest.approx(1e-4 / np.log(2) ** 2, rel=1e-3)
    assert capacity_and_dispersion(100.0)[0] == pytest.approx(1.0)
    half = capacity_and_dispersion(1.0446)[0]  # rate 1/2 at Es/N0 = -2.82 dB (Richardson and Urbanke, table 4.1)
    assert half == pytest.approx(0.5, abs=2e-3)
    assert best_success(2048, 280, snr_needed(2048, 280)) == pytest.approx(0.9, abs=0.01)


def test_the_mean_behind_a_check_node_is_that_of_the_integral() -> None:
    def psi(mean: float) -> float:
        return float(quad(lambda z: np.tanh((mean + np.sqrt(2 * mean) * z) / 2) * stats.norm.pdf(z), -12, 12)[0])

    for mean in (0.02, 0.3, 1.0, 4.0, 12.0):
        behind = float(np.exp(_check_node(np.log([mean])))[0])
        assert psi(behind) == pytest.approx(psi(mean) ** 2, rel=1e-4)
    assert float(_check_node(np.array([-40.0]))[0]) == pytest.approx(-80.0 - np.log(2), abs=1e-3)


def test_information_sets_are_what_marks_were_made_with() -> None:
    sets = [information_set(n, k, d) for n, k, d in ((512, 88, 251.0), (2048, 280, 800.0), (8192, 1048, 3000.0))]
    digests = [hashlib.sha256(one.astype("<u4").tobytes()).hexdigest()[:12] for one in sets]
    assert digests == ["d65230788251", "1241a7909369", "24ba679452d0"]


def test_erasures_of_eight_positions_by_hand() -> None:
    code = PolarCode(payload_bits=1, length=8, check_bits=1)
    assert code.inputs.tolist() == [6, 7]
    z = 0.3
    twice = z * z
    assert code.erasure_failure(z) == pytest.approx(twice**2 * (2 - twice**2) + z**8)


def test_default_lengths() -> None:
    assert [default_length(bits) for bits in (64, 256, 1024, 4096)] == [1024, 2048, 8192, 32768]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"payload_bits": 0, "length": 64}, "payload_bits >= 1"),
        ({"payload_bits": 8, "length": 64, "check_bits": 0}, "check_bits >= 1"),
        ({"payload_bits": 64, "length": 100}, "power of two from 88 to 65,536, not 100"),
        ({"payload_bits": 64, "length": 64}, "power of two from 88"),
        ({"payload_bits": 64, "length": 1 << 17}, "power of two from 88"),
        ({"payload_bits": 8, "length": 64, "paths": 3}, "paths is a power of two"),
        ({"payload_bits": 8, "length": 64, "design": 0.0}, "design is a finite number above 0"),
    ],
)
def test_impossible_codes_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        PolarCode(**parameters)


def test_words_of_another_kind_are_refused() -> None:
    for values in (np.zeros((1, 511)), np.full((1, 512), np.nan)):
        with pytest.raises(BadInput, match="512 finite values"):
            _decoded(SMALL, values)
    with pytest.raises(BadInput, match="64 bits of 0 and 1"):
        SMALL.encode(np.full(64, 2), _check(24))
    with pytest.raises(BadInput, match="power of two"):
        length_for_erasures(4096, 0.99)
