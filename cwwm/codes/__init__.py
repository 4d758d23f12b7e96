"""The codes: payload bits to a constant-weight codeword and back."""

from cwwm.codes.base import Bits, Code, Decoded, Word
from cwwm.codes.constant_weight import ConstantWeightCode

__all__ = ["Bits", "Code", "ConstantWeightCode", "Decoded", "Word"]
