"""What encodings under an outer code share: codeword, soft decoding, evidence from what was read before it."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cwwm.codes import Bits, Word
from cwwm.codes.linear import LinearCode
from cwwm.codes.polar import PolarCode
from cwwm.ownership.evidence import Evidence
from cwwm.ownership.keys import Key, Streams
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import Claim, Extraction, Scheme
from cwwm.schemes.common.outer import KEYED_CODES, LINEAR, KeyedCode
from cwwm.support.errors import unknown_name
from cwwm.weights.view import Weights


@dataclass(frozen=True)
class SoftWord:
    """What a channel says of a codeword.

    Attributes:
        values: finite floats (n,): positive for one, exact zeros erased.
        norm: root of the sum of squares of the terms with keyed signs that the values are sums of.
    """

    values: npt.NDArray[np.floating[Any]]
    norm: float


@dataclass(frozen=True, kw_only=True)
class CodedScheme(Scheme):
    """An encoding of a codeword.

    Attributes:
        length: n, coded bits; None chooses it by the scheme's own rule.
        outer: the code: ``"linear"``, random and keyed, with a 32-bit keyed check, or ``"polar"``, with one of 24
            bits.
    """

    length: int | None = None
    outer: str = LINEAR

    def __post_init__(self) -> None:
        """Refuse parameters that make no code."""
        super().__post_init__()
        if self.outer not in KEYED_CODES:
            raise unknown_name("outer code", self.outer, KEYED_CODES)
        _ = self.code

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the parameters; the linear code goes without saying, as in marks from before there was another."""
        return {name: value for name, value in super().parameters.items() if (name, value) != ("outer", LINEAR)}

    @abstractmethod
    def default_length(self) -> int:
        """Return the number of coded bits where none is given."""

    @abstractmethod
    def soft_word(self, suspect: Weights, key: Key, mark: Mark) -> SoftWord | str:
        """Return what a suspect says of the codeword, or why the mark has no place in it."""

    @property
    def information(self) -> int:
        """Return the number of message and check bits."""
        return self.payload_bits + KEYED_CODES[self.outer].check_bits

    @cached_property
    def keyed_code(self) -> KeyedCode:
        """Return the code with its keyed pad."""
        length = self.default_length() if self.length is None else self.length
        return KEYED_CODES[self.outer](self.payload_bits, length)

    @cached_property
    def code(self) -> LinearCode | PolarCode:
        """Return the code."""
        return self.keyed_code.code

    def codeword(self, message: Bits, streams: Streams) -> Word:
        """Return the codeword of a message, bool (n,)."""
        return self.keyed_code.codeword(message, streams)

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Read the codeword and decode it."""
        word = self.soft_word(suspect, key, mark)
        if isinstance(word, str):
            return Extraction.not_applicable(self.payload_bits, word)
        return self.keyed_code.extract(word.values, mark.streams(key), word.norm)

    def read(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Read the codeword alone: evidence needs no more, and decoding costs several times as much."""
        word = self.soft_word(suspect, key, mark)
        if isinstance(word, str):
            return Extraction.not_applicable(self.payload_bits, word)
        return self.keyed_code.read(word.values, word.norm)

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        """Return what was read says for the codeword of the claimed message; see `KeyedCode`."""
        return self.keyed_code.evidence(extraction, claim)

    def overlap(self, extraction: Extraction, claim: Claim) -> float:
        """Return the share of the coded bits that were read right."""
        return self.keyed_code.overlap(extraction, claim)
