"""Reed-Solomon codes over GF(2^m) that correct errors and erasures, a whole batch of words at once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cwwm.codes.galois import Elements, Exponents, Field, field
from cwwm.support.errors import BadInput

Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

# Symbols of a codeword: the fixed matrices of longer ones fill the memory, and decoding takes minutes.
LONGEST = 2**12
# Symbols decoded at once; more gain nothing and cost memory.
_SYMBOLS = 2**18
# float32 counts exactly up to here.
_EXACT = 2**24


@dataclass(frozen=True)
class Corrected:
    """A batch of B decoded words.

    Attributes:
        data: uint16 (B, data), the data symbols; all zero where `ok` is False.
        ok: bool (B,), False where no codeword lies within the decoding radius.
        errors: int64 (B,), wrong symbols that had not been declared erased; zero where `ok` is False.
    """

    data: Elements
    ok: Mask
    errors: Counts


@dataclass(frozen=True, kw_only=True)
class ReedSolomon:
    """The systematic code of `length` symbols, `data` of them free, over GF(2^symbol_bits).

    Reed and Solomon 1960; shortened where length < 2^symbol_bits - 1. A word is the polynomial
    sum_i c_i x^(length-1-i), the data before the parity, with the roots alpha^0, ..., alpha^(r-1),
    r = length - data. The fixed matrices take about 24 length^2 bytes.

    Args:
        length: symbols of a codeword, at most 2^symbol_bits - 1.
        data: data symbols of a codeword, 1 to `length`.
        symbol_bits: m, 2 to 16.

    Raises:
        BadInput: a number out of its range.
    """

    length: int
    data: int
    symbol_bits: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.data <= self.length <= self._field.order:
            raise BadInput(
                f"{self!r} is no code: it needs 1 <= data <= length <= {self._field.order} = 2^symbol_bits - 1"
            )
        if self.length > LONGEST:
            raise BadInput(f"{self!r} is too large: {LONGEST} symbols are the most")

    @property
    def redundancy(self) -> int:
        """Number of parity symbols r; 2 errors + erasures up to r are corrected."""
        return self.length - self.data

    def encode(self, data: npt.ArrayLike) -> Elements:
        """Return the codewords, uint16 (..., length), of data symbols (..., data).

        Raises:
            BadInput: another shape, or a symbol that is not in [0, 2^symbol_bits).
        """
        free = self._checked(np.asarray(data), self.data, "data")
        words = np.zeros((*free.shape[:-1], self.length), np.uint16)
        words[..., : self.data] = free
        parity = np.arange(self.length) >= self.data
        flat = words.reshape(-1, self.length)
        return self._filled(flat, np.broadcast_to(parity, flat.shape)).reshape(words.shape)

    def decode(self, received: npt.ArrayLike, erased: npt.ArrayLike) -> Corrected:
        """Return what the words (B, length) carry, given which of their symbols are unknown, bool (B, length).

        A row is corrected if and only if 2 errors + erasures <= r for some codeword; which is then the only
        one. The values of erased symbols do not matter.

        Raises:
            BadInput: shapes differ from (B, length), or a symbol is not in [0, 2^symbol_bits).
        """
        words = self._checked(np.asarray(received), self.length, "received")
        unknown = np.asarray(erased)
        if words.ndim != 2 or unknown.shape != words.shape or unknown.dtype != np.bool_:
            raise BadInput(
                f"received and erased must both be (B, {self.length}), erased bool; "
                f"got {words.shape} and {unknown.dtype} {unknown.shape}"
            )
        result = Corrected(
            np.zeros((len(words), self.data), np.uint16),
            np.zeros(len(words), np.bool_),
            np.zeros(len(words), np.int64),
        )
        at_once = max(1, _SYMBOLS // self.length)
        for start in range(0, len(words), at_once):
            part = slice(start, start + at_once)
            self._decode(
                words[part], unknown[part], Corrected(result.data[part], result.ok[part], result.errors[part])
            )
        return result

    def _decode(self, words: Elements, erased: Mask, result: Corrected) -> None:
        """Decode into `result`, whose rows are all zero."""
        known = self.redundancy - erased.sum(axis=1)
        rows = np.argsort(-known, kind="stable")[: np.count_nonzero(known >= 0)]
        words, erased = words[rows], erased[rows]
        wrong, found = self._errors(words, erased, known[rows])
        rows, words, erased = rows[found], words[found], erased[found]
        missing = erased | wrong[found]
        # Rows without any missing symbol have shown zero syndromes already.
        fixed, valid = words.copy(), np.ones(len(words), np.bool_)
        some = np.flatnonzero(missing.any(axis=1))
        fixed[some] = self._filled(words[some], missing[some])
        valid[some] = ~self._field.matmul(fixed[some], self._log_powers).any(axis=1)
        rows, fixed = rows[valid], fixed[valid]
        result.data[rows] = fixed[:, : self.data]
        result.ok[rows] = True
        result.errors[rows] = ((fixed != words[valid]) & ~erased[valid]).sum(axis=1)

    def _errors(self, words: Elements, erased: Mask, known: Counts) -> tuple[Mask, Mask]:
        """Return where each word is wrong, bool (B, length), and whether that could be told, bool (B,).

        `known` = r - erasures falls from row to row. Multiplying symbol i by Q_i, the product of
        (X_i + X_j) over the erased j, turns the syndromes into `known` ones that the erasures do not enter.
        """
        syndromes = self._field.matmul(self._weighted(words, erased)[0], self._log_powers)
        syndromes[np.arange(self.redundancy) >= known[:, None]] = 0
        wrong = np.zeros_like(erased)
        found: Mask = np.logical_not(syndromes.any(axis=1))
        busy = np.flatnonzero(~found)
        locator, degree = _locators(self._field, syndromes[busy], known[busy])
        fit = 2 * degree <= known[busy]
        busy, locator, degree = busy[fit], locator[fit], degree[fit]
        # Chien search: position i is wrong where the locator vanishes at 1 / X_i.
        roots = self._field.matmul(locator, self._log_inverse_powers[: locator.shape[1]]) == 0
        good = roots.sum(axis=1) == degree
        wrong[busy[good]], found[busy[good]] = roots[good], True
        return wrong, found

    def _filled(self, words: Elements, missing: Mask) -> Elements:
        """Return the words (B, length) with their `missing` symbols, r at most, computed from all the others.

        Lagrange's interpolation, with Q_i as in `_weighted`: c_m = sum_i c_i Q_i / (X_m + X_i) / Q_m over the
        symbols i that are not missing.
        """
        weighted, log_q = self._weighted(words, missing)
        sums = self._field.matmul(weighted, self._log_cauchy)
        return np.where(missing, self._field.scale(sums, self._field.order - log_q), words)

    def _weighted(self, words: Elements, missing: Mask) -> tuple[Elements, Exponents]:
        """Return c_i Q_i, zero where missing, and log Q_i, Q_i = product of (X_i + X_j) over missing j != i."""
        sums = missing.astype(self._log_sums.dtype) @ self._log_sums
        log_q = sums.astype(np.int64) % self._field.order
        return np.where(missing, np.uint16(0), self._field.scale(words, log_q)), log_q

    @cached_property
    def _field(self) -> Field:
        return field(self.symbol_bits)

    @cached_property
    def _log_locators(self) -> Exponents:
        """The logarithms of X_i = alpha^(length-1-i), int64 (length,)."""
        return np.arange(self.length, dtype=np.int64)[::-1]

    @cached_property
    def _log_powers(self) -> Exponents:
        """The logarithms of X_i^j, int64 (length, r)."""
        return np.outer(self._log_locators, np.arange(self.redundancy)) % self._field.order

    @cached_property
    def _log_inverse_powers(self) -> Exponents:
        """The logarithms of X_i^-j, int64 (r // 2 + 1, length)."""
        return np.outer(-np.arange(self.redundancy // 2 + 1), self._log_locators) % self._field.order

    @cached_property
    def _log_sums(self) -> npt.NDArray[np.floating[Any]]:
        """The logarithms of X_i + X_j, (length, length), zero on the diagonal; as floats, for fast products."""
        x = self._field.antilog[self._log_locators]
        logs: Exponents = self._field.log[x[:, None] ^ x]
        np.fill_diagonal(logs, 0)
        exact = self.length * self._field.order <= _EXACT
        return logs.astype(np.float32) if exact else logs.astype(np.float64)

    @cached_property
    def _log_cauchy(self) -> Exponents:
        """The logarithms of 1 / (X_i + X_j), int64 (length, length); the diagonal is never used."""
        return self._field.order - self._log_sums.astype(np.int64)

    def _checked(self, symbols: npt.NDArray[np.generic], count: int, name: str) -> Elements:
        if symbols.dtype.kind not in "iu" or symbols.ndim < 1 or symbols.shape[-1] != count:
            raise BadInput(f"{name} must be integers (..., {count}), got {symbols.dtype} {symbols.shape}")
        if symbols.size and not 0 <= int(symbols.min()) <= int(symbols.max()) <= self._field.order:
            raise BadInput(
                f"{name} has symbols outside 0 to {self._field.order}, the range of {self.symbol_bits} bits"
            )
        return symbols.astype(np.uint16)


def _locators(numbers: Field, syndromes: Elements, known: Counts) -> tuple[Elements, Counts]:
    """Return each row's shortest recurrence, uint16 (B, w), and its length, int64 (B,) (Massey 1969).

    Row b has `known[b]` syndromes; `known` never rises from row to row. A recurrence is good to
    w - 1 = known[0] // 2; one that grows longer is useless anyway, and cut.
    """
    steps = int(known.max(initial=0))
    locator = np.zeros((len(known), steps // 2 + 1), np.uint16)
    locator[:, 0] = 1
    # The logarithms of x (locator before the last change of length) / (its discrepancy).
    log_last = numbers.log[locator]
    length = np.zeros(len(known), np.int64)
    log_backwards = numbers.log[syndromes[:, :steps][:, ::-1]]
    active = np.searchsorted(-known, -np.arange(steps), side="left")
    for step, rows in enumerate(active.tolist()):
        now, last = locator[:rows], log_last[:rows]
        last[:, 1:], last[:, 0] = last[:, :-1], numbers.log[0]
        used = min(int(length[:rows].max()) + 1, locator.shape[1])
        start = steps - 1 - step
        terms = numbers.log[now[:, :used]] + log_backwards[:rows, start : start + used]
        discrepancy = np.bitwise_xor.reduce(numbers.antilog[terms], axis=1)
        longer = np.flatnonzero((discrepancy != 0) & (2 * length[:rows] <= step))
        before = now[longer]
        now ^= numbers.antilog[last + numbers.log[discrepancy][:, None]]
        last[longer] = numbers.log[numbers.multiply(before, numbers.inverse(discrepancy[longer])[:, None])]
        length[longer] = step + 1 - length[longer]
    return locator, length
