"""Watermarks a network's weights with constant-weight codes, reads them back and says how strong the proof is."""

from cwwm.codes import ConstantWeightCode, Decoded, ProtectedCode
from cwwm.ownership.keys import Key
from cwwm.support.errors import BadInput

__all__ = ["BadInput", "ConstantWeightCode", "Decoded", "Key", "ProtectedCode", "__version__"]
__version__ = "0.1.0"
