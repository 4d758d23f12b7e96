"""What encodings under an outer linear code share: codeword, soft decoding, evidence from the coded bits."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cwwm.codes import Bits, Word
from cwwm.codes.linear import LinearCode
from cwwm.ownership.evidence import Evidence, log10_match_tail
from cwwm.ownership.keys import Streams
from cwwm.schemes.base import Claim, Extraction, Scheme
from cwwm.schemes.common.keyed import keyed_check, pad_bits

CHECK_BITS = 32
ERASED = -1


@dataclass(frozen=True, kw_only=True)
class CodedScheme(Scheme):
    """An encoding of a keyed random linear code with a 32-bit keyed check.

    Attributes:
        length: n, coded bits; None chooses it by the scheme's own rule.
    """

    length: int | None = None

    def __post_init__(self) -> None:
        """Refuse parameters that make no code."""
        super().__post_init__()
        _ = self.code

    @abstractmethod
    def default_length(self) -> int:
        """Return the number of coded bits where none is given."""

    @property
    def information(self) -> int:
        """Return the number of message and check bits."""
        return self.payload_bits + CHECK_BITS

    @cached_property
    def code(self) -> LinearCode:
        """Return the code."""
        length = self.default_length() if self.length is None else self.length
        return LinearCode(payload_bits=self.payload_bits, length=length, check_bits=CHECK_BITS)

    def codeword(self, message: Bits, streams: Streams) -> Word:
        """Return the codeword of a message, bool (n,), whitened by a keyed pad of its own.

        The message is padded, too; without the second pad the word of all zeros, which no generator changes, would
        be n fair coins of which one in 2^(k + 32) is not.
        """
        check = keyed_check(streams, CHECK_BITS)
        return self.code.encode(pad_bits(message, streams), self._generator(streams), check) ^ self._pad(streams)

    def decode(self, values: npt.NDArray[np.floating[Any]], streams: Streams) -> Extraction:
        """Return the extraction of soft values, finite (n,): positive for one, exact zeros erased.

        `symbols` are the coded bits as read, int8 (n,), -1 where erased.
        """
        plain = np.where(self._pad(streams), -values, values)
        decoded = self.code.decode(plain, self._generator(streams), keyed_check(streams, CHECK_BITS))
        return Extraction(
            bits=pad_bits(decoded.bits, streams) if decoded.ok else decoded.bits,
            ok=decoded.ok,
            reliabilities=np.abs(values).astype(np.float64),
            erased=decoded.erased,
            symbols=np.where(values == 0, ERASED, values > 0).astype(np.int8),
            counts={"candidates": decoded.candidates, "corrected": decoded.corrected},
        )

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        """Return the binomial tail of the coded bits read right.

        Under a random key the codeword of a claimed message is n fair coins (its pad is keyed), so
        a mark whose message is lost is still proof if its coded bits lean to the claim. Erased ones are no trials.
        A recovered message says nothing beside them: it takes more coded bits than it has bits of its own.
        """
        if not extraction.applicable:
            return Evidence({})
        right, known = self._right(extraction, claim)
        return Evidence(
            {"coded bits": log10_match_tail(right, known)},
            {"coded bits right": right, "coded bits known": known, **extraction.counts},
        )

    def overlap(self, extraction: Extraction, claim: Claim) -> float:
        """Return the share of the coded bits that were read right."""
        return self._right(extraction, claim)[0] / self.code.length if extraction.applicable else 0.0

    def _right(self, extraction: Extraction, claim: Claim) -> tuple[int, int]:
        word = self.codeword(claim.message, claim.streams)
        return int(np.sum(extraction.symbols == word)), int(np.sum(extraction.symbols != ERASED))

    def _pad(self, streams: Streams) -> Word:
        return streams.stream("coded pad").bits(self.code.length).astype(np.bool_)

    def _generator(self, streams: Streams) -> Bits:
        return self.code.generator(streams.stream("generator"))
