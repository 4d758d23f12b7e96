"""Laws of constant-weight words in the spread domain: round trip, likelihood, acceptance, erasures, tables."""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cwwm.codes import Bits, Check, Decoded
from cwwm.codes.finite_length import best_success_unlimited, snr_needed_unlimited
from cwwm.codes.multilevel import MultilevelPolar, default_form
from cwwm.codes.multilevel_design import design
from cwwm.codes.multilevel_list import decode_places, log_likelihoods
from cwwm.codes.multilevel_tables import ROWS, SYMBOLS, capacity_and_dispersion, tables_of
from cwwm.ownership.keys import Key
from cwwm.schemes.common.keyed import keyed_check
from cwwm.support.errors import BadInput

NONCE = bytes(16)
Reals = npt.NDArray[np.float64]
SMALL = MultilevelPolar(payload_bits=40, symbols=16, rows=64)
TINY = MultilevelPolar(payload_bits=6, symbols=4, rows=4, check_bits=2, paths=256)


@cache
def _check(bits: int, number: int = 0) -> Check:
    return keyed_check(Key.for_harness(multilevel=number).choices(NONCE), bits)


def _clean(code: MultilevelPolar, bits: Bits) -> Reals:
    """Return correlations (n, M) of a message: its signs at its rows, nothing elsewhere."""
    rows, signs = code.encode(bits, _check(code.check_bits))
    values = np.zeros((code.symbols, code.rows))
    values[np.arange(code.symbols), rows] = signs
    return values


def _words(code: MultilevelPolar, count: int, snr: float, seed: int = 0) -> tuple[Bits, Reals]:
    """Return messages, uint8 (count, k), and noisy reads of their words, float64 (count, n, M)."""
    draw = np.random.default_rng(seed)
    bits = draw.integers(0, 2, (count, code.payload_bits)).astype(np.uint8)
    means = np.sqrt(snr / code.symbols) * np.array([_clean(code, one) for one in bits])
    return bits, means + draw.standard_normal(means.shape)


def _decoded(code: MultilevelPolar, values: Any, number: int = 0) -> list[Decoded]:  # noqa: ANN401 (array or tensor)
    return code.decode_many(values, [_check(code.check_bits, number)] * len(values))


def _same(one: Decoded, other: Decoded) -> bool:
    facts = [(d.ok, d.erased, d.corrected, d.candidates) for d in (one, other)]
    return facts[0] == facts[1] and np.array_equal(one.bits, other.bits)


def _right(found: list[Decoded], bits: Bits) -> list[bool]:
    return [one.ok and np.array_equal(one.bits, own) for one, own in zip(found, bits, strict=True)]


@st.composite
def _codes(draw: st.DrawFn) -> MultilevelPolar:
    symbols, rows = draw(st.sampled_from(SYMBOLS[:6])), draw(st.sampled_from(ROWS[:4]))
    check_bits = draw(st.integers(0, 10))
    payload = draw(st.integers(1, symbols * rows.bit_length() - check_bits))
    return MultilevelPolar(payload_bits=payload, symbols=symbols, rows=rows, check_bits=check_bits, paths=4)


@settings(max_examples=40, deadline=None)
@given(_codes(), st.floats(0, 290), st.integers(0, 2**32))
def test_round_trip_of_any_size_and_amplitude(code: MultilevelPolar, exponent: float, seed: int) -> None:
    bits = np.random.default_rng(seed).integers(0, 2, code.payload_bits).astype(np.uint8)
    word = code.word(bits, _check(code.check_bits))
    assert word.shape == (code.length,) == (2 * code.symbols * code.rows,)
    places = word.reshape(code.symbols, code.rows, 2)
    assert (places.sum((1, 2)) == 1).all()
    clean = _clean(code, bits)
    assert np.array_equal(places[:, :, 0] * 1.0 - places[:, :, 1], clean)
    amplitude = 3 * max(code.factor, code.least_correlation / np.sqrt(code.symbols))
    found = code.decode(clean * amplitude * 10.0**exponent, _check(code.check_bits))
    assert _right([found], bits[None]) == [True]
    assert (found.erased, found.corrected) == (0, 0)


def test_a_list_that_holds_all_words_ranks_them_by_their_likelihood() -> None:
    values = log_likelihoods(np.random.default_rng(3).standard_normal((20, 4, 4)), 1.0)
    every = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(np.uint8)
    data = [(one[:6], lambda *_, rest=one[6:]: rest) for one in every]
    words = [TINY.encode(payload, check) for payload, check in data]
    rows, signs = (np.array([word[part] for word in words]) for part in (0, 1))
    for read, found in zip(values, decode_places(TINY.trees, values, 256), strict=True):
        assert {tuple(word) for word in found} == {tuple(word) for word in 2 * rows + (signs < 0)}
        own = np.sum(read[np.arange(4), found // 2] * (1 - 2 * (found % 2)), axis=1)
        assert own.tolist() == sorted(np.sum(signs * read[np.arange(4), rows], axis=1).tolist())[::-1]


def test_a_full_list_accepts_the_likeliest_message_if_its_correlation_is_enough() -> None:
    messages = (np.arange(64)[:, None] >> np.arange(6) & 1).astype(np.uint8)
    words = [TINY.encode(one, _check(2)) for one in messages]
    _, values = _words(TINY, 60, 60.0)
    accepted = 0
    for read, found in zip(values, _decoded(TINY, values), strict=True):
        fits = [TINY.correlation(read, *word) for word in words]
        assert found.ok == (max(fits) >= TINY.least_correlation)
        if found.ok:
            assert np.array_equal(found.bits, messages[np.argmax(fits)])
        accepted += found.ok
    assert 20 < accepted < 60


def test_a_word_is_accepted_by_its_correlation_and_not_by_its_check() -> None:
    clean = _clean(SMALL, np.ones(40, np.uint8))
    assert SMALL.least_correlation**2 == pytest.approx(2 * np.log(2) * 72)
    at_bound = SMALL.least_correlation / 4
    below, above = _decoded(SMALL, np.stack([clean * at_bound * 0.9999, clean * at_bound * 1.0001]))
    assert (below.ok, below.candidates) == (False, 0)
    assert above.ok
    assert SMALL.correlation(clean * 2.0, *SMALL.encode(np.ones(40), _check(8))) == pytest.approx(8.0)


def test_noise_is_refused_and_so_is_another_key() -> None:
    noise = np.random.default_rng(0).standard_normal((48, 16, 64))
    assert not any(found.ok or found.bits.any() for found in _decoded(SMALL, noise))
    strong = np.stack([_clean(SMALL, np.ones(40, np.uint8)) * 10.0])
    (other,) = _decoded(SMALL, strong, number=1)
    assert not other.ok
    assert other.candidates > 0


def test_many_words_are_decoded_as_one_by_one_and_torch_as_numpy() -> None:
    code = MultilevelPolar(payload_bits=64, symbols=32, rows=256)
    _, values = _words(code, 9, 130.0)
    values[6, ::3], values[7], values[8, 0, 5] = 0.0, 0.0, 1e30
    together = _decoded(code, values)
    assert {found.ok for found in together} == {True, False}
    for other in ([_decoded(code, one[None])[0] for one in values], _decoded(code, torch.from_numpy(values))):
        assert all(map(_same, together, other))
    single = values.astype(np.float32)
    assert all(map(_same, _decoded(code, single), _decoded(code, torch.from_numpy(single))))
    on_torch = decode_places(code.trees, log_likelihoods(torch.from_numpy(values), code.factor), 8)
    assert np.array_equal(on_torch.numpy(), decode_places(code.trees, log_likelihoods(values, code.factor), 8))
    assert _decoded(code, values[:0]) == []


def test_more_words_than_are_decoded_together() -> None:
    code = MultilevelPolar(payload_bits=8, symbols=4, rows=1024, paths=2)
    bits, values = _words(code, 516, 90.0)
    together = _decoded(code, values.astype(np.float32))
    assert all(
        _same(together[at], _decoded(code, values[at, None].astype(np.float32))[0]) for at in (0, 511, 512, 515)
    )
    assert sum(_right(together, bits)) > 400


def test_erased_symbols_are_survived_until_too_few_are_left() -> None:
    code = MultilevelPolar(payload_bits=256, symbols=64, rows=256, check_bits=24)
    bits, values = _words(code, 20, 1500.0)
    values[:, [5, 18, 40, 59]] = 0.0
    found = _decoded(code, values)
    assert all(_right(found, bits))
    assert {one.erased for one in found} == {4}
    values[:, 29:] = 0.0
    for one in _decoded(code, values):
        assert (one.ok, one.erased, one.candidates) == (False, 37, 0)


def test_symbols_that_were_read_wrong_are_corrected() -> None:
    clean = 5.0 * _clean(SMALL, np.zeros(40, np.uint8))
    values = clean.copy()
    values[3] *= -1
    values[5] = np.roll(clean[5], 7)
    found = SMALL.decode(values, _check(8))
    assert (found.ok, found.corrected, int(found.bits.sum())) == (True, 2, 0)


@pytest.mark.parametrize(
    ("payload", "symbols", "rows", "snr"),
    [(64, 32, 1024, 152), (256, 64, 256, 445), (256, 128, 16, 470), (512, 256, 64, 870)],
)
def test_the_curve_of_success_is_met_within_four_percent_of_the_snr(
    payload: int, symbols: int, rows: int, snr: float
) -> None:
    code = MultilevelPolar(payload_bits=payload, symbols=symbols, rows=rows)
    bits, values = _words(code, 128, snr)
    whole = sum(_right(_decoded(code, values), bits))
    low, high = (stats.binom.interval(0.999, 128, code.success(snr * factor)) for factor in (0.96, 1.04))
    assert low[0] <= whole <= high[1]
    assert low[0] > 20
    assert code.success(0.0) < 1e-9
    assert code.success(100 * snr) == pytest.approx(1.0)


def test_tables_are_what_the_command_makes() -> None:
    made = design(4, 4)
    kept = tables_of(4)
    assert np.array_equal(made.orders[4], kept.orders[4])
    assert made.channel == pytest.approx(kept.channel, rel=1e-4)


def test_inputs_follow_the_order_of_channels_that_holds_by_construction() -> None:
    for rows in ROWS:
        for symbols, order in tables_of(rows).orders.items():
            rank = np.argsort(order)
            assert np.array_equal(order[rank], np.arange(symbols * rows.bit_length()))
            index = np.arange(len(rank))
            for bit in (1 << at for at in range(symbols.bit_length() - 1)):
                assert (rank[index | bit] <= rank).all()


def test_the_channel_is_that_of_orthogonal_signals() -> None:
    shares = [capacity_and_dispersion(rows, 0.1)[0] / (0.1 / (2 * np.log(2))) for rows in ROWS]
    assert all(0.85 < share <= 1.01 for share in shares)
    for rows in ROWS:
        curve = [capacity_and_dispersion(rows, snr)[0] for snr in (0.0, 1.0, 4.0, 16.0, 1e4)]
        assert curve == sorted(curve)
        assert curve[0] == 0.0
        assert curve[-1] == pytest.approx(np.log2(2 * rows), abs=0.02)


@pytest.mark.parametrize("bits", [72, 264])
def test_orthogonal_words_nearly_reach_the_limit_of_any_code(bits: int) -> None:
    def orthogonal(snr: float) -> float:
        """Return P(the read of the word that was sent is the largest of 2^bits)."""
        noise, step = np.linspace(-9, 9, 20001, retstep=True)
        others = np.exp(stats.norm.logsf(np.sqrt(snr) + noise) + np.log(2.0**bits - 1))
        return float(np.sum(stats.norm.pdf(noise) * np.exp(-others)) * step)

    limit = snr_needed_unlimited(bits)
    assert best_success_unlimited(bits, limit) == pytest.approx(0.9, abs=2e-3)
    assert orthogonal(limit) < 0.9 < orthogonal(1.02 * limit)


def test_default_forms() -> None:
    forms = [default_form(bits, 10**7) for bits in (16, 64, 256, 1024, 2048, 4096)]
    assert forms == [(8, 1024), (32, 1024), (64, 1024), (256, 1024), (512, 1024), (1024, 1024)]
    tiny = [default_form(*case) for case in ((16, 2000), (64, 10_000), (256, 60_000), (256, 200_000))]
    assert tiny == [(16, 16), (64, 16), (128, 64), (64, 256)]
    with pytest.raises(BadInput, match="a pool of 1,000 weights is too small for 64 message bits"):
        default_form(64, 1000)
    with pytest.raises(BadInput, match=r"4,293 bits is too long; 4,292 bits are the most"):
        default_form(4293, 10**9)


@settings(max_examples=100)
@given(st.integers(1, 2048), st.integers(2, 8))
def test_default_forms_make_codes_and_fit(payload: int, digits: int) -> None:
    try:
        symbols, rows = default_form(payload, 10**digits)
    except BadInput:
        assert 10**digits < 64 * (payload + 8)
        return
    assert MultilevelPolar(payload_bits=payload, symbols=symbols, rows=rows).length <= 10**digits / 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"payload_bits": 0}, "payload_bits >= 1"),
        ({"check_bits": -1}, "check_bits >= 0"),
        ({"symbols": 24}, "512 or 1024 symbols of 4, 16, 64, 256 or 1024 rows, not 24 of 64"),
        ({"rows": 32}, "not 16 of 32"),
        ({"payload_bits": 105}, "carry at most 112 bits, not 105 message bits and 8 check bits"),
        ({"paths": 3}, "paths is a power of two"),
    ],
)
def test_impossible_codes_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        MultilevelPolar(**({"payload_bits": 40, "symbols": 16, "rows": 64} | change))


def test_words_of_another_kind_are_refused() -> None:
    with pytest.raises(BadInput, match=r"have shape \(1, 16, 64\), not \(1, 16, 65\)"):
        _decoded(SMALL, np.zeros((1, 16, 65)))
    for wrong in (np.nan, -np.inf):
        with pytest.raises(BadInput, match="are finite; set those of a symbol"):
            _decoded(SMALL, np.full((1, 16, 64), wrong))
    with pytest.raises(BadInput, match="40 bits of 0 and 1"):
        SMALL.encode(np.full(40, 2), _check(8))


def test_equal_parameters_are_equal_codes() -> None:
    again = MultilevelPolar(payload_bits=40, symbols=16, rows=64)
    assert again == SMALL
    assert repr(again) == repr(SMALL)
    assert np.array_equal(again.inputs, SMALL.inputs)
