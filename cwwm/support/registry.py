"""Builds a registered object from its name and parameters, with near-name hints for both."""

from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from cwwm.support.errors import BadInput, unknown_name

T = TypeVar("T")
_LARGEST = 2**63


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
    lead = f"{where + ': ' if where else ''}{kind} '{name}': "
    hints = get_type_hints(known[name])
    for parameter, value in parameters.items():
        if not _fits(value, hints[parameter]):
            raise BadInput(f"{lead}{parameter} takes {_named(hints[parameter])}, not {value!r:.60}")
    try:
        return known[name](**parameters)
    except BadInput as error:
        raise type(error)(f"{where}: {error}" if where else str(error)) from error
    except (TypeError, OverflowError) as error:
        raise BadInput(f"{lead}{error}") from error


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401 (a type or a union of types)
    """Say whether a JSON value is of a type, a number finite and below 2^63; other types are not checked.

    A whole number is a real one, a truth value is no number.
    """
    if isinstance(hint, UnionType) or get_origin(hint) is Union:
        return any(_fits(value, one) for one in get_args(hint))
    if hint in (int, float):
        kind = Integral if hint is int else Real
        return isinstance(value, kind) and not isinstance(value, bool) and abs(float(value)) < _LARGEST
    if hint in (bool, str, NoneType):
        return type(value) is hint
    return isinstance(value, Mapping) if get_origin(hint) is Mapping else True


def _named(hint: Any) -> str:  # noqa: ANN401
    names = {
        int: "a whole number",
        float: "a finite number",
        bool: "true or false",
        str: "a text",
        NoneType: "none",
    }
    return " or ".join(names.get(one, "an object") for one in (get_args(hint) or (hint,)))
