"""A keyed random binary linear code with a check, decoded from soft values in which zeros are erasures."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from cwwm.codes.base import Bits, Check, Decoded, Word, check_message
from cwwm.ownership.keys import Stream
from cwwm.support.errors import BadInput

Packed = npt.NDArray[np.uint64]
Reals = npt.NDArray[np.floating[Any]]

CHECK_BITS = 32
_MOST_ENTRIES = 2**27  # of a generator, a byte each
_LONGEST = 2**31
_EXCESS = 64  # columns beyond the rank at which a random matrix lacks it with probability 2^-64
_SPARE = 10  # survivors beyond the information bits: a random code then fails with probability below 2^-10


@dataclass(frozen=True, kw_only=True)
class LinearCode:
    """Codewords uG of the information bits u = (payload, check), G fair coins from a keyed stream.

    The decoder is ordered-statistics decoding (Fossorier and Lin 1995) of order 1: the most reliable
    independent positions fix the information bits, then each of these bits is flipped in turn; the
    candidates are tried in the order of their correlation with what was read, until one agrees with the
    check. If all surviving positions are right it decodes exactly if their columns of G have full rank:
    e survivors more than information bits fail with probability about 2^-e.

    Args:
        payload_bits: message bits k, at least 1.
        length: n, positions of a codeword, at least k + check_bits.
        check_bits: keyed check bits, at least 1; a false candidate passes with probability 2^-check_bits.

    Raises:
        BadInput: if the codeword is too short for the payload and its check.
    """

    payload_bits: int
    length: int
    check_bits: int = CHECK_BITS

    def __post_init__(self) -> None:
        if self.payload_bits < 1 or self.check_bits < 1:
            raise BadInput("a linear code needs payload_bits >= 1 and check_bits >= 1")
        if self.length < self.information:
            raise BadInput(
                f"a codeword of {self.length} positions cannot carry {self.payload_bits} message bits and "
                f"{self.check_bits} check bits; use a length of at least {self.information}"
            )

        if self.information * self.length > _MOST_ENTRIES:
            raise BadInput(
                f"a linear code of {self.length:,} positions for {self.payload_bits:,} bits is too large: its "
                f"matrix has more than {_MOST_ENTRIES:,} entries"
            )

    @property
    def information(self) -> int:
        """Return the dimension of the code: payload and check bits."""
        return self.payload_bits + self.check_bits

    def generator(self, stream: Stream) -> Bits:
        """Return G, uint8 (information, length) of fair coins."""
        return stream.bits(self.information * self.length).reshape(self.information, self.length)

    def rank_law(self, erased: float) -> float:
        """Return P(the surviving columns have full rank), each position erased with that probability: the limit."""
        n, least = self.length, self.information
        survivors = np.arange(least, min(least + _EXCESS, n) + 1)
        cumulated = bdtr(np.arange(least - 1, survivors[-1] + 1), n, 1 - erased)
        few = float(np.diff(cumulated) @ full_rank(least, survivors))
        return min(1.0, few + 1 - float(cumulated[-1]))

    def encode(self, bits: npt.ArrayLike, generator: Bits, check: Check) -> Word:
        """Return the codeword, bool (length,), of the payload `bits` (payload_bits,) and its check.

        Raises:
            BadInput: if `bits` are not payload_bits zeros and ones.
        """
        payload = check_message(bits, self.payload_bits)
        chosen = np.concatenate([payload, check(payload, 0)]).astype(np.bool_)
        word: Word = np.bitwise_xor.reduce(generator[chosen], axis=0, initial=0).astype(np.bool_)
        return word

    def decode(self, values: Reals, generator: Bits, check: Check) -> Decoded:
        """Return what soft `values`, finite floats (length,), carry: positive for one, exact zeros erased.

        Raises:
            BadInput: if there are not `length` finite values.
        """
        if values.shape != (self.length,) or not np.isfinite(values).all():
            raise BadInput(f"a word to decode is {self.length} finite values, not shape {values.shape}")
        erased = int(np.sum(values == 0))
        order = np.argsort(-np.abs(values), kind="stable")[: self.length - erased]
        basis = _reduce(generator[:, order]) if len(order) >= self.information else None
        if basis is None:
            return Decoded(np.zeros(self.payload_bits, np.uint8), ok=False, erased=erased)
        return self._search(values[order].astype(np.float64), basis, check, erased)

    def _search(self, values: npt.NDArray[np.float64], basis: "_Basis", check: Check, erased: int) -> Decoded:
        """Try the order-0 word and its neighbours, best correlation first."""
        tried = 0
        for data, word in basis.candidates(values):
            tried += 1
            payload = data[: self.payload_bits]
            if np.array_equal(check(payload, 0), data[self.payload_bits :]):
                corrected = int(np.sum(word != (values > 0)))
                return Decoded(payload, ok=True, erased=erased, corrected=corrected, candidates=tried)
        return Decoded(np.zeros(self.payload_bits, np.uint8), ok=False, erased=erased, candidates=tried)


def full_rank(rows: int, columns: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return P(a random binary matrix of `rows` rows and so many columns has rank `rows`), float64, same shape.

    It is the product of 1 - 2^-j for j from columns - rows + 1 to columns; 0 with fewer columns than rows.
    """
    count = np.asarray(columns)
    factors = np.append(1 - 2.0 ** -np.arange(1.0, 65.0), 1.0)  # 2^-65 is below rounding
    beyond = np.cumprod(factors[::-1])[::-1]  # product of the factors from j + 1 on
    law = beyond[np.clip(count - rows, 0, 64)] / beyond[np.clip(count, 0, 64)]
    return np.where(count < rows, 0.0, law)


def shortest_length(information: int, survive: float, failure: float = 1e-3) -> int:
    """Return the least n with P(Binomial(n, 1 - survive) < information + 10) <= failure."""
    wanted = information + _SPARE - 1
    low, high = wanted, wanted + 1
    while bdtr(wanted, high, 1 - survive) > failure:
        if high > _LONGEST:
            raise BadInput(f"no linear code of at most {_LONGEST:,} positions survives {survive}")
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if bdtr(wanted, middle, 1 - survive) > failure else (low, middle)
    return high


@dataclass(frozen=True)
class _Basis:
    """A reduced generator: identity on the pivots.

    Attributes:
        pivots: the positions that fix the information bits, most reliable first, int64 (k,).
        rows: codewords, one for each pivot, uint8 (k, positions).
        data: the information bits of each row, uint8 (k, k).
    """

    pivots: npt.NDArray[np.int64]
    rows: Bits
    data: Bits

    def candidates(self, values: npt.NDArray[np.float64]) -> Iterator[tuple[Bits, Word]]:
        """Yield (information bits, codeword) of orders 0 and 1 for soft values in the order of positions."""
        chosen = values[self.pivots] > 0
        data = np.bitwise_xor.reduce(self.data[chosen], axis=0, initial=0)
        word = np.bitwise_xor.reduce(self.rows[chosen], axis=0, initial=0)
        agreement = values * (2.0 * word - 1.0)
        loss = self.rows.astype(np.float32) @ agreement.astype(np.float32)
        for flip in np.argsort(np.append(loss, 0.0), kind="stable"):
            if flip == len(loss):
                yield data, word.astype(np.bool_)
            else:
                yield data ^ self.data[flip], (word ^ self.rows[flip]).astype(np.bool_)


def _reduce(matrix: Bits) -> _Basis | None:
    """Return the Gauss-Jordan form of `matrix`, uint8 (k, m), pivots leftmost; None below full rank."""
    k, m = matrix.shape
    packed = np.concatenate([_pack(matrix), _pack(np.eye(k, dtype=np.uint8))], axis=1)
    pivots: list[int] = []
    for column in range(m):
        rank, word = len(pivots), column >> 6
        ones = np.flatnonzero((packed[:, word] >> np.uint64(column & 63)) & np.uint64(1))
        below = np.searchsorted(ones, rank)
        if below == len(ones):
            continue
        pivot = ones[below]
        # The rows not yet used are zero in all columns before this one: only words from here on can change.
        row = packed[pivot, word:].copy()
        packed[ones, word:] ^= row
        packed[pivot], packed[rank, :word], packed[rank, word:] = packed[rank].copy(), 0, row
        pivots.append(column)
        if len(pivots) == k:
            words = -(-m // 64)
            return _Basis(np.array(pivots), _unpack(packed[:, :words], m), _unpack(packed[:, words:], k))
    return None


def _pack(bits: Bits) -> Packed:
    """Return bits, uint8 (rows, columns), as uint64 (rows, ceil(columns / 64)), the first bit lowest."""
    padded = np.pad(np.packbits(bits, axis=1, bitorder="little"), ((0, 0), (0, (-bits.shape[1] // 8) % 8)))
    return np.ascontiguousarray(padded).view("<u8").astype(np.uint64)


def _unpack(packed: Packed, columns: int) -> Bits:
    octets = np.ascontiguousarray(packed).astype("<u8").view(np.uint8)
    return np.unpackbits(octets, axis=1, count=columns, bitorder="little")
