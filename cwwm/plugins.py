"""Schemes and attacks from outside this project: installed entry points and named modules join the registries."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from cwwm.schemes import SCHEMES, Scheme
from cwwm.support.errors import BadInput


@dataclass(frozen=True)
class Registry:
    """A registry that plugins may add classes to.

    Attributes:
        kind: what its classes are called. base: the contract that they keep.
        known: the classes by name. group: of the entry points that name more of them.
    """

    kind: str
    base: type[Any]
    known: dict[str, Any]
    group: str

    def add(self, found: type[Any], origin: str) -> None:
        """Register a class under its own name; BadInput, led by `origin`, if it cannot be or the name is taken."""
        name = vars(found).get("name")
        if not isinstance(name, str) or "__dataclass_fields__" not in vars(found):
            raise BadInput(
                f"{origin}: {self.kind} {found.__name__} needs a name of its own (name: ClassVar[str] = ...) "
                "and @dataclass(frozen=True, kw_only=True)"
            )
        taken = self.known.setdefault(name, found)
        if taken is not found:
            raise BadInput(
                f"{origin}: there is {self.kind} '{name}' in {taken.__module__} already; give yours another name"
            )


SCHEME_PLUGINS = Registry("scheme", Scheme, SCHEMES, "cwwm.schemes")


def load_plugins(modules: Iterable[str] = (), registries: Sequence[Registry] = (SCHEME_PLUGINS,)) -> None:
    """Add what installed packages name in their entry points, then all that the given modules define.

    Args:
        modules: full names, such as ``"my_package.my_scheme"``; they are looked for in the working directory, too.
        registries: to which classes are added. Loading the same plugin again changes nothing.

    Raises:
        BadInput: for a plugin that cannot be imported, defines nothing, or takes a name that is taken.
    """
    for registry in registries:
        for point in entry_points(group=registry.group):
            registry.add(_entry_class(point, registry), _origin(point))
    for name in modules:
        _add_module(name, registries)


def _origin(point: EntryPoint) -> str:
    package = point.dist.name if point.dist else point.module
    return f"installed plugin '{point.name}' of {package}"


def _entry_class(point: EntryPoint, registry: Registry) -> type[Any]:
    """Return the class that an entry point names; BadInput if it is no concrete class of the registry's kind."""
    found = _guarded(point.load, f"{_origin(point)} cannot be loaded; mend it or uninstall it")
    if not _is_plugin(found, registry):
        raise BadInput(f"{_origin(point)}: {point.value} is no {registry.kind}")
    return found  # type: ignore[no-any-return]


def _add_module(name: str, registries: Sequence[Registry]) -> None:
    """Register every scheme and attack that a module, or its own package, defines and holds."""
    origin, module = f"plugin {name}", _import(name)
    own = name.partition(".")[0]
    found = [value for value in vars(module).values() if getattr(value, "__module__", "").partition(".")[0] == own]
    classes = [(registry, value) for registry in registries for value in found if _is_plugin(value, registry)]
    if not classes:
        raise BadInput(f"{origin} defines no {' and no '.join(registry.kind for registry in registries)}")
    for registry, value in classes:
        registry.add(value, origin)


def _is_plugin(value: Any, registry: Registry) -> bool:  # noqa: ANN401 (anything a module holds)
    return inspect.isclass(value) and issubclass(value, registry.base) and not inspect.isabstract(value)


def _import(name: str) -> ModuleType:
    """Import a module, from the working directory if it is nowhere else."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last: a file there must not hide an installed package
    return _guarded(lambda: importlib.import_module(name), f"plugin {name} cannot be imported")  # type: ignore[no-any-return]


def _guarded(load: Callable[[], Any], failure: str) -> Any:  # noqa: ANN401
    """Return what `load` gives; whatever a plugin's own code raises becomes one line of bad input."""
    try:
        return load()
    except (Exception, SystemExit) as error:
        raise BadInput(f"{failure}: {type(error).__name__}: {error}") from error
