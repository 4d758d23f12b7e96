"""Times the constant-weight code beside the papers' recurrence."""

import numpy as np
import pytest

from bench.perf.conftest import BesideNaive
from bench.perf.naive import naive_decode, naive_encode
from cwwm.codes import ConstantWeightCode

SIZES = [(544, 56), (28_813, 581), (100_000, 10_000)]


@pytest.mark.parametrize(("length", "weight"), SIZES)
def test_encode(beside_naive: BesideNaive, length: int, weight: int) -> None:
    code = ConstantWeightCode(length=length, weight=weight)
    bits = np.random.default_rng(0).integers(0, 2, code.payload_bits, dtype=np.uint8)
    assert np.array_equal(code.encode(bits), naive_encode(bits, length, weight))
    beside_naive(
        f"encode ({length}, {weight}), {code.arithmetic}",
        ours=lambda: code.encode(bits),
        naive=lambda: naive_encode(bits, length, weight),
    )


@pytest.mark.parametrize(("length", "weight"), SIZES)
def test_decode(beside_naive: BesideNaive, length: int, weight: int) -> None:
    code = ConstantWeightCode(length=length, weight=weight)
    word = code.encode(np.random.default_rng(0).integers(0, 2, code.payload_bits, dtype=np.uint8))
    assert np.array_equal(code.decode(word).bits, naive_decode(word, weight))
    beside_naive(
        f"decode ({length}, {weight}), {code.arithmetic}",
        ours=lambda: code.decode(word),
        naive=lambda: naive_decode(word, weight),
    )
