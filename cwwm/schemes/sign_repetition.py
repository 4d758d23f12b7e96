"""Scheme `sign-repetition`: each message bit is the sign of S keyed weights, read as the sign of their sum.

The plain sign encoding with repetition of the comparison table: a weight that pruning sets to zero abstains,
so a bit is lost only if all S are gone: bit error R^S / 2 at pruning rate R, magnitude or random, as long as
the host magnitudes are distributed like the pool's.
"""

from dataclasses import dataclass
from typing import ClassVar

from cwwm.schemes.sign import RepeatedSigns
from cwwm.support.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class SignRepetition(RepeatedSigns):
    """Signs with repetition.

    Attributes:
        repetition: S, weights a bit.
    """

    name: ClassVar[str] = "sign-repetition"

    repetition: int = 7

    def __post_init__(self) -> None:
        """Refuse a repetition that carries nothing."""
        super().__post_init__()
        if self.repetition < 1:
            raise BadInput(f"{self.name} needs repetition >= 1, not {self.repetition}")

    @property
    def weights_a_bit(self) -> int:
        """Return S."""
        return self.repetition
