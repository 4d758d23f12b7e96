"""Constant-weight words in the spread domain: n symbols, each one of M orthogonal rows with a sign.

A symbol is one of 2M places, so a word is one of weight n and length 2nM. The code across the symbols is a
multilevel polar code (Seidl, Schenk, Stierstorfer and Huber 2013): the bits of the rows, most significant first,
and then the signs are words of polar codes of n inputs each, decoded by one list (`cwwm.codes.multilevel_list`).

What a key spreads is read as correlations y (n, M), Walsh-Hadamard transforms of the weights' reads z_j with keyed
signs e_j, over the root of v, the mean over all n symbols of each one's sum of z_j^2. So the correlations with what
was not embedded have variance 1 on average, and that of a claimed word of rows r_i and signs s_i,

    T = sum_i s_i y[i, r_i] / sqrt(n) = sum_j +-e_j z_j / sqrt(n v),

is a sum of terms with keyed signs whose squares add up to 1. Hoeffding (1963, theorem 2) bounds P(T >= t) by
exp(-t^2 / 2), whatever was read. The check and all else that makes a word of a message do not depend on those
signs, so there are 2^k words, and one of them reaches t with probability 2^k exp(-t^2 / 2) at most. A word is
accepted from T^2 = 2 ln 2 (k + 32) on, T positive: where nothing was embedded under the key, a message is accepted
with probability 2^-32 at most, whatever the check. The check picks one of the list.

That is no bound for a model that carries another message of the same key: a word near it correlates, too, and where
the right one is not in the list, only the check refuses the others. Simulated for 256 bits and 256 rows near the
SNR2 at which nine words of ten are recovered: with 8 check bits one word in a hundred is read as a wrong message;
with 16, which take 3 % more SNR2, and 24, which take 5 %, none of 3,200 was.

A keyed permutation shares the weights out evenly, so what is lost of them thins all symbols alike. A symbol that is
erased whole leaves its last bits, of levels that have hardly a check, to the list: a few of these are survived.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from cwwm.codes.base import Bits, Check, Decoded, Word, check_message
from cwwm.codes.multilevel_list import decode_places, log_likelihoods
from cwwm.codes.multilevel_tables import ROWS, SYMBOLS, capacity_and_dispersion, tables_of
from cwwm.codes.polar import transform
from cwwm.codes.polar_list import Array, Subtree, namespace, tree_of
from cwwm.support.errors import BadInput

CHECK_BITS = 8
#: -log2 of the bound on the probability of a false message
SURE_BITS = 32
_MOST_PATHS = 1024
_AT_ONCE = 1 << 21  # correlations of the words that are decoded together
_LOSS, _LOSSLESS = 0.025, 24
#: most information bits a symbol of the default form, by number of rows, most rows first
_BITS_A_SYMBOL = {1024: 4.2, 256: 4.2, 64: 2.1, 16: 2.1, 4: 1.05}
_SHARE = 4  # least weights of the pool to one chip of a row

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MultilevelPolar:
    """Words of the information bits (payload, check) at the most reliable inputs of all levels, the others zero.

    Args:
        payload_bits: message bits k, at least 1.
        symbols: n, a power of two from 4 to 1,024.
        rows: M, a power of four from 4 to 1,024.
        check_bits: keyed check bits that pick one of the list.
        paths: L, size of the list, a power of two.

    Raises:
        BadInput: for parameters that make no code.
    """

    payload_bits: int
    symbols: int
    rows: int
    check_bits: int = CHECK_BITS
    paths: int = 32

    def __post_init__(self) -> None:
        if self.payload_bits < 1 or self.check_bits < 0:
            raise BadInput("a multilevel polar code needs payload_bits >= 1 and check_bits >= 0")
        if self.symbols not in SYMBOLS or self.rows not in ROWS:
            raise BadInput(
                f"a multilevel polar code has {_listed(SYMBOLS)} symbols of {_listed(ROWS)} rows, "
                f"not {self.symbols} of {self.rows}"
            )
        if self.information > self.levels * self.symbols:
            raise BadInput(
                f"{self.symbols} symbols of {self.rows} rows and a sign carry at most {self.levels * self.symbols} "
                f"bits, not {self.payload_bits} message bits and {self.check_bits} check bits"
            )
        if not (self.paths > 0 and self.paths & (self.paths - 1) == 0 and self.paths <= _MOST_PATHS):
            raise BadInput(f"paths is a power of two up to {_MOST_PATHS}, not {self.paths}")

    @property
    def information(self) -> int:
        """Return the number of payload and check bits."""
        return self.payload_bits + self.check_bits

    @property
    def levels(self) -> int:
        """Return the bits that choose a symbol's place, log2(2M)."""
        return self.rows.bit_length()

    @property
    def length(self) -> int:
        """Return the places 2nM, of which a word has n."""
        return 2 * self.symbols * self.rows

    @property
    def least_correlation(self) -> float:
        """Return the least T that is accepted."""
        return float(np.sqrt(2 * np.log(2) * (self.payload_bits + SURE_BITS)))

    @cached_property
    def inputs(self) -> npt.NDArray[np.int64]:
        """Return which inputs carry information, level times n plus index, ascending int64 (information,)."""
        return np.sort(tables_of(self.rows).orders[self.symbols][: self.information]).astype(np.int64)

    @cached_property
    def trees(self) -> Sequence[Subtree]:
        """Return the trees that the decoder walks, one a level."""
        free = np.zeros(self.levels * self.symbols, np.bool_)
        free[self.inputs] = True
        return [tree_of(level) for level in free.reshape(self.levels, -1)]

    @cached_property
    def factor(self) -> float:
        """Return what makes correlations log-likelihoods where 90 % of the words are recovered."""
        snrs = self.information * np.geomspace(1.0, 100.0, 500)
        reached = [self.success(float(snr)) >= 0.9 for snr in snrs]
        return float(np.sqrt(snrs[np.argmax(reached)] / self.symbols))

    def encode(self, bits: npt.ArrayLike, check: Check) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
        """Return each symbol's row, int64 (n,), and sign, int8 (n,), for the payload `bits` (payload_bits,).

        Raises:
            BadInput: if `bits` are not payload_bits zeros and ones.
        """
        payload = check_message(bits, self.payload_bits)
        inputs = np.zeros(self.levels * self.symbols, np.uint8)
        inputs[self.inputs] = np.concatenate([payload, check(payload, 0)])
        places = self._weights @ transform(inputs.reshape(self.levels, -1))
        return places // 2, _sign(places)

    def word(self, bits: npt.ArrayLike, check: Check) -> Word:
        """Return the same as a word of weight n, bool (2nM,): place 2 row, plus 1 for sign -1, of each symbol."""
        rows, signs = self.encode(bits, check)
        word = np.zeros((self.symbols, 2 * self.rows), np.bool_)
        word[np.arange(self.symbols), 2 * rows + (signs < 0)] = True
        return word.reshape(-1)

    def decode(self, correlations: Array, check: Check) -> Decoded:
        """Return what finite `correlations`, floats (n, M) of noise with variance 1 on average, carry."""
        return self.decode_many(correlations[None], [check])[0]

    def decode_many(self, correlations: Array, checks: Sequence[Check]) -> list[Decoded]:
        """Return what each of several words carries, the same as one by one, bit by bit.

        Args:
            correlations: finite floats (words, n, M), NumPy or torch on any device, of which those with other rows
                have variance 1 on average over the n symbols, erased ones among them: all zero where erased.
                Matched-filter sums, one scale for all symbols, are decoded best.
            checks: of each word.

        Raises:
            BadInput: if these are not finite words of this shape.
        """
        wanted = (len(checks), self.symbols, self.rows)
        if correlations.shape != wanted:
            raise BadInput(f"correlations to decode have shape {wanted}, not {tuple(correlations.shape)}")
        if not bool(namespace(correlations).isfinite(correlations).all()):
            raise BadInput("correlations to decode are finite; set those of a symbol that cannot be read to zero")
        step = max(1, _AT_ONCE // (self.symbols * self.rows))
        found: list[Decoded] = []
        for at in range(0, len(checks), step):
            found += self._decoded(correlations[at : at + step], checks[at : at + step])
        return found

    def correlation(
        self, correlations: npt.NDArray[Any], rows: npt.NDArray[np.int64], signs: npt.NDArray[np.int8]
    ) -> float:
        """Return T of a word, given as `encode` returns it, in correlations (n, M)."""
        reads = signs * correlations[np.arange(self.symbols), rows].astype(np.float64)
        return float(np.sqrt(self.symbols) * np.sum(reads / self.symbols))

    def success(self, snr: float) -> float:
        """Return about the probability that a word is recovered by 32 paths from reads N(+-sqrt(snr / n), 1).

        It must be decoded: the normal approximation (Polyanskiy, Poor and Verdu 2010) of the best code of n such
        symbols at an snr that is smaller by 1 + 0.025 log2(information / 24). And it must be accepted: T is
        N(sqrt(snr), 1). The same noise decides both, so the rarer of the two is taken: up to some 130 bits that is
        acceptance. Fitted to simulations of 16 forms, 16 to 2,048 bits and 4 to 1,024 rows: the snr at which half
        to nine tenths are recovered is met within 4 %, that of 128 symbols of 64 rows, which is higher, within 5 %.

        Args:
            snr: the sum over the symbols of the squared mean of the read of its row, at least 0.
        """
        loss = 1 + _LOSS * max(0.0, np.log2(self.information / _LOSSLESS))
        capacity, dispersion = capacity_and_dispersion(self.rows, snr / loss / self.symbols)
        spare = self.symbols * capacity - self.information + np.log2(self.symbols) / 2
        decoded = spare / np.sqrt(self.symbols * dispersion + 1e-12)
        return float(ndtr(min(decoded, np.sqrt(snr) - self.least_correlation)))

    @property
    def _weights(self) -> npt.NDArray[np.int64]:
        """Return what a bit of each level adds to a place, int64 (levels,)."""
        return 1 << np.arange(self.levels - 1, -1, -1)

    def _decoded(self, correlations: Array, checks: Sequence[Check]) -> list[Decoded]:
        places = decode_places(self.trees, log_likelihoods(correlations, self.factor), self.paths)
        read = _array(correlations).astype(np.float64)
        return [self._chosen(*each) for each in zip(_array(places), read, checks, strict=True)]

    def _chosen(self, places: npt.NDArray[np.int64], read: Reals, check: Check) -> Decoded:
        """Return the candidate, of int64 (paths, n), that fits best what was read among those that are accepted."""
        erased = int(np.sum(~read.any(axis=1)))
        if (self.symbols - erased) * self.levels < self.information:
            return Decoded(np.zeros(self.payload_bits, np.uint8), ok=False, erased=erased)
        # without overflow: T is the root of n times this
        fits = np.sum(_sign(places) * read[np.arange(self.symbols), places // 2] / self.symbols, axis=1)
        enough = fits >= self.least_correlation / np.sqrt(self.symbols)
        order = np.argsort(-fits, kind="stable")[: np.sum(enough)]
        for tried, data in enumerate(self._data(places)[order], start=1):
            payload = data[: self.payload_bits]
            if np.array_equal(check(payload, 0), data[self.payload_bits :]):
                corrected = _corrected(places[order[tried - 1]], read)
                return Decoded(payload, ok=True, erased=erased, corrected=corrected, candidates=tried)
        return Decoded(np.zeros(self.payload_bits, np.uint8), ok=False, erased=erased, candidates=len(order))

    def _data(self, places: npt.NDArray[np.int64]) -> Bits:
        """Return the information bits of words, uint8 (words, information)."""
        bits = (places[:, None] // self._weights[:, None] & 1).astype(np.uint8)
        return transform(bits).reshape(len(places), -1)[:, self.inputs]


def default_form(payload_bits: int, weights: int, check_bits: int = CHECK_BITS) -> tuple[int, int]:
    """Return the symbols n and rows M for a pool of so many weights: the most rows with four weights to each n M.

    Fewer weights than that a pruned pool could not fill; fewer rows take more symbols.

    Raises:
        BadInput: if the message is too long, or the pool too small for it.
    """
    needed = []
    for rows, bits in _BITS_A_SYMBOL.items():
        symbols = max(SYMBOLS[0], 1 << (math.ceil((payload_bits + check_bits) / bits) - 1).bit_length())
        if symbols <= SYMBOLS[-1]:
            needed.append(_SHARE * symbols * rows)
            if needed[-1] <= weights:
                return symbols, rows
    if not needed:
        most = int(max(_BITS_A_SYMBOL.values()) * SYMBOLS[-1]) - check_bits
        raise BadInput(f"a message of {payload_bits:,} bits is too long; {most:,} bits are the most")
    raise BadInput(
        f"a pool of {weights:,} weights is too small for {payload_bits:,} message bits, which take at least "
        f"{min(needed):,}; choose a larger carrier or a shorter payload"
    )


def _sign(places: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
    return (1 - 2 * (places & 1)).astype(np.int8)


def _corrected(places: npt.NDArray[np.int64], read: Reals) -> int:
    """Return how many symbols, of those that are not erased, have their largest correlation elsewhere."""
    likeliest = np.argmax(np.abs(read), axis=1)
    wrong = (likeliest != places // 2) | (read[np.arange(len(read)), likeliest] * _sign(places) < 0)
    return int(np.sum(wrong & read.any(axis=1)))


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:-1])) + f" or {numbers[-1]}"


def _array(values: Array) -> npt.NDArray[Any]:
    if isinstance(values, np.ndarray):
        return values
    return np.asarray((values.double() if values.is_floating_point() else values).cpu())
