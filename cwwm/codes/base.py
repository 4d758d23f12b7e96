"""The contract of every code: bits to codeword and back, without torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from cwwm.support.errors import BadInput

Bits: TypeAlias = npt.NDArray[np.uint8]
Word: TypeAlias = npt.NDArray[np.bool_]
#: (bits of one codeword, its number) -> its check bits: keyed, so that a false message is not found by design
Check: TypeAlias = Callable[[Bits, int], Bits]


@dataclass(frozen=True)
class Decoded:
    """What a decoder read.

    Attributes:
        bits: uint8 array (payload_bits,); all zero when `ok` is False.
        ok: False when the word carries no message (a detected failure).
        erased: symbols that the decoder treated as unknown.
        corrected: symbols that the decoder changed.
        candidates: how many messages were compared with a check; of c bits, it lets a false one pass with
            probability 2^-c each.
    """

    bits: Bits
    ok: bool
    erased: int = 0
    corrected: int = 0
    candidates: int = 0


class Code(Protocol):
    """Maps payload bits to a binary codeword; parameters are in the repr, equal parameters, equal codes."""

    @property
    def payload_bits(self) -> int:
        """Number of payload bits k."""
        ...

    @property
    def length(self) -> int:
        """Number of symbols L of a codeword."""
        ...

    def encode(self, bits: npt.ArrayLike) -> Word:
        """Return the codeword, bool (L,), of `bits` (k,), b_0 least significant."""
        ...

    def decode(self, x: npt.NDArray[Any]) -> Decoded:
        """Read a bool word (L,) or float reliabilities (L,)."""
        ...


def check_message(message: npt.ArrayLike, payload_bits: int) -> Bits:
    """Return `message` as uint8 (payload_bits,); BadInput unless it is that many zeros and ones."""
    bits, wanted = np.asarray(message), f"the message must be {payload_bits} bits of 0 and 1"
    if bits.shape != (payload_bits,):
        raise BadInput(f"{wanted}, not an array of shape {bits.shape}")
    wrong = np.flatnonzero((bits != 0) & (bits != 1))
    if len(wrong):
        raise BadInput(f"{wanted}, not {bits[wrong[0]]} at index {wrong[0]}")
    return bits.astype(np.uint8)
