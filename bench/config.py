"""The one place that reads YAML: strict, with errors that name the file, the key and the nearest valid name."""

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from cwwm.errors import BadInput, unknown_name

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, but 1e-3 is a number, as in YAML 1.2; PyYAML takes it for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; BadInput, naming the file, if it is missing, malformed or no mapping."""
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise BadInput(f"{path} holds no mapping of names to values")
    return value


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
