"""Which schemes are known, by name: those of this package (see `registry`) and of plugins."""

from collections.abc import Mapping
from typing import Any

from cwwm.ownership.mark import Mark
from cwwm.schemes.base import Scheme
from cwwm.support.errors import BadInput
from cwwm.support.registry import build

SCHEMES: dict[str, type[Scheme]] = {}


def make_scheme(name: str, parameters: Mapping[str, Any], where: str = "") -> Scheme:
    """Return the scheme of that name with these parameters; BadInput names the nearest valid ones."""
    return build("scheme", SCHEMES, name, parameters, where)


def scheme_of(mark: Mark) -> Scheme:
    """Return the scheme that made a mark; BadInput if the mark contradicts itself."""
    scheme = make_scheme(mark.scheme, mark.parameters, "mark")
    if scheme.payload_bits != mark.payload_bits:
        raise BadInput(
            f"the mark is damaged: its payload has {mark.payload_bits} bits, its scheme's {scheme.payload_bits}"
        )
    return scheme
