"""Times the protected constant-weight code beside a plain reading with reedsolo, 256 bits in 160 blocks of 256."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pytest
import reedsolo

from bench.perf.conftest import BesideNaive
from cwwm.codes import ProtectedCode
from cwwm.ownership.keys import Key
from cwwm.schemes.common.keyed import keyed_check

CODE = ProtectedCode(payload_bits=256, blocks=160)
CHECK = keyed_check(Key.for_harness(purpose="perf").choices(bytes(16)), CODE.check_bits)
MESSAGE = np.random.default_rng(0).integers(0, 2, CODE.payload_bits, dtype=np.uint8)
OUTER = reedsolo.RSCodec(CODE.redundancy)

Magnitudes = npt.NDArray[np.float32]


def naive_search(magnitudes: Magnitudes, counts: Iterable[int]) -> list[int] | None:
    """Read block after block, then let reedsolo decode with these numbers of erasures, one after the other."""
    blocks = magnitudes.reshape(CODE.blocks, CODE.block_length)
    order = [np.argsort(block) for block in blocks]
    gaps = [float(block[o[-1]] - block[o[-2]]) for block, o in zip(blocks, order, strict=True)]
    received = bytes(int(o[-1]) for o in order)
    doubtful = np.argsort(gaps).tolist()
    for count in counts:
        try:
            data = OUTER.decode(received, erase_pos=doubtful[:count])[0]
        except reedsolo.ReedSolomonError:
            continue
        bits = np.unpackbits(np.frombuffer(bytes(data), np.uint8), bitorder="little")
        if np.array_equal(CHECK(bits[: CODE.payload_bits], 0), bits[CODE.payload_bits :]):
            return [int(bit) for bit in bits[: CODE.payload_bits]]
    return None


def every_count() -> list[int]:
    return list(range(0, CODE.redundancy + 1, 2))


@pytest.fixture
def noise() -> Magnitudes:
    return np.abs(np.random.default_rng(1).normal(size=CODE.length)).astype(np.float32)


@pytest.fixture
def marked(noise: Magnitudes) -> Magnitudes:
    """Ones above all zeros, as an unattacked host shows them."""
    return np.where(CODE.encode(MESSAGE, CHECK), noise + 3, np.minimum(noise, 2)).astype(np.float32)


@pytest.fixture
def damaged(noise: Magnitudes, marked: Magnitudes) -> Magnitudes:
    """Ninety of the 160 blocks replaced by noise."""
    blocks = np.repeat(np.random.default_rng(2).permutation(CODE.blocks) < 90, CODE.block_length)
    return np.where(blocks, noise, marked).astype(np.float32)


def test_read_unattacked(beside_naive: BesideNaive, marked: Magnitudes) -> None:
    assert np.array_equal(CODE.decode_one(CODE.read(marked), CHECK).bits, MESSAGE)
    assert naive_search(marked, [0]) == MESSAGE.tolist()
    beside_naive(
        "protected (160 x 256), unattacked",
        ours=lambda: CODE.decode_one(CODE.read(marked), CHECK),
        naive=lambda: naive_search(marked, [0]),
    )


def test_search_damaged(beside_naive: BesideNaive, damaged: Magnitudes) -> None:
    found = CODE.decode_one(CODE.read(damaged), CHECK)
    assert np.array_equal(found.bits, MESSAGE)
    assert found.erased > 0
    assert naive_search(damaged, every_count()) == MESSAGE.tolist()
    beside_naive(
        "protected (160 x 256), 90 blocks lost",
        ours=lambda: CODE.decode_one(CODE.read(damaged), CHECK),
        naive=lambda: naive_search(damaged, every_count()),
    )


def test_search_noise(beside_naive: BesideNaive, noise: Magnitudes) -> None:
    assert not CODE.decode_one(CODE.read(noise), CHECK).ok
    assert naive_search(noise, every_count()) is None
    beside_naive(
        "protected (160 x 256), noise, full search",
        ours=lambda: CODE.decode_one(CODE.read(noise), CHECK),
        naive=lambda: naive_search(noise, every_count()),
    )
