"""The laws of GF(2^m) and of the Reed-Solomon codes over it, beside reedsolo and an exhaustive search."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import reedsolo
from hypothesis import given, settings
from hypothesis import strategies as st

from cwwm.codes import ReedSolomon
from cwwm.codes.galois import Elements, field
from cwwm.support.errors import BadInput

Mask = npt.NDArray[np.bool_]


def peasant(a: int, b: int, bits: int, modulus: int) -> int:
    """The product of two polynomials over GF(2) modulo another of degree `bits`, shift by shift."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a, b = a << 1, b >> 1
        a ^= modulus if a >> bits else 0
    return product


def damaged(
    words: Elements, errors: npt.NDArray[np.int64], erasures: npt.NDArray[np.int64], order: int, seed: int
) -> tuple[Elements, Mask]:
    """Change `errors` symbols of each row, and `erasures` further ones that it declares erased."""
    draw = np.random.default_rng(seed)
    place = draw.permuted(np.broadcast_to(np.arange(words.shape[1]), words.shape), axis=1)
    erased = place < erasures[:, None]
    wrong = ~erased & (place < (erasures + errors)[:, None])
    change = np.where(wrong, draw.integers(1, order + 1, words.shape), 0)
    change = np.where(erased, draw.integers(0, order + 1, words.shape), change)
    return words ^ change.astype(np.uint16), erased


@pytest.mark.parametrize("bits", range(2, 17))
def test_field_multiplies_as_polynomials_and_alpha_generates_it(bits: int) -> None:
    numbers = field(bits)
    assert sorted(numbers.antilog[: numbers.order].tolist()) == list(range(1, 2**bits))
    modulus = 2**bits ^ int(numbers.antilog[bits % numbers.order])
    a, b = np.random.default_rng(bits).integers(0, 2**bits, (2, 300)).astype(np.uint16)
    a[:10] = b[5:15] = 0
    expected = [peasant(x, y, bits, modulus) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert numbers.multiply(a, b).tolist() == expected
    assert (numbers.multiply(a[10:] | 1, numbers.inverse(a[10:] | 1)) == 1).all()


@pytest.mark.parametrize(("length", "data"), [(255, 223), (160, 36), (40, 39), (12, 1)])
def test_agrees_with_reedsolo(length: int, data: int) -> None:
    code, theirs = ReedSolomon(length=length, data=data), reedsolo.RSCodec(length - data)
    draw = np.random.default_rng(length)
    free = draw.integers(0, 256, (12, data))
    words = code.encode(free)
    assert words.tolist() == [list(theirs.encode(bytes(row.tolist()))) for row in free]

    # Within the radius, at it, and past it.
    erasures = draw.integers(0, code.redundancy + 1, 12)
    errors = np.minimum((code.redundancy - erasures) // 2 + np.arange(12) % 3 - 1, length - erasures).clip(0)
    received, erased = damaged(words, errors, erasures, 255, seed=length)
    found = code.decode(received, erased)
    for row in range(12):
        try:
            expected = theirs.decode(bytes(received[row].tolist()), erase_pos=np.flatnonzero(erased[row]).tolist())
        except reedsolo.ReedSolomonError:
            assert not found.ok[row]
            assert not found.data[row].any()
        else:
            assert found.ok[row]
            assert found.data[row].tolist() == list(expected[0])


@st.composite
def codes(draw: st.DrawFn) -> ReedSolomon:
    bits = draw(st.integers(2, 16))
    length = draw(st.integers(1, min(2**bits - 1, 60)))
    return ReedSolomon(length=length, data=draw(st.integers(1, length)), symbol_bits=bits)


@settings(max_examples=150, deadline=None)
@given(code=codes(), seed=st.integers(0, 2**32), erased_share=st.floats(0, 1), error_share=st.floats(0, 1))
def test_corrects_whatever_lies_within_the_radius(
    code: ReedSolomon, seed: int, erased_share: float, error_share: float
) -> None:
    order = 2**code.symbol_bits - 1
    draw = np.random.default_rng(seed)
    data = draw.integers(0, order + 1, (5, code.data))
    erasures = np.round(np.linspace(0, 1, 5) * erased_share * code.redundancy).astype(np.int64)
    errors = np.round(error_share * ((code.redundancy - erasures) // 2)).astype(np.int64)
    words = code.encode(data)
    assert np.array_equal(words[:, : code.data], data)
    found = code.decode(*damaged(words, errors, erasures, order, seed))
    assert found.ok.all()
    assert np.array_equal(found.data, data)
    assert np.array_equal(found.errors, errors)


@pytest.mark.parametrize(("length", "data", "bits"), [(7, 2, 3), (6, 3, 3), (5, 1, 4), (3, 2, 2)])
def test_decodes_if_and_only_if_a_codeword_is_within_the_radius(length: int, data: int, bits: int) -> None:
    """Beside all codewords; more rows than are decoded at once."""
    code = ReedSolomon(length=length, data=data, symbol_bits=bits)
    everything = np.array(list(itertools.product(range(2**bits), repeat=data)))
    words = code.encode(everything)
    draw = np.random.default_rng(length)
    rows = 2**18 // length + 1000 if length == 7 else 4000
    received = draw.integers(0, 2**bits, (rows, length)).astype(np.uint16)
    erased = draw.random((rows, length)) < draw.random((rows, 1))
    found = code.decode(received, erased)

    ok, carried, errors = np.zeros(rows, np.bool_), np.zeros((rows, data)), np.zeros(rows)
    erasures = erased.sum(axis=1)
    for symbols, word in zip(everything, words, strict=True):
        distance = ((received != word) & ~erased).sum(axis=1)
        near = 2 * distance + erasures <= code.redundancy
        assert not (ok & near).any()
        ok |= near
        carried[near], errors[near] = symbols, distance[near]
    assert 0.05 < ok.mean() < 0.95
    assert np.array_equal(found.ok, ok)
    assert np.array_equal(found.data, carried)
    assert np.array_equal(found.errors, errors)


def test_rows_do_not_depend_on_each_other() -> None:
    code = ReedSolomon(length=30, data=10)
    draw = np.random.default_rng(0)
    words = code.encode(draw.integers(0, 256, (60, 10)))
    received, erased = damaged(words, draw.integers(0, 12, 60), draw.integers(0, 18, 60), 255, seed=1)
    together = code.decode(received, erased)
    alone = [code.decode(received[i : i + 1], erased[i : i + 1]) for i in range(60)]
    assert 0 < together.ok.sum() < 60
    assert together.ok.tolist() == [bool(one.ok[0]) for one in alone]
    assert np.array_equal(together.data, np.concatenate([one.data for one in alone]))
    assert code.decode(received[:0], erased[:0]).data.shape == (0, 10)
    assert np.array_equal(code.encode(words[:, :10].reshape(3, 20, 10)), words.reshape(3, 20, 30))


def test_refuses_what_is_no_code_and_no_word() -> None:
    for length, data, bits in [(256, 10, 8), (10, 0, 8), (10, 11, 8)]:
        with pytest.raises(BadInput, match="1 <= data <= length <= 255"):
            ReedSolomon(length=length, data=data, symbol_bits=bits)
    with pytest.raises(BadInput, match="2 to 16 bits, not of 17"):
        ReedSolomon(length=10, data=5, symbol_bits=17)
    code = ReedSolomon(length=6, data=3, symbol_bits=3)
    with pytest.raises(BadInput, match="outside 0 to 7"):
        code.encode([1, 2, 8])
    with pytest.raises(BadInput, match=r"received must be integers \(\.\.\., 6\), got float64"):
        code.decode(np.zeros((1, 6)), np.zeros((1, 6), np.bool_))
    with pytest.raises(BadInput, match=r"both be \(B, 6\)"):
        code.decode(np.zeros((2, 6), np.uint16), np.zeros((1, 6), np.bool_))
