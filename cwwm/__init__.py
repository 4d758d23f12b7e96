"""Watermarks a network's weights with constant-weight codes, reads them back and says how strong the proof is."""

from cwwm.codes import ConstantWeightCode, Decoded, ProtectedCode
from cwwm.errors import BadInput
from cwwm.keys import Key

__all__ = ["BadInput", "ConstantWeightCode", "Decoded", "Key", "ProtectedCode", "__version__"]
__version__ = "0.1.0"
