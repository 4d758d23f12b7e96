"""Builds a registered object from its name and parameters, with near-name hints for both."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from cwwm.errors import BadInput, unknown_name

T = TypeVar("T")


def build(kind: str, known: Mapping[str, type[T]], name: str, parameters: Mapping[str, Any], where: str = "") -> T:
    """Return ``known[name](**parameters)`` for a dataclass; `where` (file and key) leads the error's text.

    Raises:
        BadInput: for an unknown name or parameter, naming the nearest valid one, or a value of a wrong type.
    """
    if name not in known:
        raise unknown_name(kind, name, known, where)
    valid = {field.name for field in fields(known[name])}  # type: ignore[arg-type]
    for parameter in parameters:
        if parameter not in valid:
            raise unknown_name(f"parameter of {kind} '{name}'", parameter, valid, where)
    try:
        return known[name](**parameters)
    except TypeError as error:
        raise BadInput(f"{where + ': ' if where else ''}{kind} '{name}': {error}") from error
