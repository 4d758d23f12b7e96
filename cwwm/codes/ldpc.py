"""Regular low-density parity-check codes (Gallager 1962), decoded by normalised min-sum from soft values."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from cwwm.codes.base import Bits, Word
from cwwm.ownership.keys import Stream
from cwwm.support.errors import BadInput

Reals = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

ITERATIONS = 30
_SCALE = 0.75  # of min-sum's messages, which are too sure of themselves (Chen and Fossorier 2002)
_LONGEST = 1 << 15
_CERTAIN = 1e6  # log-odds of a bit that the reader knows


@dataclass(frozen=True, kw_only=True)
class LdpcCode:
    """Gallager's construction: bands of disjoint checks, every band but the first permuted.

    Each position is in `column_weight` checks, each check has `row_weight` positions. The matrix is public and the
    same everywhere: it follows from the three numbers. It has `length * column_weight / row_weight` rows, at least
    column_weight - 1 of which follow from the others; the bits that this would leave free are not used.

    Args:
        length: n, positions of a word; a multiple of `row_weight`, at most 32,768.
        column_weight: d_v, at least 2.
        row_weight: d_c, above `column_weight`.

    Raises:
        BadInput: for numbers that make no such code.
    """

    length: int
    column_weight: int = 3
    row_weight: int = 12

    def __post_init__(self) -> None:
        if not 2 <= self.column_weight < self.row_weight:
            raise BadInput(
                f"a regular LDPC code needs 2 <= column weight < row weight, not {self.column_weight} and "
                f"{self.row_weight}"
            )
        if not self.row_weight <= self.length <= _LONGEST or self.length % self.row_weight:
            raise BadInput(
                f"a word of {self.length} positions is no multiple of the row weight {self.row_weight}, or not "
                f"between it and {_LONGEST:,}"
            )

    @property
    def checks(self) -> int:
        """Return the number of parity checks."""
        return self.length * self.column_weight // self.row_weight

    @property
    def information(self) -> int:
        """Return the number of bits that a word carries."""
        return self.length - self.checks

    def encode(self, bits: Bits) -> Word:
        """Return codewords, bool (words, length), of bits, uint8 (words, information)."""
        form = _systematic(self)
        word = np.zeros((len(bits), self.length), np.uint8)
        word[:, form.free] = bits
        parity = word[:, form.free].astype(np.int64) @ form.sums.T
        word[:, form.fixed] = parity & 1
        return word.astype(np.bool_)

    def systematic(self, words: Word) -> Bits:
        """Return the bits that stand in words, bool (words, length), as they are: uint8 (words, information)."""
        return words[:, _systematic(self).free].astype(np.uint8)

    def decode(self, odds: Reals, known: int = 0, ones: Bits | None = None) -> tuple[Bits, npt.NDArray[np.bool_]]:
        """Return the bits read, uint8 (words, information), and which words satisfy all checks, bool (words,).

        Args:
            odds: log of P(one) over P(zero) of each position, finite float64 (words, length).
            known: how many bits of the last word, counted from its end, the reader knows.
            ones: these bits, uint8 (known,).
        """
        form = _systematic(self)
        odds = odds.copy()
        if known and ones is not None:
            odds[-1, form.free[-known:]] = np.where(ones, _CERTAIN, -_CERTAIN)
        word, good = _min_sum(odds, _positions(self))
        return self.systematic(word), good


@dataclass(frozen=True)
class _Systematic:
    """Positions that carry bits and those that follow from them, int64, and which bits each of these sums up."""

    free: Places
    fixed: Places
    sums: npt.NDArray[np.int64]


@lru_cache(8)
def _positions(code: LdpcCode) -> Places:
    """Return the positions of each check, int64 (checks, row_weight)."""
    name = f"cwwm-ldpc v1 {code.length} {code.column_weight} {code.row_weight}"
    stream = Stream(hashlib.sha256(name.encode()).digest())
    bands = [
        np.arange(code.length),
        *(stream.sample(code.length, code.length) for _ in range(code.column_weight - 1)),
    ]
    return np.concatenate(bands).reshape(-1, code.row_weight)


@lru_cache(8)
def _systematic(code: LdpcCode) -> _Systematic:
    """Return the form of a code in which bits stand in the word as they are, by elimination over GF(2)."""
    rows = np.zeros((code.checks, code.length), np.bool_)
    rows[np.arange(code.checks)[:, None], _positions(code)] = True
    fixed: list[int] = []
    for column in range(code.length - 1, -1, -1):
        below = np.flatnonzero(rows[len(fixed) :, column])
        if len(below):
            _eliminate(rows, len(fixed), len(fixed) + int(below[0]), column)
            fixed.append(column)
            if len(fixed) == code.checks:
                break
    free = np.setdiff1d(np.arange(code.length), fixed)[: code.information]
    return _Systematic(free, np.array(fixed), rows[: len(fixed), free].astype(np.int64))


def _eliminate(rows: npt.NDArray[np.bool_], pivot: int, found: int, column: int) -> None:
    """Bring row `found` to `pivot`, and clear the column in all other rows."""
    rows[[pivot, found]] = rows[[found, pivot]]
    others = np.flatnonzero(rows[:, column])
    rows[others[others != pivot]] ^= rows[pivot]


def _min_sum(odds: Reals, positions: Places) -> tuple[Word, npt.NDArray[np.bool_]]:
    """Return the words, bool (words, n), after at most `ITERATIONS` rounds, and which satisfy all checks."""
    edges = np.argsort(positions.reshape(-1), kind="stable").reshape(odds.shape[1], -1)
    word, good = odds > 0, _satisfied(odds > 0, positions)
    sent = odds[:, positions]
    for _ in range(ITERATIONS):
        if good.all():
            break
        back = _answers(sent)
        total = odds + back.reshape(len(odds), -1)[:, edges].sum(-1)
        sent = total[:, positions] - back
        word = np.where(good[:, None], word, total > 0)
        good = good | _satisfied(word, positions)
    return word, good


def _answers(sent: Reals) -> Reals:
    """Return what each check tells each of its positions, float64 (words, checks, d), from what they told it."""
    sizes = np.abs(sent)
    least = np.sort(np.partition(sizes, 1, axis=-1)[..., :2], axis=-1)
    first = np.argmin(sizes, axis=-1)[..., None] == np.arange(sizes.shape[-1])
    magnitudes = np.where(first, least[..., 1:], least[..., :1])
    # a check is even: its position is one if the others have an odd number of ones
    others: Any = (np.sum(sent > 0, axis=-1, keepdims=True) - (sent > 0)) & 1
    return np.asarray(_SCALE * magnitudes * np.where(others, 1.0, -1.0))


def _satisfied(word: Word, positions: Places) -> npt.NDArray[np.bool_]:
    return np.asarray((word[:, positions].sum(-1) & 1 == 0).all(-1))
