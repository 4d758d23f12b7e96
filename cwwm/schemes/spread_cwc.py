"""Scheme `spread-cwc`: words of constant weight in the spread domain, added to all weights of a carrier.

Derived for this project. A symbol is one of M keyed Walsh-Hadamard rows over its share of the weights, with a sign:
one of 2M places, so a word of n symbols has constant weight n in length 2nM. Every weight moves by the same
amplitude of its channel, up or down: no weight stands out, nothing is left to aim at, a common scale does not
matter, and there are no thresholds, for correlations are ranked. The outer code is multilevel polar
(`cwwm.codes.multilevel`).

It is made to be read against the unmarked original (`cwwm.residual`), where the host is no noise: then a gain of
one or two hundredths of a channel's root mean square outlives what removes blind marks of many times its energy.
Read without the original it takes as much energy as other spread marks.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from cwwm.codes.multilevel import default_form
from cwwm.ownership.mark import Mark
from cwwm.schemes.common.outer import WALSH, KeyedWalsh
from cwwm.schemes.common.spread import SpreadScheme
from cwwm.schemes.common.spreading import CHANNEL
from cwwm.support.errors import BadInput

_LARGE = 1 << 40  # weights of a pool that any form fits


@dataclass(frozen=True, kw_only=True)
class SpreadConstantWeight(SpreadScheme):
    """Signed one-hot Walsh symbols under a multilevel polar code.

    Attributes:
        gain: g, the amplitude of the pattern in root mean squares of a weight's own output channel, times the gain
            of its layer (`cwwm.weights.sensitivity`).
        blocks: n, symbols of a word, a power of two. rows: M, a power of four. By default what suits payload and
            pool.
        carrier: rule that chooses the host layers.
    """

    name: ClassVar[str] = "spread-cwc"
    codes: ClassVar[tuple[str, ...]] = (WALSH,)

    outer: str = WALSH
    gain: float = 0.02
    blocks: int | None = None
    rows: int | None = None
    per: str = CHANNEL
    carrier: str = "wide"

    def __post_init__(self) -> None:
        """Refuse strengths that add nothing, half a form, and amplitudes that follow no channel."""
        super().__post_init__()
        if not 0 < self.gain < float("inf"):
            raise BadInput(f"{self.name} needs a finite gain above 0, not {self.gain}")
        if self.length is not None or self.per != CHANNEL:
            raise BadInput(f"{self.name} takes its length from blocks and rows, and its amplitudes from channels")

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the parameters that are a choice."""
        return {name: value for name, value in super().parameters.items() if name not in ("length", "per")}

    @property
    def strength_parameter(self) -> str:
        """Return the gain."""
        return "gain"

    @property
    def information(self) -> int:
        """Return the number of message and check bits."""
        return self.payload_bits + KeyedWalsh.check_bits

    @cached_property
    def keyed_code(self) -> KeyedWalsh:
        """Return the code with its keyed pad."""
        blocks, rows = self._form(_LARGE)
        found = KeyedWalsh(self.payload_bits, blocks * rows, rows)
        _ = found.code
        return found

    def fitted_to(self, pool: int) -> "SpreadConstantWeight":
        """Return the scheme with the form that suits a pool of so many weights."""
        try:
            blocks, rows = self._form(pool)
        except BadInput as error:
            raise BadInput(f"carrier '{self.carrier}': {error}") from error
        return replace(self, blocks=blocks, rows=rows)

    def code_of(self, mark: Mark) -> KeyedWalsh:
        """Return the code of a mark, whose form follows from the pool."""
        return self.keyed_code if mark.carrier is None else self.fitted_to(mark.carrier.size).keyed_code

    def gain_for(self, pool: int) -> float:
        """Return the gain."""
        return self.gain

    def _form(self, pool: int) -> tuple[int, int]:
        """Return n and M."""
        if (self.blocks is None) != (self.rows is None):
            raise BadInput(f"{self.name} takes blocks and rows together, or neither")
        if self.blocks is None or self.rows is None:
            return default_form(self.payload_bits, pool, KeyedWalsh.check_bits)
        return self.blocks, self.rows
