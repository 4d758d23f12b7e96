"""The laws of the constant-weight code: round trip, the papers' order, and what a bad input is told."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cwwm.codes import Bits, Code, ConstantWeightCode, Word, enumerative, integers
from cwwm.support.errors import BadInput

ARITHMETIC = [integers.PYTHON, integers.fastest()]
arithmetic = pytest.mark.parametrize("numbers", ARITHMETIC, ids=lambda numbers: numbers.name)


def recurrence(rank: int, length: int, weight: int) -> list[int]:
    """The papers' encoder, one position at a time (Schalkwijk 1972, Cover 1973)."""
    found = []
    words = math.comb(length, weight)
    for n in range(length, 0, -1):
        without = words * (n - weight) // n
        if weight and rank >= without:
            rank, words, weight = rank - without, words * weight // n, weight - 1
            found.append(n - 1)
        else:
            words = without
    return found[::-1]


def word_of(text: str) -> Word:
    return np.array([c == "1" for c in text])


def bits_of(number: int, code: ConstantWeightCode) -> Bits:
    return np.array([number >> t & 1 for t in range(code.payload_bits)], dtype=np.uint8)


@st.composite
def numbered_words(draw: st.DrawFn, longest: int = 160) -> tuple[int, int, int]:
    """(length, weight, rank) with many ranks at the ends and at binomial boundaries."""
    length = draw(st.integers(2, longest))
    weight = draw(st.integers(1, length - 1))
    last = math.comb(length, weight) - 1
    n, ones = draw(st.integers(0, length)), draw(st.integers(1, weight))
    boundary = math.comb(n, ones)
    edges = [0, 1, last, boundary, boundary - 1, 2 ** (last.bit_length() - 1), last - boundary]
    rank = draw(st.sampled_from(edges) | st.integers(0, last))
    return length, weight, min(max(rank, 0), last)


codes = st.integers(2, 400).flatmap(
    lambda length: st.builds(ConstantWeightCode, length=st.just(length), weight=st.integers(1, length - 1))
)


@arithmetic
@settings(max_examples=300, deadline=None)
@given(case=numbered_words())
@example(case=(2, 1, 0))
@example(case=(160, 80, 0))
def test_jumps_follow_the_recurrence(numbers: integers.Integers, case: tuple[int, int, int]) -> None:
    length, weight, rank = case
    positions = recurrence(rank, length, weight)
    assert enumerative.positions_of(rank, length, weight, numbers) == positions
    assert enumerative.rank_of(positions, length, numbers) == rank


@settings(max_examples=300, deadline=None)
@given(case=numbered_words())
def test_code_follows_the_recurrence(case: tuple[int, int, int]) -> None:
    length, weight, rank = case
    code = ConstantWeightCode(length=length, weight=weight)
    word = code.unrank(rank)
    assert np.flatnonzero(word).tolist() == recurrence(rank, length, weight)
    assert code.rank(word) == rank


@settings(max_examples=150, deadline=None)
@given(code=codes, data=st.data())
def test_round_trip(code: ConstantWeightCode, data: st.DataObject) -> None:
    bits = bits_of(data.draw(st.integers(0, 2**code.payload_bits - 1)), code)
    word = code.encode(bits)
    read = code.decode(word)
    assert word.dtype == np.bool_
    assert (word.shape, int(word.sum())) == ((code.length,), code.weight)
    assert read.ok
    assert read.bits.dtype == np.uint8
    assert np.array_equal(read.bits, bits)


@settings(max_examples=100, deadline=None)
@given(code=codes, data=st.data())
def test_order_is_colexicographic(code: ConstantWeightCode, data: st.DataObject) -> None:
    ranks = st.integers(0, code.size - 1)
    one, other = data.draw(ranks), data.draw(ranks)
    # Colexicographic: the word whose highest differing symbol is a one comes later.
    one_key, other_key = code.unrank(one)[::-1].tolist(), code.unrank(other)[::-1].tolist()
    assert (one_key < other_key) == (one < other)


@arithmetic
@pytest.mark.parametrize(
    ("length", "weight"),
    [(28_813, 581), (20_000, 2_000), (9_000, 4_500), (200_000, 40), (200_000, 1), (3_000, 2_999)],
)
def test_long_words_come_back(numbers: integers.Integers, length: int, weight: int) -> None:
    last = math.comb(length, weight) - 1
    draw = np.random.default_rng(weight)
    inside = int.from_bytes(draw.bytes(last.bit_length() // 8), "little")
    middle = math.comb(length // 2, weight)
    for rank in (0, 1, inside, middle, max(middle - 1, 0), last // 3, last - 1, last):
        positions = enumerative.positions_of(rank, length, weight, numbers)
        assert len(set(positions)) == weight
        assert positions == sorted(positions)
        assert enumerative.rank_of(positions, length, numbers) == rank


@arithmetic
def test_random_positions_rank_as_their_sum(numbers: integers.Integers) -> None:
    positions = np.sort(np.random.default_rng(5).choice(6_000, 700, replace=False)).tolist()
    rank = sum(math.comb(p, j) for j, p in enumerate(positions, 1))
    assert enumerative.rank_of(positions, 6_000, numbers) == rank
    assert enumerative.positions_of(rank, 6_000, 700, numbers) == positions


@pytest.mark.parametrize("weight", [700, 3_000, 5_300])
def test_long_codes_follow_the_recurrence(weight: int) -> None:
    code = ConstantWeightCode(length=6_000, weight=weight)
    bits = np.random.default_rng(1).integers(0, 2, code.payload_bits)
    word = code.encode(bits)
    rank = int("".join(map(str, bits[::-1])), 2)
    assert np.flatnonzero(word).tolist() == recurrence(rank, code.length, weight)
    assert np.array_equal(code.decode(word).bits, bits)


VECTORS = {0: "111000", 1: "110100", 2: "101100", 3: "011100", 4: "110010", 13: "100101"}


@pytest.mark.parametrize(("rank", "text"), VECTORS.items())
def test_vectors(rank: int, text: str) -> None:
    code = ConstantWeightCode(length=6, weight=3)
    assert code.unrank(rank).tolist() == word_of(text).tolist()
    assert np.array_equal(code.encode(bits_of(rank, code)), word_of(text))


SHORTEST = {
    256: [(261, 131), (318, 81), (544, 56), (875, 46), (1792, 37), (2865, 33)],
    1024: [(1266, 318), (2183, 220), (3574, 180), (7178, 146)],
}


@pytest.mark.parametrize(
    ("bits", "length", "weight"), [(bits, *pair) for bits, pairs in SHORTEST.items() for pair in pairs]
)
def test_shortest_lengths(bits: int, length: int, weight: int) -> None:
    assert ConstantWeightCode(length=length, weight=weight).payload_bits >= bits
    assert ConstantWeightCode(length=length - 1, weight=weight).payload_bits < bits


@settings(max_examples=100, deadline=None)
@given(bits=st.integers(1, 600), density=st.floats(1e-3, 0.999))
@example(bits=1, density=1e-9)
def test_smallest_is_smallest(bits: int, density: float) -> None:
    code = ConstantWeightCode.smallest(bits, density)
    shorter = code.length - 1
    weight = min(max(1, round(density * shorter)), shorter - 1)
    assert code.payload_bits >= bits
    assert shorter < 2 or math.comb(shorter, weight) < 2**bits


def test_words_beyond_the_payload_are_a_detected_failure() -> None:
    code = ConstantWeightCode(length=6, weight=3)
    read = code.decode(code.unrank(16))
    assert not read.ok
    assert read.bits.tolist() == [0, 0, 0, 0]


@settings(max_examples=100, deadline=None)
@given(code=codes, seed=st.integers(0, 2**32 - 1))
def test_reliabilities_give_the_word_of_the_largest(code: ConstantWeightCode, seed: int) -> None:
    draw = np.random.default_rng(seed)
    word = code.unrank(int(draw.integers(min(code.size, 2**60))))
    reliabilities = draw.random(code.length, dtype=np.float32) * 0.5 + word
    read, expected = code.decode(reliabilities), code.decode(word)
    assert np.array_equal(read.bits, expected.bits)
    assert (read.ok, read.erased) == (expected.ok, 0)


@pytest.mark.parametrize(
    ("values", "text", "erased"),
    [
        ([5, 4, 3, 0, 0, 0], "111000", 0),
        ([5, 0, 0, 0, 0, 4], "110001", 4),
        ([1, 1, 1, 1, 1, 1], "111000", 6),
        ([0, 2, 2, 2, 0, 0], "011100", 0),
        ([9, 2, 2, 2, 0, 0], "111000", 3),
        ([-math.inf, 1, 1, 1, -math.inf, math.nextafter(1, 0)], "011100", 0),
    ],
)
def test_ties_go_to_the_lowest_position_and_are_reported(values: list[float], text: str, erased: int) -> None:
    code = ConstantWeightCode(length=6, weight=3)
    read, expected = code.decode(np.array(values, dtype=float)), code.decode(word_of(text))
    assert np.array_equal(read.bits, expected.bits)
    assert (read.ok, read.erased) == (expected.ok, erased)


@pytest.mark.parametrize(
    ("length", "weight", "message"),
    [
        (6, 0, "weight must lie between 1 and"),
        (6, 6, "weight must lie between 1 and"),
        (6, -1, "weight must lie between 1 and"),
        (1, 1, "carries no payload"),
        (6.0, 3, "length is 6.0; it must be an integer"),
        (6, "3", "weight is '3'; it must be an integer"),
    ],
)
def test_codes_without_payload_are_refused(length: int, weight: int, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        ConstantWeightCode(length=length, weight=weight)


@pytest.mark.parametrize(("bits", "density"), [(0, 0.5), (8, 0.0), (8, 1.0), (8, math.nan), (2.5, 0.5)])
def test_smallest_refuses_nonsense(bits: int, density: float) -> None:
    with pytest.raises(BadInput, match=r"payload_bits|density"):
        ConstantWeightCode.smallest(bits, density)


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        ([0, 1, 1], r"4 bits of 0 and 1, not an array of shape \(3,\)"),
        ([[0, 1, 1, 0]], r"of shape \(1, 4\)"),
        ([0, 1, 2, 0], "0 and 1, not 2 at index 2"),
        ([0, 0.5, 0, 0], r"0 and 1, not 0\.5 at index 1"),
    ],
)
def test_encode_says_what_is_wrong(bits: list[float], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        ConstantWeightCode(length=6, weight=3).encode(bits)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (word_of("11100"), r"shape \(6,\), got \(5,\)"),
        (word_of("111100"), "has 3 ones, got 4"),
        (np.array([1.0, math.nan, 0, 0, 0, 0]), "1 NaN"),
        (np.array(list("111000")), "bool or real"),
    ],
)
def test_decode_says_what_is_wrong(word: Word, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        ConstantWeightCode(length=6, weight=3).decode(word)


@pytest.mark.parametrize("rank", [-1, 20, 2**70])
def test_unrank_refuses_ranks_outside(rank: int) -> None:
    with pytest.raises(BadInput, match="numbers its words from 0 to 19"):
        ConstantWeightCode(length=6, weight=3).unrank(rank)


def test_identity() -> None:
    code: Code = ConstantWeightCode(length=6, weight=np.int64(3))  # type: ignore[arg-type]
    assert repr(code) == "ConstantWeightCode(length=6, weight=3)"
    assert eval(repr(code)) == code
    assert len({code, ConstantWeightCode(length=6, weight=3)}) == 1


WITHOUT_GMPY2 = """
import sys
sys.modules["gmpy2"] = None
from cwwm.codes import ConstantWeightCode
code = ConstantWeightCode(length=6_000, weight=700)
number = code.size // 3
assert code.rank(code.unrank(number)) == number and type(code.size) is int
print(code.arithmetic, hash(code.unrank(number).tobytes()))
"""


def test_works_without_gmpy2() -> None:
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    runs = [
        subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
        for script in (WITHOUT_GMPY2, WITHOUT_GMPY2.replace('sys.modules["gmpy2"] = None', ""))
    ]
    assert runs[0][0] == "int"
    assert runs[0][1] == runs[1][1]
