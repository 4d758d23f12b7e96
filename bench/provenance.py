"""Which source a result depends on: a digest of the modules that its own modules import, and of nothing else.

So a new attack, scheme or table leaves the records of all others valid, and an edit runs again what it can change.
The same holds for plugins: their source counts as far as it is their own, installed libraries do not.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path

_OURS = ("bench", "cwwm")
_INSTALLED = ("site-packages", "dist-packages")  # folders in which everybody's packages lie side by side


@cache
def source_digest(*modules: str) -> str:
    """Return the digest of modules and all that they import of this project, by name and content.

    Imports inside functions count, those for type checkers only do not. A name imported from a package is
    followed to the module that defines it: packages are looked through, so a registry counts only where a
    module itself asks for it. A plugin's module brings all that it imports from its own package, or from
    modules that lie beside it.

    Args:
        modules: full names, such as ``"bench.workshop"``.

    Raises:
        ModuleNotFoundError: for a name that is no module.
    """
    digest = hashlib.sha256()
    for module in sorted(dependencies(*modules)):
        digest.update(module.encode() + b"\0" + _file(module).read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def dependencies(*modules: str) -> set[str]:
    """Return modules and all that they import of this project, or of their own, directly or not, by full name."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += _imports(module).values()
    return found


@cache
def _imports(module: str) -> dict[str, str]:
    """Return the modules of this project, or of the module's own, that one imports, by the names that it binds."""
    found: dict[str, str] = {}
    if _file(module).suffix != ".py":  # compiled: its bytes count, its imports cannot be seen
        return found
    for node in _statements(ast.parse(_file(module).read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name: alias.name for alias in node.names if _counts(alias.name, module)}
        elif isinstance(node, ast.ImportFrom) and _counts(source := _absolute(node, module), module):
            found |= {alias.asname or alias.name: _home(source, alias.name) for alias in node.names}
    return found


def _absolute(node: ast.ImportFrom, module: str) -> str:
    """Return the full name of the module that a from-import names, which may be relative to `module`."""
    if not node.level:
        return node.module or ""
    package = module if _is_package(module) else module.rpartition(".")[0]
    return resolve_name("." * node.level + (node.module or ""), package)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _statements(child)


def _home(module: str, name: str) -> str:
    """Return the module that defines a name imported from another: a submodule, or where a package has it from."""
    if _is_package(module):
        if find_spec(f"{module}.{name}"):
            return f"{module}.{name}"
        return _imports(module).get(name, module)
    return module


def _counts(module: str, importer: str) -> bool:
    """Say whether the source of an imported module counts: this project's, and a plugin's own."""
    top, own = module.partition(".")[0], importer.partition(".")[0]
    if top in _OURS or own in _OURS:
        return top in _OURS
    return top == own or (_folder(top) == _folder(own) and _folder(own).name not in _INSTALLED)


def _folder(top: str) -> Path:
    """Return the folder in which a package or module of the top level lies; an empty path for a built-in one."""
    spec = find_spec(top)
    places = [] if spec is None else [*(spec.submodule_search_locations or ()), spec.has_location and spec.origin]
    return Path(next(filter(None, places), "")).parent


def _is_package(module: str) -> bool:
    spec = find_spec(module)
    return spec is not None and spec.submodule_search_locations is not None


@cache
def _file(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module} is no module with a source of its own")
    return Path(spec.origin)
