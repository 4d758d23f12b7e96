"""The one registry of attacks: every module of the package is looked through."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any

from bench.attacks.base import Attack
from cwwm.support.discovery import discover
from cwwm.support.errors import BadInput, unknown_name
from cwwm.support.registry import build

ATTACKS: dict[str, type[Attack]] = discover("bench.attacks", Attack)


def make_attack(value: Any, where: str) -> Attack:  # noqa: ANN401 (what YAML or JSON gave)
    """Return an attack from ``{"name": ..., parameters}``; ``then`` nests two of them, ``search`` one.

    Raises:
        BadInput: for an unknown name or parameter, led by `where`, naming the nearest valid one.
    """
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise BadInput(f"{where}: an attack is a name, or a mapping with a name and parameters, not {value!r}")
    parameters = {key: item for key, item in value.items() if key != "name"}
    own = fields(ATTACKS[value["name"]]) if value["name"] in ATTACKS else ()
    if nested := {item.name for item in own if item.type is Attack}:
        _check_named(parameters, own, where)
        parameters |= {name: make_attack(parameters[name], f"{where}.{name}") for name in sorted(nested)}
    return build("attack", ATTACKS, value["name"], parameters, where)


def _check_named(parameters: Mapping[str, Any], own: Sequence[Field[Any]], where: str) -> None:
    """Refuse unknown and missing fields before the attacks among them are looked at."""
    known = {item.name: item.default for item in own}
    for name in parameters:
        if name not in known:
            raise unknown_name("field", str(name), known, where)
    for name, default in known.items():
        if default is MISSING and name not in parameters:
            raise BadInput(f"{where}: field '{name}' is missing")
