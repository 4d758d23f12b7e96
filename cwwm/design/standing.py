"""What is left of a mark at an SNR2: whether its message is recovered, and how sure the proof is, by law."""

import math
from dataclasses import dataclass

from cwwm.codes.linear import LinearCode
from cwwm.codes.multilevel import MultilevelPolar
from cwwm.codes.polar import PolarCode
from cwwm.ownership.evidence import SUREST, log10_bound_of_signs

Code = LinearCode | PolarCode | MultilevelPolar
SURE = 0.99  # probability from which a message counts as readable


@dataclass(frozen=True)
class Stand:
    """What is left of a mark after a change.

    Attributes:
        change: in words. snr2: by law. recovered: probability that the message is. log10_p: of the proof, and no
            surer than any verdict.
    """

    change: str
    snr2: float
    recovered: float
    log10_p: float

    @classmethod
    def at(cls, change: str, snr2: float, code: Code) -> "Stand":
        """Return what is left at this SNR2 of a word of the code."""
        return cls(change, snr2, recovery(code, snr2), max(SUREST, log10_bound_of_signs(math.sqrt(max(snr2, 0.0)))))


def recovery(code: Code, snr2: float) -> float:
    """Return the probability that a message is recovered; 0 of linear codes, of which SNR2 tells no law."""
    return 0.0 if isinstance(code, LinearCode) else code.success(snr2)
