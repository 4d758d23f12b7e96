"""The codes: payload bits to a constant-weight codeword and back."""

from cwwm.codes.base import Bits, Check, Code, Decoded, Word
from cwwm.codes.constant_weight import ConstantWeightCode
from cwwm.codes.protected import ProtectedCode
from cwwm.codes.reed_solomon import ReedSolomon

__all__ = ["Bits", "Check", "Code", "ConstantWeightCode", "Decoded", "ProtectedCode", "ReedSolomon", "Word"]
