"""How the owner of a mark in the bench reads a suspect, and what a record keeps of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.execution.model_factory import Marked
from bench.support.artifact_store import state_of
from cwwm.readers import Reader, find_reader, view_of
from cwwm.schemes import Claim, Extraction
from cwwm.weights.carrier import prunable
from cwwm.weights.view import TensorWeights, Weights, as_weights


@dataclass(frozen=True)
class OwnersReading:
    """A marked model's owner at work.

    Attributes:
        marked: model, mark, key and message.
        reader: how suspects are read.
        owned: what the reader takes beside a suspect: the marked copy, its tensors as they are before any attack,
            or the unmarked original.
    """

    marked: Marked
    reader: Reader
    owned: Weights | None

    @classmethod
    def of(cls, marked: Marked, reader: str) -> "OwnersReading":
        """Return the owner who reads so; BadInput if the mark cannot be read so."""
        found = find_reader(reader)
        found.require(marked.scheme)
        if found.takes_original:
            return cls(marked, found, TensorWeights(state_of(marked.original())))
        return cls(marked, found, marked_copy(marked) if found.takes_reference else None)

    def extraction(self, suspect: Weights) -> Extraction:
        """Return what the owner reads in a suspect."""
        marked = self.marked
        view = view_of(self.reader, marked.scheme, suspect, marked.key, marked.mark, self.owned)
        return view.extraction(marked.scheme, marked.key, marked.mark)

    def law(self, channel: str, strength: float) -> float | None:
        """Return the law's probability that the message is recovered behind a channel, None where none is known."""
        scheme = self.marked.scheme
        if self.reader.takes_original and self.owned is not None:
            return scheme.survival_against(self.owned, self.marked.mark, channel, strength)
        return scheme.survival(channel, strength)

    def facts(self, extraction: Extraction) -> dict[str, Any]:
        """Return what extraction and evidence say, as JSON values."""
        scheme, claim = self.marked.scheme, Claim(self.marked.key, self.marked.mark, self.marked.message)
        evidence = scheme.evidence(extraction, claim)
        return {
            "applicable": extraction.applicable,
            "reason": extraction.reason,
            "exact": extraction.ok and bool(np.array_equal(extraction.bits, claim.message)),
            "bit_error": self._bit_error(extraction),
            "overlap": scheme.overlap(extraction, claim),
            "erased": extraction.erased,
            "log10_p": evidence.combined,
            "statistics": dict(evidence.log10_p),
            "counts": dict(evidence.details),
        }

    def _bit_error(self, extraction: Extraction) -> float:
        """Return the share of wrong bits; a message that is known to be lost tells nothing: 1/2."""
        return float(np.mean(extraction.bits != self.marked.message)) if extraction.ok else 0.5


def marked_copy(marked: Marked) -> Weights:
    """Return the convolution and linear weights of a marked model as they are now, on the CPU."""
    weights = as_weights(marked.model)
    return TensorWeights({name: weights.tensor(name).detach().cpu().clone() for name in prunable(weights)})
