"""Watermarks a network's weights with constant-weight codes, reads them back and says how strong the proof is."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cwwm.codes import ConstantWeightCode, Decoded, ProtectedCode
from cwwm.ownership.keys import Key
from cwwm.support.errors import BadInput

if TYPE_CHECKING:
    from cwwm.models import dispute, embed, extract, verify
    from cwwm.ownership.dispute import Party
    from cwwm.schemes import make_scheme

__all__ = [
    "BadInput",
    "ConstantWeightCode",
    "Decoded",
    "Key",
    "Party",
    "ProtectedCode",
    "__version__",
    "dispute",
    "embed",
    "extract",
    "make_scheme",
    "verify",
]
__version__ = "0.2.0"
_LATE = {
    "Party": "cwwm.ownership.dispute",
    "dispute": "cwwm.models",
    "embed": "cwwm.models",
    "extract": "cwwm.models",
    "make_scheme": "cwwm.schemes",
    "verify": "cwwm.models",
}  # they take torch, which importing this package must not wait for


def __getattr__(name: str) -> Any:  # noqa: ANN401 (what the module holds)
    """Import what takes torch when it is first asked for."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATE[name]), name)
