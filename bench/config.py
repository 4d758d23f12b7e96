"""The one place that reads YAML: strict, with errors that name the file, the key and the nearest valid name."""

import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from cwwm.errors import BadInput, unknown_name
from cwwm.files import read_bounded

T = TypeVar("T")

MOST_BYTES = 1 << 20  # of a YAML file; the largest of ours has 21,000
LARGEST_INTEGER = 2**63  # that it may hold: no formula overflows
_DEEPEST = 32  # levels of its value
_MOST_PARTS = 200_000  # of its value, aliases followed


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, but 1e-3 is a number, as in YAML 1.2; PyYAML takes it for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; BadInput, naming the file, if it is missing, malformed or no mapping."""
    try:
        value = yaml.load(read_bounded(path, "YAML file", MOST_BYTES).decode("utf-8"), _Loader)
    except RecursionError:
        raise BadInput(f"{path} is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # not UTF-8, or a date or number that there is not
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not _bounded(value):
        raise BadInput(
            f"{path} is nested deeper than {_DEEPEST} levels, has aliases that repeat too much, or whole numbers "
            f"beyond {LARGEST_INTEGER:g}"
        )
    if not isinstance(value, dict):
        raise BadInput(f"{path} holds no mapping of names to values")
    return value


def _bounded(value: object) -> bool:
    """Say whether a value has few levels and parts, none too large; an alias counts as often as it is used."""
    level, seen = [value], 0
    for _ in range(_DEEPEST):
        level = [child for parent in level for child in _children(parent)]
        seen += len(level)
        if not level or seen > _MOST_PARTS or any(map(_too_large, level)):
            break
    return not level and seen <= _MOST_PARTS


def _children(value: object) -> Collection[object]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, (list, tuple, set)) else ()


def _too_large(value: object) -> bool:
    return isinstance(value, int) and abs(value) > LARGEST_INTEGER


def check_fields(value: Any, known: set[str], where: str, *, required: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]  # noqa: ANN401
    """Return `value` if it is a mapping whose keys are all `known`, with those `required`; else BadInput."""
    if not isinstance(value, Mapping):
        raise BadInput(f"{where}: expected a mapping with {', '.join(sorted(known))}, found {value!r}")
    for key in value:
        if str(key) not in known:
            raise unknown_name("field", str(key), known, where)
    missing = sorted(required - set(value))
    if missing:
        raise BadInput(f"{where}: field '{missing[0]}' is missing")
    return dict(value)


def build_dataclass(kind: type[T], value: Any, where: str) -> T:  # noqa: ANN401 (what YAML gave)
    """Return ``kind(**value)`` for a dataclass; BadInput, led by `where`, for unknown, missing or wrong fields."""
    known = fields(kind)  # type: ignore[arg-type]
    required = {f.name for f in known if f.default is MISSING and f.default_factory is MISSING}
    checked = check_fields(value, {f.name for f in known}, where, required=required)
    for field in known:
        if field.name in checked:
            checked[field.name] = _plain(checked[field.name], str(field.type), f"{where}.{field.name}")
    try:
        return kind(**checked)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from error
    except TypeError as error:
        raise BadInput(f"{where}: {error}") from error


def _plain(value: Any, annotation: str, where: str) -> Any:  # noqa: ANN401
    """Return a scalar as its annotated type; YAML reads 1 as an int."""
    names = {"<class 'int'>": int, "<class 'float'>": float, "<class 'str'>": str, "<class 'bool'>": bool}
    kind = names.get(annotation)
    if kind is None or type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return float(value)
    raise BadInput(f"{where}: {value!r} is not of type {kind.__name__}")
