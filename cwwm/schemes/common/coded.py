"""What encodings of symbols share: the outer code that a scheme chooses, decoding, evidence from what was read."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from cwwm.codes import Bits, Word, polar
from cwwm.codes.linear import LinearCode
from cwwm.codes.multilevel import MultilevelPolar
from cwwm.codes.polar import PolarCode
from cwwm.ownership.evidence import Evidence
from cwwm.ownership.keys import Key, Streams
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import Claim, Extraction, Scheme
from cwwm.schemes.common.keyed import match_evidence, pad_bits
from cwwm.schemes.common.outer import KEYED_CODES, LINEAR, NONE, KeyedCode
from cwwm.support.errors import BadInput, unknown_name
from cwwm.weights.view import Weights

Reals = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class SoftWord:
    """What a channel says of the symbols.

    Attributes:
        values: finite floats, one a symbol: positive for one, exact zeros erased.
        norm: root of the sum of squares of the terms with keyed signs that the values are sums of; None: of the
            values.
    """

    values: Reals
    norm: float | None = None


@dataclass(frozen=True, kw_only=True)
class OuterCoded(Scheme):
    """An encoding of symbols, which are the padded message bits or a codeword.

    Attributes:
        outer: the code: ``"none"``; ``"linear"``, random and keyed, with a 32-bit keyed check; or ``"polar"``, with
            one of 24 bits, which a false message passes with probability 2^-19, for 32 are compared with it.
        length: n, coded bits; None chooses it by the scheme's own rule.
    """

    codes: ClassVar[tuple[str, ...]] = (NONE, *KEYED_CODES)

    outer: str = NONE
    length: int | None = None

    def __post_init__(self) -> None:
        """Refuse parameters that make no code."""
        super().__post_init__()
        if self.outer not in self.codes:
            raise unknown_name("outer code", self.outer, self.codes)
        if self.outer == NONE and self.length is not None:
            raise BadInput(f"{self.name} has a length only under an outer code, not under '{NONE}'")
        _ = self.keyed_code

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the parameters; the default code goes without saying, as in marks from before it had a name."""
        silent = {"outer", "length"} if self.outer == NONE else {"outer"} if self.outer == self.codes[0] else set()
        return {name: value for name, value in super().parameters.items() if name not in silent}

    @abstractmethod
    def soft_word(self, suspect: Weights, key: Key, mark: Mark) -> SoftWord | str:
        """Return what a suspect says of the symbols, or why the mark has no place in it."""

    def default_length(self) -> int:
        """Return the number of coded bits where none is given: rate 1/2, of the polar code from 1/12 to 1/6."""
        if self.outer == LINEAR:
            return 2 * (self.payload_bits + KEYED_CODES[LINEAR].check_bits)
        return polar.default_length(self.payload_bits)

    @cached_property
    def keyed_code(self) -> KeyedCode | None:
        """Return the code with its keyed pad, or None without one."""
        if self.outer == NONE:
            return None
        length = self.default_length() if self.length is None else self.length
        return KEYED_CODES[self.outer].of(self.payload_bits, length)

    @property
    def symbols(self) -> int:
        """Return the number of symbols."""
        return self.payload_bits if self.keyed_code is None else self.keyed_code.length

    def symbols_of(self, message: Bits, streams: Streams) -> Bits:
        """Return the symbols of a message (payload_bits,): uint8 (symbols,)."""
        if self.keyed_code is None:
            return pad_bits(message, streams)
        return self.keyed_code.codeword(message, streams).astype(np.uint8)

    def code_of(self, mark: Mark) -> KeyedCode | None:
        """Return the code of a mark made with this scheme: its own, where it does not depend on the host."""
        return self.keyed_code

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Read the symbols and decode them; without a code each is a bit, erased if its value is zero."""
        word = self.soft_word(suspect, key, mark)
        if isinstance(word, str):
            return Extraction.not_applicable(self.payload_bits, word)
        code = self.code_of(mark)
        if code is None:
            return read_bits(word.values, mark.streams(key))
        return code.extract(word.values, mark.streams(key), word.norm)

    def read(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Read the symbols alone: evidence needs no more, and decoding costs several times as much."""
        word = self.soft_word(suspect, key, mark)
        if isinstance(word, str):
            return Extraction.not_applicable(self.payload_bits, word)
        code = self.code_of(mark)
        return read_bits(word.values, mark.streams(key)) if code is None else code.read(word.values, word.norm)

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        """Return what was read says for the codeword of the claimed message; without a code, for its bits."""
        code = self.code_of(claim.mark)
        return match_evidence(extraction, claim) if code is None else code.evidence(extraction, claim)

    def overlap(self, extraction: Extraction, claim: Claim) -> float:
        """Return the share of the symbols that were read right."""
        code = self.code_of(claim.mark)
        return super().overlap(extraction, claim) if code is None else code.overlap(extraction, claim)

    def recovered_after(self, erased: float) -> float:
        """Return the law if each symbol is erased with that probability, and none is wrong.

        Without a code an erased bit is a coin: (1 - erased / 2)^k. With one see `KeyedCode.recovered_after`.
        """
        if self.keyed_code is None:
            return float((1 - erased / 2) ** self.payload_bits)
        return self.keyed_code.recovered_after(erased)


@dataclass(frozen=True, kw_only=True)
class CodedScheme(OuterCoded):
    """An encoding that makes no sense without an outer code.

    Attributes:
        outer: ``"linear"`` or ``"polar"``.
        length: n, coded bits; None chooses it by the scheme's own rule.
    """

    codes: ClassVar[tuple[str, ...]] = tuple(KEYED_CODES)

    outer: str = LINEAR

    @property
    def information(self) -> int:
        """Return the number of message and check bits."""
        return self.payload_bits + KEYED_CODES[self.outer].check_bits

    @cached_property
    def code(self) -> LinearCode | PolarCode | MultilevelPolar:
        """Return the code."""
        return self._keyed.code

    def codeword(self, message: Bits, streams: Streams) -> Word:
        """Return the codeword of a message, bool (n,)."""
        return self._keyed.codeword(message, streams)

    def decode(self, values: Reals, streams: Streams, norm: float | None = None) -> Extraction:
        """Return the extraction of soft values, finite (n,), and norm as of `SoftWord`."""
        return self._keyed.extract(values, streams, norm)

    @property
    def _keyed(self) -> KeyedCode:
        assert self.keyed_code is not None
        return self.keyed_code


def summed(values: Reals, repetition: int) -> npt.NDArray[np.float64]:
    """Return the sum of the soft values of each symbol, float64 (symbols,), of values (symbols * repetition,)."""
    return np.asarray(values.reshape(-1, repetition).astype(np.float64).sum(axis=1))


def read_bits(values: Reals, streams: Streams) -> Extraction:
    """Return the message in soft values (k,): decided by sign, pad removed; zeros count as erased."""
    exact = values.astype(np.float64)
    bits = pad_bits((exact > 0).astype(np.uint8), streams)
    return Extraction(bits, ok=True, reliabilities=np.abs(exact), erased=int(np.sum(exact == 0)))
