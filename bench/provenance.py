"""Which source a result depends on: a digest of the modules that its own modules import, and of nothing else.

So a new attack, scheme or table leaves the records of all others valid, and an edit runs again what it can change.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_OURS = ("bench", "cwwm")


@cache
def source_digest(*modules: str) -> str:
    """Return the digest of modules and all that they import of this project, by name and content.

    Imports inside functions count, those for type checkers only do not. A name imported from a package is
    followed to the module that defines it: packages are looked through, so a registry counts only where a
    module itself asks for it.

    Args:
        modules: full names, such as ``"bench.workshop"``.

    Raises:
        ModuleNotFoundError: for a name that is no module of this project.
    """
    digest = hashlib.sha256()
    for module in sorted(dependencies(*modules)):
        digest.update(module.encode() + b"\0" + _file(module).read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def dependencies(*modules: str) -> set[str]:
    """Return modules and all that they import of this project, directly or not, by full name."""
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
    """Return the modules of this project that one imports, by the names that it binds."""
    found: dict[str, str] = {}
    for node in _statements(ast.parse(_file(module).read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name: alias.name for alias in node.names if _is_ours(alias.name)}
        elif isinstance(node, ast.ImportFrom) and node.module and _is_ours(node.module):
            found |= {alias.asname or alias.name: _home(node.module, alias.name) for alias in node.names}
    return found


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


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in _OURS


def _is_package(module: str) -> bool:
    return _file(module).name == "__init__.py"


@cache
def _file(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module} is no module of this project")
    return Path(spec.origin)
