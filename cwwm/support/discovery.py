"""Finds what a package holds of one kind, so that a new file in it is all that a new scheme or attack takes."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any


def discover(package: str, base: type[Any]) -> dict[str, Any]:
    """Import every module below a package; return its concrete classes of a kind, by the names in them.

    A class counts where it is defined, if it has no abstract method and its own body says ``name``. Modules are
    taken in the order of their names, the classes of one in the order of its lines, and the result is sorted by
    name: nothing depends on what was imported before.

    Args:
        package: full name; its ``__init__`` may be under way, and should have imported the contract before.
        base: the contract.

    Raises:
        TypeError: if two classes say the same name.
    """
    found: dict[str, Any] = {}
    for module in _modules(package):
        for value in vars(module).values():
            if _is_own(value, module, base):
                other = found.setdefault(value.name, value)
                if other is not value:
                    raise TypeError(f"{value.__module__} and {other.__module__} both define '{value.name}'")
    return dict(sorted(found.items()))


def _modules(package: str) -> Iterator[ModuleType]:
    for place in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        yield importlib.import_module(place.name)


def _is_own(value: object, module: ModuleType, base: type[Any]) -> bool:
    return (
        inspect.isclass(value)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and "name" in vars(value)
        and not inspect.isabstract(value)
    )
