"""Laws of the keyed random linear code: round trip, the erasure limit, order-1 decoding, the check."""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cwwm.codes import Bits, Check, Word
from cwwm.codes.linear import LinearCode, full_rank, shortest_length
from cwwm.ownership.keys import Key
from cwwm.schemes.common.keyed import keyed_check
from cwwm.support.errors import BadInput

NONCE = bytes(16)
Reals = npt.NDArray[np.float64]


@cache
def _keyed(code: LinearCode, number: int = 0) -> tuple[Bits, Check]:
    key = Key.for_harness(linear=number)
    streams = key.choices(NONCE)
    return code.generator(streams.stream("generator")), keyed_check(streams, code.check_bits)


def _word(code: LinearCode, seed: int = 0, number: int = 0) -> tuple[Bits, Word]:
    bits = np.random.default_rng(seed).integers(0, 2, code.payload_bits).astype(np.uint8)
    return bits, code.encode(bits, *_keyed(code, number))


def _signs(word: Word) -> Reals:
    return 2.0 * word - 1.0


@given(st.integers(1, 90), st.integers(0, 150), st.integers(1, 32), st.integers(0, 2**32))
def test_round_trip_of_any_size(payload: int, more: int, check_bits: int, seed: int) -> None:
    code = LinearCode(payload_bits=payload, length=payload + check_bits + 40 + more, check_bits=check_bits)
    bits, word = _word(code, seed)
    values = _signs(word) * np.random.default_rng(seed).exponential(1.0, code.length)
    decoded = code.decode(values, *_keyed(code))
    assert decoded.ok
    assert np.array_equal(decoded.bits, bits)
    assert (decoded.erased, decoded.corrected) == (0, 0)


def test_codewords_are_linear_fair_and_keyed() -> None:
    code = LinearCode(payload_bits=64, length=900)
    generator, check = _keyed(code)
    bits, word = _word(code)
    information = np.concatenate([bits, check(bits, 0)])
    assert np.array_equal(word, (information.astype(np.int64) @ generator) % 2 == 1)
    assert abs(word.mean() - 0.5) < 4 / (2 * np.sqrt(900))
    assert not np.array_equal(word, code.encode(bits, *_keyed(code, 1)))


def _rank(matrix: Bits) -> int:
    rows, rank = matrix.copy(), 0
    for column in range(rows.shape[1]):
        ones = np.flatnonzero(rows[rank:, column]) + rank
        if len(ones):
            rows[[rank, ones[0]]] = rows[[ones[0], rank]]
            rows[rank + 1 :] ^= np.outer(rows[rank + 1 :, column], rows[rank])
            rank += 1
            if rank == len(rows):
                break
    return rank


@pytest.mark.parametrize("survivors", [39, 40, 42, 45, 60])
def test_erasures_are_filled_exactly_if_the_survivors_have_full_rank(survivors: int) -> None:
    code = LinearCode(payload_bits=24, length=200, check_bits=16)
    bits, word = _word(code)
    generator, check = _keyed(code)
    rng = np.random.default_rng(survivors)
    whole = 0
    for _ in range(150):
        kept = rng.permutation(200)[:survivors]
        values = np.zeros(200)
        values[kept] = (_signs(word) * rng.exponential(1.0, 200))[kept]
        decoded = code.decode(values, generator, check)
        assert decoded.ok == (_rank(generator[:, kept]) == 40)
        assert decoded.erased == 200 - survivors
        assert np.array_equal(decoded.bits, bits if decoded.ok else np.zeros(24))
        whole += decoded.ok
    law = float(full_rank(40, survivors))
    low, high = stats.binom.interval(0.999, 150, law) if 0 < law < 1 else (150 * law, 150 * law)
    assert low <= whole <= high


def test_the_rank_law_by_enumeration() -> None:
    matrices = (np.arange(2**9)[:, None] >> np.arange(9) & 1).astype(np.uint8)
    assert full_rank(3, 3) == pytest.approx(np.mean([_rank(m.reshape(3, 3)) == 3 for m in matrices]))
    assert full_rank(2, 4) == pytest.approx(
        np.mean([_rank(m[:8].reshape(2, 4)) == 2 for m in matrices[:256]]), abs=1e-12
    )
    assert full_rank(40, [39, 200]).tolist() == [0.0, 1.0]


def _corrupted(code: LinearCode, word: Word, wrong: list[int]) -> Reals:
    """Return soft values of falling reliability, the ones at `wrong` of the other sign."""
    values = _signs(word) * np.linspace(2, 1, code.length)
    values[wrong] *= -1
    return values


@pytest.mark.parametrize("wrong", [[0], [40], [95], [200, 250, 299], [17, 200, 201, 202, 299]])
def test_one_error_among_the_most_reliable_and_any_below_are_corrected(wrong: list[int]) -> None:
    code = LinearCode(payload_bits=64, length=300)
    bits, word = _word(code)
    decoded = code.decode(_corrupted(code, word, wrong), *_keyed(code))
    assert decoded.ok
    assert np.array_equal(decoded.bits, bits)
    assert decoded.corrected == len(wrong)
    assert decoded.candidates == 1  # the best correlation is that of the right word


def test_two_errors_among_the_most_reliable_are_beyond_order_one() -> None:
    code = LinearCode(payload_bits=64, length=300)
    decoded = code.decode(_corrupted(code, _word(code)[1], [3, 50]), *_keyed(code))
    assert not decoded.ok
    assert not decoded.bits.any()
    assert decoded.candidates == code.information + 1


@pytest.mark.parametrize("seed", range(5))
def test_noise_and_another_key_are_refused_by_the_check(seed: int) -> None:
    code = LinearCode(payload_bits=64, length=300)
    generator, check = _keyed(code)
    noise = np.random.default_rng(seed).standard_normal(300)
    assert not code.decode(noise, generator, check).ok
    assert not code.decode(_signs(_word(code, seed)[1]), *_keyed(code, 1)).ok
    assert not code.decode(_signs(_word(code, seed)[1]), generator, _keyed(code, 1)[1]).ok
    assert not code.decode(np.zeros(300), generator, check).ok


def test_a_short_check_lets_false_messages_pass_at_its_rate() -> None:
    code = LinearCode(payload_bits=20, length=60, check_bits=8)
    rng = np.random.default_rng(0)
    passed = sum(code.decode(rng.standard_normal(60), *_keyed(code)).ok for _ in range(600))
    low, high = stats.binom.interval(0.999, 600, 1 - (1 - 2.0**-8) ** (code.information + 1))
    assert low <= passed <= high


@pytest.mark.parametrize(("information", "survive"), [(40, 0.5), (96, 0.9), (288, 0.9), (1056, 0.7)])
def test_the_shortest_length_is_the_shortest(information: int, survive: float) -> None:
    n = shortest_length(information, survive)
    too_few = [stats.binom.cdf(information + 9, length, 1 - survive) for length in (n - 1, n)]
    assert too_few[1] <= 1e-3 < too_few[0]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"payload_bits": 0, "length": 90}, "payload_bits >= 1"),
        ({"payload_bits": 8, "length": 90, "check_bits": 0}, "check_bits >= 1"),
        ({"payload_bits": 64, "length": 95}, "length of at least 96"),
    ],
)
def test_impossible_codes_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        LinearCode(**parameters)


def test_words_of_another_kind_are_refused() -> None:
    code = LinearCode(payload_bits=8, length=90)
    generator, check = _keyed(code)
    for values in (np.zeros(89), np.full(90, np.nan)):
        with pytest.raises(BadInput, match="90 finite values"):
            code.decode(values, generator, check)
    for bits in (np.zeros(9), np.full(8, 2)):
        with pytest.raises(BadInput, match="8 bits of 0 and 1"):
            code.encode(bits, generator, check)
