"""Scheme `cwc`: a codeword with a fixed number of ones, carried by large against small weight magnitudes.

After arXiv 2107.02961 and J. Imaging 2022, 8(6):152: the alpha ones of an enumerative constant-weight code
sit on magnitudes of at least T1, the L - alpha zeros on magnitudes of at most T0; extraction takes the alpha
largest host magnitudes for the ones, so neither thresholds nor the model's scale are needed to read.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from cwwm.codes import Bits, ConstantWeightCode, Word
from cwwm.ownership.evidence import Evidence, log10_overlap_tail
from cwwm.ownership.keys import Key, Streams
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import Claim, Extraction
from cwwm.schemes.common.keyed import pad_bits, read_hosts
from cwwm.schemes.common.magnitudes import MagnitudeScheme, survivor_counts, vacancy
from cwwm.support.errors import BadInput
from cwwm.weights.view import Weights


@dataclass(frozen=True, kw_only=True)
class ConstantWeight(MagnitudeScheme):
    """Constant-weight code on magnitudes.

    Attributes:
        length, weight: L and alpha of the code; by default the shortest code of `density` for the payload.
        density: alpha / L where they are not given; the energy-optimal range is 0.1 to 0.25.
    """

    name: ClassVar[str] = "cwc"

    length: int | None = None
    weight: int | None = None
    density: float = 0.1

    def __post_init__(self) -> None:
        """Refuse parameters that make no code."""
        super().__post_init__()
        if self.code.payload_bits < self.payload_bits:
            raise BadInput(f"{self.code!r} carries {self.code.payload_bits} bits, not {self.payload_bits}")

    @cached_property
    def code(self) -> ConstantWeightCode:
        """Return the code."""
        if self.length is None or self.weight is None:
            return ConstantWeightCode.smallest(self.payload_bits, self.density)
        return ConstantWeightCode(length=self.length, weight=self.weight)

    def code_parameters(self) -> dict[str, Any]:
        """Return L and alpha."""
        return {"length": self.code.length, "weight": self.code.weight}

    def codeword(self, message: Bits, streams: Streams) -> Word:
        """Return the codeword of a message: whitened, and filled up by the pad to the code's capacity."""
        return self.code.encode(pad_bits(message, streams, self.code.payload_bits))

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Read the alpha largest host magnitudes as the ones."""
        hosts = read_hosts(suspect, key, mark, self.hosts)
        if isinstance(hosts, str):
            return Extraction.not_applicable(self.payload_bits, hosts)
        magnitudes = np.abs(hosts.values).astype(np.float64)
        decoded = self.code.decode(magnitudes)
        bits = pad_bits(decoded.bits, mark.streams(key))
        return Extraction(
            bits=bits[: self.payload_bits] if decoded.ok else np.zeros(self.payload_bits, np.uint8),
            ok=decoded.ok and not bits[self.payload_bits :].any(),
            reliabilities=magnitudes,
            erased=decoded.erased,
            symbols=known_ones(self.code.ones(magnitudes), magnitudes),
            counts=survivor_counts(suspect, mark, hosts),
        )

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        """Return the hypergeometric tails of overlap and vacancy (watermark theory: both exact)."""
        if not extraction.applicable:
            return Evidence({})
        overlap = int(np.sum(self.codeword(claim.message, claim.streams) & extraction.symbols))
        length, weight, known = self.code.length, self.code.weight, int(extraction.symbols.sum())
        tail = log10_overlap_tail(overlap, length, weight, known)
        return Evidence(
            {"overlap": tail, **vacancy(extraction.counts, length)},
            {"overlap": overlap, "ones": weight, "ones known": known, "hosts": length, **extraction.counts},
        )

    def overlap(self, extraction: Extraction, claim: Claim) -> float:
        """Return the share of the codeword's ones that were found."""
        if not extraction.applicable:
            return 0.0
        word = self.codeword(claim.message, claim.streams)
        return float(np.sum(word & extraction.symbols) / self.code.weight)

    def survival(self, attack: str, strength: float) -> float | None:
        """Return 1 up to R*, then (1-R)^alpha, for magnitude pruning; (1-R)^alpha for random pruning."""
        if attack == "magnitude":
            return 1.0 if strength <= self.survive else float((1 - strength) ** self.code.weight)
        return float((1 - strength) ** self.code.weight) if attack == "random" else None


def known_ones(word: Word, magnitudes: npt.NDArray[np.floating[Any]]) -> Word:
    """Return the ones of a word, bool (L,), that stand above all of its zeros in the magnitudes it was read from.

    Ones that are tied with a zero are the first of the tied places, and in the 2^k words that stand for messages
    the first places are ones more often than others: taken for read, they would match too often by chance.
    """
    return np.asarray(word & (magnitudes > magnitudes[~word].max()))
