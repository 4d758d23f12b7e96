"""Outer codes under a key: message to codeword, soft values back to the message, and what they prove undecoded."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from cwwm.codes import Bits, Decoded, Word, linear, polar
from cwwm.codes.linear import LinearCode
from cwwm.codes.multilevel import MultilevelPolar
from cwwm.codes.polar import PolarCode
from cwwm.ownership.evidence import Evidence, log10_bound_of_signs, log10_match_tail
from cwwm.ownership.keys import Streams
from cwwm.schemes.base import Claim, Extraction
from cwwm.schemes.common.keyed import keyed_check, pad_bits

LINEAR, POLAR, WALSH, NONE = "linear", "polar", "walsh", "none"
ERASED = -1

Reals = npt.NDArray[np.floating[Any]]
Symbols = npt.NDArray[Any]


@dataclass(frozen=True)
class KeyedCode(ABC):
    """A code whose words are whitened by a keyed pad.

    The message is padded, too; without the second pad the word of all zeros, which no code changes, would be n fair
    coins of which one in 2^(k + check bits) is not.

    Attributes:
        payload_bits: message bits k. length: coded bits n.
    """

    payload_bits: int
    length: int

    check_bits: ClassVar[int]

    @classmethod
    def of(cls, payload_bits: int, length: int) -> "KeyedCode":
        """Return a keyed code; BadInput where there is none of these parameters."""
        found = cls(payload_bits, length)
        _ = found.code
        return found

    @property
    @abstractmethod
    def code(self) -> LinearCode | PolarCode | MultilevelPolar:
        """Return the code."""

    @abstractmethod
    def recovered_after(self, erased: float) -> float:
        """Return the law if each coded bit is erased with that probability and none is wrong."""

    @abstractmethod
    def symbols(self, values: Reals, norm: float) -> Symbols:
        """Return what evidence compares with a claimed word, (n,): zero or `ERASED` where nothing was read."""

    @abstractmethod
    def weigh(self, symbols: Symbols, word: Word) -> Evidence:
        """Return what the symbols say for a word of n fair coins under a random key."""

    @abstractmethod
    def _encode(self, bits: Bits, streams: Streams) -> Word: ...

    @abstractmethod
    def _decode(self, values: Reals, streams: Streams, norm: float) -> Decoded: ...

    def codeword(self, message: Bits, streams: Streams) -> Word:
        """Return the codeword of a message, bool (n,)."""
        return self._encode(pad_bits(message, streams), streams) ^ self._pad(streams)

    def read(self, values: Reals, norm: float | None = None) -> Extraction:
        """Return what soft values say before they are decoded: all that evidence needs.

        Args:
            values: finite (n,): positive for one, exact zeros erased.
            norm: root of the sum of squares of the terms with keyed signs that the values are sums of; by default,
                of the values themselves.
        """
        length = _norm(values) if norm is None else norm
        return Extraction(
            bits=np.zeros(self.payload_bits, np.uint8),
            ok=False,
            reliabilities=np.abs(values).astype(np.float64),
            erased=int(np.sum(values == 0)),
            symbols=self.symbols(values, length),
        )

    def extract(self, values: Reals, streams: Streams, norm: float | None = None) -> Extraction:
        """Return the same with the message, if there is one."""
        read, length = self.read(values, norm), _norm(values) if norm is None else norm
        decoded = self._decode(np.where(self._pad(streams), -values, values), streams, length)
        return Extraction(
            bits=pad_bits(decoded.bits, streams) if decoded.ok else decoded.bits,
            ok=decoded.ok,
            reliabilities=read.reliabilities,
            erased=read.erased,
            symbols=read.symbols,
            counts={"candidates": decoded.candidates, "corrected": decoded.corrected},
        )

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        """Return what the soft values say for the codeword of the claimed message.

        Under a random key that word is n fair coins (its pad is keyed), so a mark whose message is lost is still
        proof if what was read leans to the claim. A recovered message says nothing beside it.
        """
        if not extraction.applicable:
            return Evidence({})
        found = self.weigh(extraction.symbols, self.codeword(claim.message, claim.streams))
        return Evidence(found.log10_p, {**found.details, **extraction.counts})

    def overlap(self, extraction: Extraction, claim: Claim) -> float:
        """Return the share of the coded bits that were read right."""
        if not extraction.applicable:
            return 0.0
        word = self.codeword(claim.message, claim.streams)
        return _right(extraction.symbols, word) / self.length

    def _pad(self, streams: Streams) -> Word:
        return streams.stream("coded pad").bits(self.length).astype(np.bool_)


@dataclass(frozen=True)
class KeyedLinear(KeyedCode):
    """The random linear code, its generator keyed; hard decisions are the evidence, with an exact binomial tail."""

    check_bits: ClassVar[int] = linear.CHECK_BITS

    @property
    def code(self) -> LinearCode:
        """Return the code."""
        return LinearCode(payload_bits=self.payload_bits, length=self.length, check_bits=self.check_bits)

    def symbols(self, values: Reals, norm: float) -> Symbols:
        """Return the coded bits as read, int8 (n,), `ERASED` where nothing was."""
        return np.where(values == 0, ERASED, values > 0).astype(np.int8)

    def weigh(self, symbols: Symbols, word: Word) -> Evidence:
        """Return the binomial tail of the coded bits read right; erased ones are no trials."""
        right, known = int(np.sum(symbols == word)), int(np.sum(symbols != ERASED))
        return Evidence(
            {"coded bits": log10_match_tail(right, known)}, {"coded bits right": right, "coded bits known": known}
        )

    def recovered_after(self, erased: float) -> float:
        """Return P(the columns of the survivors have full rank), whose number is Binomial(n, 1 - erased)."""
        return self.code.rank_law(erased)

    def _encode(self, bits: Bits, streams: Streams) -> Word:
        return self.code.encode(bits, self._generator(streams), keyed_check(streams, self.check_bits))

    def _decode(self, values: Reals, streams: Streams, norm: float) -> Decoded:
        return self.code.decode(values, self._generator(streams), keyed_check(streams, self.check_bits))

    def _generator(self, streams: Streams) -> Bits:
        return self.code.generator(streams.stream("generator"))


class Correlated(KeyedCode):
    """A code of soft values; the correlation with the claimed word is the evidence, with a bound on its tail."""

    def symbols(self, values: Reals, norm: float) -> Symbols:
        """Return the values over their norm, float64 (n,)."""
        return values.astype(np.float64) / (norm or 1.0)

    def weigh(self, symbols: Symbols, word: Word) -> Evidence:
        """Return Hoeffding's bound: the correlation is a sum of terms with keyed fair signs, whatever was read."""
        correlation = float(symbols @ (2.0 * word - 1.0))
        details = {"correlation": correlation, "coded bits right": _right(symbols, word)}
        return Evidence({"correlation": log10_bound_of_signs(correlation)}, details)


@dataclass(frozen=True)
class KeyedPolar(Correlated):
    """The polar code."""

    check_bits: ClassVar[int] = polar.CHECK_BITS

    @property
    def code(self) -> PolarCode:
        """Return the code."""
        return _polar(self.payload_bits, self.length, self.check_bits)

    def recovered_after(self, erased: float) -> float:
        """Return a lower bound, that of decoding without a list."""
        return 1 - self.code.erasure_failure(erased)

    def _encode(self, bits: Bits, streams: Streams) -> Word:
        return self.code.encode(bits, keyed_check(streams, self.code.check_bits))

    def _decode(self, values: Reals, streams: Streams, norm: float) -> Decoded:
        return self.code.decode(values, keyed_check(streams, self.code.check_bits))


@dataclass(frozen=True)
class KeyedWalsh(Correlated):
    """Words of constant weight in the spread domain, as the signs that they give to n M chips.

    Chip c of symbol i is coded bit c n + i: neighbours belong to different symbols, so that what is lost together
    is lost by all of them alike.

    Attributes:
        rows: M, Walsh-Hadamard rows of a symbol.
    """

    rows: int

    #: the code's own acceptance keeps unmarked models out; the check refuses the neighbours of a drowned message
    check_bits: ClassVar[int] = 16

    @property
    def code(self) -> MultilevelPolar:
        """Return the code."""
        return _multilevel(self.payload_bits, self.length // self.rows, self.rows)

    def recovered_after(self, erased: float) -> float:
        """Refuse: chips are never erased one by one."""
        raise NotImplementedError("a Walsh symbol has no law of erasures")

    def overlap(self, extraction: Extraction, claim: Claim) -> float:
        """Return the share of the symbols whose row and sign were read right: places of the word's ones."""
        if not extraction.applicable:
            return 0.0
        chips = np.where(self._pad(claim.streams), -extraction.symbols, extraction.symbols)
        read = self._correlations(chips)
        found = np.argmax(np.abs(read), axis=1)
        check = keyed_check(claim.streams, self.check_bits)
        rows, signs = self.code.encode(pad_bits(claim.message, claim.streams), check)
        return float(np.mean((found == rows) & (signs * read[np.arange(len(rows)), rows] > 0)))

    def _correlations(self, chips: Reals) -> npt.NDArray[np.float64]:
        """Return the correlations with all rows, float64 (n, M), of what the chips were read as, (nM,)."""
        return walsh_transform(chips.astype(np.float64).reshape(self.rows, -1).T)

    def _encode(self, bits: Bits, streams: Streams) -> Word:
        rows, signs = self.code.encode(bits, keyed_check(streams, self.check_bits))
        chips = np.zeros((self.length // self.rows, self.rows))
        chips[np.arange(len(rows)), rows] = signs
        return walsh_transform(chips).T.reshape(-1) > 0

    def _decode(self, values: Reals, streams: Streams, norm: float) -> Decoded:
        read = self._correlations(values) * (math.sqrt(self.length // self.rows) / (norm or 1.0))
        return self.code.decode(read, keyed_check(streams, self.check_bits))


def walsh_transform(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return rows (n, M), M a power of two, times the Hadamard matrix in natural order."""
    out, half = rows.copy(), 1
    while half < out.shape[1]:
        pairs = out.reshape(len(out), -1, 2, half)
        pairs[:, :, 0], pairs[:, :, 1] = pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]
        half *= 2
    return out


@cache
def _polar(payload_bits: int, length: int, check_bits: int) -> PolarCode:
    """Return one object for equal parameters: its tree takes longer than a word."""
    return PolarCode(payload_bits=payload_bits, length=length, check_bits=check_bits)


@cache
def _multilevel(payload_bits: int, symbols: int, rows: int) -> MultilevelPolar:
    """Return one object for equal parameters."""
    return MultilevelPolar(payload_bits=payload_bits, symbols=symbols, rows=rows, check_bits=KeyedWalsh.check_bits)


def _norm(values: Reals) -> float:
    return math.sqrt(float(values.astype(np.float64) @ values))


#: by name, what a scheme's `outer` may be
KEYED_CODES: Mapping[str, type[KeyedLinear] | type[KeyedPolar]] = {LINEAR: KeyedLinear, POLAR: KeyedPolar}


def _right(symbols: Symbols, word: Word) -> int:
    """Return how many symbols have the word's sign: not zeros of real ones, nor `ERASED` of whole ones."""
    if symbols.dtype == np.int8:
        return int(np.sum(symbols == word))
    return int(np.sum(np.sign(symbols) == 2.0 * word - 1.0))
