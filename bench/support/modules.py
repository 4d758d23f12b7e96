"""Finds and parses the modules whose source counts: what each one defines, imports and does when it is imported."""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from importlib.util import find_spec, resolve_name
from pathlib import Path

OURS = ("bench", "cwwm")
_INSTALLED = ("site-packages", "dist-packages")  # folders in which everybody's packages lie side by side
_COMPILED = (".so", ".pyd")
_BINDING = {
    *(ast.Name, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    *(ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping),
}
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


@dataclass(frozen=True)
class Imported:
    """What a name was imported as: a module, or with `name` a member of one; which module was loaded for it."""

    module: str
    name: str = ""
    loaded: str = ""


@dataclass(frozen=True)
class Module:
    """One module, parsed.

    Attributes:
        name: in full. content: of its file. ours: of this project; else it is a plugin's.
        is_package: whether the file is the ``__init__.py`` of a package.
    """

    name: str
    content: bytes = field(repr=False)
    ours: bool
    is_package: bool
    compiled: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        """Return the syntax tree; an empty one of a compiled module."""
        return ast.parse(b"" if self.compiled else self.content)

    @cached_property
    def definitions(self) -> dict[str, list[ast.stmt]]:
        """Return, by the names that they bind or change, the statements of the module's level, in their order."""
        found: dict[str, list[ast.stmt]] = {}
        for statement in _executed(self.tree.body):
            for name in bound_names(within(statement)) | (_changed_names(statement) & found.keys()):
                found.setdefault(name, []).append(statement)
        return found

    @cached_property
    def imports(self) -> dict[str, Imported]:
        """Return what the names mean that are imported at the module's level."""
        return self.imported_by(within(*_executed(self.tree.body)))

    @property
    def all_imports(self) -> list[Imported]:
        """Return what is imported anywhere in the module, by functions too, but for type checkers."""
        return [target for node in _below([self.tree]) for target in self.imported_by([node]).values()]

    @cached_property
    def effects(self) -> list[ast.stmt]:
        """Return the statements at the module's level that do something, instead of defining or importing."""
        return [statement for statement in _executed(self.tree.body) if self._acts(statement)]

    def _acts(self, statement: ast.stmt) -> bool:
        """Say whether a statement is no definition, no change of one, no import and no text."""
        if isinstance(statement, _SCOPES):
            return False
        changed = _changed_names(statement)
        if changed and changed <= self.definitions.keys():
            return False
        return any(_acts_itself(node) for node in within(statement))

    @cached_property
    def for_effect(self) -> list[Imported]:
        """Return what is imported at the module's level and named nowhere: it is imported for what it does."""
        if self.is_package:  # there it is handed on
            return []
        if not self.imports.keys() - (read := used_names(self.tree)):
            return []
        texts = (node.value for node in _below([self.tree]) if isinstance(node, ast.Constant))
        told = {word for text in texts if isinstance(text, str) for word in re.findall(r"\w+", text)}
        return [target for name, target in self.imports.items() if name not in read | told]  # some are in quotes

    def imported_by(self, nodes: Iterable[ast.AST]) -> dict[str, Imported]:
        """Return what the imports among nodes bind to which names."""
        found: dict[str, Imported] = {}
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    whole = alias.name if alias.asname else alias.name.partition(".")[0]
                    found[alias.asname or whole] = Imported(whole, loaded=alias.name)
            elif isinstance(node, ast.ImportFrom):
                source = self.absolute(node)
                found |= {alias.asname or alias.name: Imported(source, alias.name) for alias in node.names}
        return found

    def absolute(self, node: ast.ImportFrom) -> str:
        """Return the full name of the module that a from-import names, which may be relative to this one."""
        if not node.level:
            return node.module or ""
        package = self.name if self.is_package else self.name.rpartition(".")[0]
        return resolve_name("." * node.level + (node.module or ""), package)


#: a module of the same source is parsed once, in however many checkouts it lies
_parsed = lru_cache(maxsize=1024)(Module)


class Modules:
    """The modules of a checkout, or of the one that runs, each read once."""

    def __init__(self, folder: Path | None = None) -> None:
        """Read this project's modules below `folder`; None takes those that this process would import."""
        self._folder = folder
        self._known: dict[str, Module | None] = {}

    def get(self, name: str) -> Module | None:
        """Return a module by its full name; None if there is no file of it."""
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def counts(self, name: str, importer: Module) -> bool:
        """Say whether the source of an imported module counts: this project's, and a plugin's own."""
        top, own = name.partition(".")[0], importer.name.partition(".")[0]
        if top in OURS or importer.ours:
            return top in OURS
        return top == own or (self._place(top) == self._place(own) and self._place(own).name not in _INSTALLED)

    def _read(self, name: str) -> Module | None:
        path = self._file(name)
        if path is None:
            return None
        ours, is_package = name.partition(".")[0] in OURS, path.name == "__init__.py"
        return _parsed(name, path.read_bytes(), ours, is_package, path.suffix in _COMPILED)

    def _file(self, name: str) -> Path | None:
        top, *rest = name.split(".")
        places = self._top(top)
        for part in rest:
            places = [found for place in places if place.is_dir() for found in _entries(place, part)]
        files = [place / "__init__.py" if place.is_dir() else place for place in places]
        return next((file for file in files if file.is_file()), None)

    def _top(self, top: str) -> list[Path]:
        """Return the folders of a package, or the file of a module, that lies at the top level."""
        if self._folder and top in OURS:
            return [self._folder / top]
        spec = find_spec(top)
        if spec is None:
            return []
        found = spec.submodule_search_locations or ([spec.origin] if spec.has_location and spec.origin else [])
        return [Path(place) for place in found]

    def _place(self, top: str) -> Path:
        """Return the folder in which something of the top level lies; an empty path for a built-in module."""
        return next(iter(self._top(top)), Path()).parent


def _entries(folder: Path, name: str) -> Iterator[Path]:
    """Yield what a folder holds under a module's name, as Python would look for it: a package before a file."""
    candidates = [folder / name, *(p for p in sorted(folder.glob(f"{name}.*")) if p.suffix in _COMPILED)]
    yield from (path for path in (*candidates, folder / f"{name}.py") if path.exists())


def _executed(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements but for those that run for type checkers, or for a script, only."""
    for statement in body:
        if isinstance(statement, ast.If) and is_for_types(statement):
            yield from _executed(statement.orelse)
        elif not (isinstance(statement, ast.If) and "__name__" in used_names(statement.test)):
            yield statement


def is_for_types(node: ast.AST) -> bool:
    """Say whether a node is ``if TYPE_CHECKING``."""
    if type(node) is not ast.If:
        return False
    test = node.test
    return getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING"


def used_names(*nodes: ast.AST) -> set[str]:
    """Return the names that are read anywhere in nodes."""
    return {n.id for n in _below(nodes) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def within(*nodes: ast.AST) -> list[ast.AST]:
    """Return nodes and those below that run in the same scope: functions and classes, not what they hold."""
    return _below(nodes, _SCOPES)


def _below(nodes: Iterable[ast.AST], closed: tuple[type[ast.AST], ...] = ()) -> list[ast.AST]:
    """Return nodes and all below them, but in `closed` ones and for type checkers; at several times `ast.walk`."""
    found, waiting = [], list(nodes)
    while waiting:
        node = waiting.pop()
        kind = type(node)
        if kind is ast.If and is_for_types(node):
            continue
        found.append(node)
        if kind in closed:
            continue
        for name in node_fields(kind.__name__):
            value = getattr(node, name, None)
            if type(value) is list:
                waiting += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST):
                waiting.append(value)
    return found


@cache
def node_fields(kind: str) -> tuple[str, ...]:
    """Return the fields of a kind of node that may hold other nodes or text."""
    return tuple(name for name in getattr(ast, kind)._fields if name not in ("ctx", "kind", "type_comment"))


def bound_names(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the names that nodes of one scope, from `within`, bind in it; comprehensions and imports do not."""
    nodes = list(nodes)
    loops = [node.target for node in nodes if isinstance(node, ast.comprehension)]
    inner = {id(name) for target in loops for name in ast.walk(target)}
    return {name for node in nodes if id(node) not in inner for name in _bound_by(node)}


def _bound_by(node: ast.AST) -> set[str]:
    if type(node) not in _BINDING:
        return set()
    if isinstance(node, ast.Name):
        return set() if isinstance(node.ctx, ast.Load) else {node.id}
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    name = node.rest if isinstance(node, ast.MatchMapping) else getattr(node, "name", None)
    return {name} if name else set()


def _changed_names(statement: ast.stmt) -> set[str]:
    """Return the names whose attributes or items a plain assignment sets, if it sets nothing else."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    bases = [_base(target) for target in targets if isinstance(target, ast.Attribute | ast.Subscript)]
    names = {base.id for base in bases if isinstance(base, ast.Name)}
    return names if len(bases) == len(targets) else set()


def _base(node: ast.AST) -> ast.AST:
    """Return what is first in a chain of attributes and items."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node


def _acts_itself(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute | ast.Subscript):
        return not isinstance(node.ctx, ast.Load)
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Delete | ast.Assert | ast.Raise | ast.AugAssign)
