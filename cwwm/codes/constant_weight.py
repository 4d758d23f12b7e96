"""The papers' code: a payload is the number of a word among all words of one length and one weight."""

import math
import operator
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from cwwm.codes import enumerative
from cwwm.codes.base import Bits, Decoded, Word, check_message
from cwwm.codes.integers import Integers, fastest
from cwwm.support.errors import BadInput

# Codes with at most this many (position, index) pairs are read from a table of binomials, built once.
_TABLE_CELLS = 2**17
# Larger codes would fill the memory, or take minutes where gmpy2 is not installed.
_MOST_SYMBOLS, _MOST_BITS = 2**31 - 1, 2**19


@dataclass(frozen=True, kw_only=True)
class ConstantWeightCode:
    """All words of `length` symbols with exactly `weight` ones, in colexicographic order.

    Schalkwijk 1972; Cover 1973; for neural networks arXiv 2107.02961. Payload b_0 ... b_{k-1} is the number
    sum b_t 2^t of its word, k = floor(log2 C(length, weight)).

    Args:
        length: number of symbols L, at least 2.
        weight: number of ones, 0 < weight < length.

    Raises:
        BadInput: the parameters are no integers, or leave no payload bit.
    """

    length: int
    weight: int

    def __post_init__(self) -> None:
        for name in ("length", "weight"):
            object.__setattr__(self, name, _integer(getattr(self, name), name))
        if not 0 < self.weight < self.length:
            raise BadInput(
                f"{self!r} carries no payload: weight must lie between 1 and length - 1 = {self.length - 1}"
            )
        if self.length > _MOST_SYMBOLS or _bits(self.length, self.weight) > _MOST_BITS:
            raise BadInput(
                f"{self!r} is too large: {_MOST_SYMBOLS:,} symbols and {_MOST_BITS:,} payload bits are the most"
            )

    @classmethod
    def smallest(cls, payload_bits: int, density: float) -> "ConstantWeightCode":
        """Return the shortest code for `payload_bits` bits with about `density` ones a symbol.

        The weight of length L is round(density L), at least 1 and at most L - 1.

        Raises:
            BadInput: payload_bits is below 1, or density is not strictly between 0 and 1.
        """
        payload_bits = _integer(payload_bits, "payload_bits")
        if payload_bits < 1:
            raise BadInput(f"payload_bits is {payload_bits}; a code carries at least 1")
        if not 0 < density < 1:
            raise BadInput(f"density is {density}; it must lie strictly between 0 and 1")
        if payload_bits > _MOST_BITS:
            raise BadInput(f"payload_bits is {payload_bits}; {_MOST_BITS:,} are the most")
        length = _guess_length(payload_bits, density)
        while length > 2 and _capacity(length - 1, _weight(length - 1, density)) >= payload_bits:
            length -= 1
        while _capacity(length, _weight(length, density)) < payload_bits:
            length += 1
        return cls(length=length, weight=_weight(length, density))

    @property
    def payload_bits(self) -> int:
        """Number of payload bits k = floor(log2 C(length, weight))."""
        return _capacity(self.length, self.weight)

    @property
    def size(self) -> int:
        """Number of words C(length, weight)."""
        return int(_words(self.length, self.weight))

    @property
    def arithmetic(self) -> str:
        """The big integers in use: ``"gmpy2"`` where that is installed, else ``"int"``; results are equal."""
        return _integers().name

    def encode(self, bits: npt.ArrayLike) -> Word:
        """Return the word, bool (length,), of the payload `bits` (payload_bits,), b_0 least significant.

        Raises:
            BadInput: `bits` has another shape or holds something else than 0 and 1.
        """
        payload = check_message(bits, self.payload_bits)
        return self.unrank(int.from_bytes(np.packbits(payload, bitorder="little").tobytes(), "little"))

    def decode(self, x: npt.NDArray[Any]) -> Decoded:
        """Read a bool word (length,), or float reliabilities (length,) whose `weight` largest are the ones.

        Equal reliabilities are taken lowest position first; if a tie straddles the cut, `erased` counts the
        positions that share it. A rank of 2^payload_bits or more is a detected failure: ok is False.

        Raises:
            BadInput: another shape, another number of ones, or a NaN.
        """
        values = np.asarray(x)
        if values.shape != (self.length,):
            raise BadInput(f"a word of {self!r} has shape ({self.length},), got {values.shape}")
        word, tied = (values, 0) if values.dtype == np.bool_ else _largest(values, self.weight)
        rank = self.rank(word)
        ok = rank.bit_length() <= self.payload_bits
        return Decoded(bits=_bits_of(rank if ok else 0, self.payload_bits), ok=ok, erased=tied)

    def ones(self, reliabilities: npt.NDArray[Any]) -> Word:
        """Return the word, bool (length,), whose ones are the `weight` largest of `reliabilities` (length,)."""
        return _largest(np.asarray(reliabilities), self.weight)[0]

    def rank(self, word: npt.NDArray[Any]) -> int:
        """Return the number of a bool `word` (length,): sum_j C(p_j, j) over its ones, ascending.

        Raises:
            BadInput: `word` is no bool array of this length and weight.
        """
        word = np.asarray(word)
        if word.shape != (self.length,) or word.dtype != np.bool_:
            raise BadInput(
                f"a word of {self!r} is bool ({self.length},), got {word.dtype} {word.shape}; "
                "decode() also takes reliabilities"
            )
        ones = np.flatnonzero(word)
        if len(ones) != self.weight:
            raise BadInput(f"a word of {self!r} has {self.weight} ones, got {len(ones)}")
        if self._swapped:
            return self.size - 1 - self._rank_positions(np.flatnonzero(~word).tolist())
        return self._rank_positions(ones.tolist())

    def unrank(self, rank: int) -> Word:
        """Return the word, bool (length,), with number `rank`.

        Raises:
            BadInput: `rank` is not in [0, C(length, weight)).
        """
        rank = _integer(rank, "rank")
        if not 0 <= rank < self.size:
            raise BadInput(f"rank is {_brief(rank)}; {self!r} numbers its words from 0 to {_brief(self.size - 1)}")
        word = np.full(self.length, self._swapped)
        word[self._unrank_positions(self.size - 1 - rank if self._swapped else rank)] = not self._swapped
        return word

    @property
    def _swapped(self) -> bool:
        """Zeros are fewer: a word's complement has the mirrored number, so count those instead."""
        return 2 * self.weight > self.length

    @property
    def _marks(self) -> int:
        return min(self.weight, self.length - self.weight)

    @property
    def _tabulated(self) -> bool:
        return self.length * self._marks <= _TABLE_CELLS

    def _rank_positions(self, positions: list[int]) -> int:
        if self._tabulated:
            return sum(map(list.__getitem__, _table(self.length, self._marks), positions))
        return enumerative.rank_of(positions, self.length, _integers())

    def _unrank_positions(self, rank: int) -> list[int]:
        if self._tabulated:
            return _looked_up(rank, _table(self.length, self._marks))
        return enumerative.positions_of(rank, self.length, self._marks, _integers())


@cache
def _integers() -> Integers:
    return fastest()


@lru_cache(maxsize=256)
def _words(length: int, weight: int) -> int:
    return _integers().choose(length, weight)


def _capacity(length: int, weight: int) -> int:
    return _words(length, weight).bit_length() - 1


@lru_cache(maxsize=8)
def _table(length: int, weight: int) -> list[list[int]]:
    """Return C(n, j) for j = 1..weight (rows) and n = 0..length - 1, by summing the row before."""
    rows = [list(range(length))]
    while len(rows) < weight:
        rows.append(list(accumulate(rows[-1][:-1], initial=0)))
    return rows


def _looked_up(rank: int, table: list[list[int]]) -> list[int]:
    positions = []
    top = len(table[0])
    for row in reversed(table):
        top = bisect_right(row, rank, 0, top) - 1
        rank -= row[top]
        positions.append(top)
    return positions[::-1]


def _largest(values: npt.NDArray[Any], count: int) -> tuple[Word, int]:
    """Return the mask of the `count` largest values and the number tied across the cut."""
    if values.dtype.kind not in "fiu":
        raise BadInput(f"a word holds bool or real values, got {values.dtype}")
    if np.isnan(values).any():
        raise BadInput(f"reliabilities hold {int(np.isnan(values).sum())} NaN; replace them before decoding")
    cut = np.partition(values, len(values) - count)[len(values) - count]
    word = values > cut
    tied = np.flatnonzero(values == cut)
    needed = count - int(word.sum())
    word[tied[:needed]] = True
    return word, len(tied) if needed < len(tied) else 0


def _bits_of(number: int, count: int) -> Bits:
    digits = np.frombuffer(number.to_bytes(-(-count // 8), "little"), np.uint8)
    return np.unpackbits(digits, count=count, bitorder="little")


def _integer(value: object, name: str) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise BadInput(f"{name} is {value!r}; it must be an integer") from None


def _brief(number: int) -> str:
    return str(number) if number.bit_length() < 64 else f"about 2^{number.bit_length() - 1}"


def _weight(length: int, density: float) -> int:
    return min(max(1, round(density * length)), length - 1)


def _bits(length: int, weight: int) -> float:
    """Return about log2 C(length, weight), at once."""
    nats = math.lgamma(length + 1) - math.lgamma(weight + 1) - math.lgamma(length - weight + 1)
    return nats / math.log(2)


def _guess_length(payload_bits: int, density: float) -> int:
    """Return about the least length that suffices, by log-gamma; C(L, round(density L)) never falls with L."""
    goal = payload_bits * math.log(2)

    def suffices(length: int) -> bool:
        return _bits(length, _weight(length, density)) * math.log(2) >= goal

    high = 2
    while not suffices(high):
        if high > _MOST_SYMBOLS:
            raise BadInput(
                f"no code of at most {_MOST_SYMBOLS:,} symbols carries {payload_bits} bits at density {density:g}"
            )
        high *= 2
    return max(2, bisect_left(range(high), True, key=suffices, lo=2))
