"""Writes a definition down as what can change a result: its syntax tree, and which other definitions it names.

Left out are comments, docstrings and other bare constants, annotations, import lines, the names of modules, and
statements that only tell how far the work is. A name that was imported, or that its module defines, is replaced by
what it stands for.
"""

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from bench.support.modules import Imported, Module, bound_names, is_for_types, node_fields, used_names, within


@dataclass(frozen=True, order=True)
class Definition:
    """What a module binds under a name; without a name, the whole module; with `EFFECTS`, what its import does."""

    module: str
    name: str = ""

    def __str__(self) -> str:
        """Return ``module:name``."""
        return f"{self.module}:{self.name}" if self.name else self.module


EFFECTS = "<effects>"  # in place of a name
TOLD = "progress"  # in place of what tells how far the work is
Part = str | Definition

#: what a name of a module stands for, followed through imports and by further attributes, in parts
Follow = Callable[[Module, str, list[str]], list[Part] | None]
Import = Callable[[Module, Imported, list[str]], list[Part]]
Unnamed = Callable[[Module, Imported], list[Part]]

_RUNTIME = {"ClassVar", "InitVar", "KW_ONLY"}  # annotations that change what a dataclass makes of a field
_UNSEEN = ("annotation", "returns", "type_params")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_HARMLESS = (
    ast.Name,
    ast.Attribute,
    ast.Subscript,
    ast.Constant,
    ast.JoinedStr,
    ast.FormattedValue,
    ast.expr_context,
)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Scope:
    """The names that are not the module's where an expression stands.

    Attributes:
        names: of the functions around it. imports: what those of them mean that a function imports.
        of_class: of the class in whose body it stands; functions in there do not see them.
    """

    names: frozenset[str] = frozenset()
    imports: Mapping[str, Imported] = field(default_factory=dict)
    of_class: frozenset[str] = frozenset()

    def within(self, names: Iterable[str], imports: Mapping[str, Imported], outer: Iterable[str] = ()) -> "Scope":
        """Return the scope of a function in this one; `outer` are names that it declares to be the module's."""
        bound = frozenset(names)
        inherited = {name: target for name, target in self.imports.items() if name not in bound}
        return Scope((self.names | bound) - frozenset(outer), {**inherited, **imports})


class Writer:
    """Writes statements of one module down as parts: text, and definitions that are named."""

    def __init__(
        self,
        module: Module,
        follow: Follow,
        follow_import: Import,
        unnamed: Unnamed,
        *,
        model: bool = False,
    ) -> None:
        """Resolve the names of `module` by `follow`, and imports by the next two; `model` keeps annotations."""
        self._module, self._model = module, model
        self._follow, self._import, self._unnamed = follow, follow_import, unnamed
        self.parts: list[Part] = []

    def write(self, statements: Iterable[ast.stmt]) -> list[Part]:
        """Return the parts of statements at the module's level."""
        for statement in statements:
            if isinstance(statement, _FUNCTIONS):
                named = bool(statement.decorator_list)  # a decorator may register a function under its name
                self._function(statement, Scope(), named=named)
            else:
                self._node(statement, Scope())
        return self.parts

    def _node(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Pass | ast.Global | ast.Nonlocal):
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return
        if self._tells(node, scope):
            return
        if is_for_types(node):
            self._each(getattr(node, "orelse", []), scope)
        elif isinstance(node, ast.Name | ast.Attribute):
            self._chain(node, scope)
        elif isinstance(node, ast.Constant):
            self.parts.append(f"{type(node.value).__name__} {node.value!r}")
        elif isinstance(node, _FUNCTIONS):
            self._function(node, scope)
        elif isinstance(node, ast.Lambda):
            self._arguments(node.args, scope)
            self._list("lambda", [node.body], self._inside(node.args, [node.body], scope))
        elif isinstance(node, ast.ClassDef):
            self._class(node, scope)
        elif isinstance(node, ast.AnnAssign):
            if node.value is not None:  # else it only declares a name
                self._list("Assign", [node.target, node.value], scope)
        elif isinstance(node, _COMPREHENSIONS):
            self._comprehension(node, scope)
        else:
            self._plain(node, scope)

    def _tells(self, node: object, scope: Scope) -> bool:
        """Say whether a statement only tells how far the work is, of names, their attributes and lengths."""
        call = node.value if isinstance(node, ast.Expr) else None
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.keywords:
            return False
        if self._name(call.func, [], scope) != [TOLD]:
            return False
        inside = [part for argument in call.args for part in ast.walk(argument)]
        return all(_is_len(part) if isinstance(part, ast.Call) else isinstance(part, _HARMLESS) for part in inside)

    def _plain(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:  # written as an annotated one is
            self._list("Assign", [node.targets[0], node.value], scope)
            return
        self.parts.append(f"({type(node).__name__}")
        for name in _seen(type(node).__name__):
            self._value(name, getattr(node, name, None), scope)
        self.parts.append(")")

    def _value(self, name: str, value: object, scope: Scope) -> None:
        if isinstance(value, list):
            self.parts.append(f"{name}[")
            for item in value:
                if not self._tells(item, scope):
                    self._value("", item, scope)
            self.parts.append("]")
        elif isinstance(value, ast.AST):
            self.parts.append(name)
            self._node(value, scope)
        else:
            self.parts.append(f"{name}={value!r}")

    def _list(self, kind: str, nodes: Iterable[ast.AST], scope: Scope) -> None:
        self.parts.append(f"({kind}")
        self._each(nodes, scope)
        self.parts.append(")")

    def _each(self, nodes: Iterable[ast.AST], scope: Scope) -> None:
        for node in nodes:
            self._node(node, scope)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope, *, named: bool = True) -> None:
        kind = type(node).__name__
        self._list(f"{kind} {node.name}" if named else kind, node.decorator_list, scope)
        self._arguments(node.args, scope)
        self._list("body", node.body, self._inside(node.args, node.body, scope))

    def _arguments(self, arguments: ast.arguments, scope: Scope) -> None:
        """Write arguments; their defaults are found where the function stands, not in it."""
        defaults = [default for default in (*arguments.defaults, *arguments.kw_defaults) if default is not None]
        self._list(_signature(arguments), defaults, scope)

    def _inside(self, given: ast.arguments, body: Sequence[ast.AST], scope: Scope) -> Scope:
        """Return the scope of a function's body; what it imports and never reads, it imports for what that does."""
        arguments = {
            argument.arg
            for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg)
            if argument
        }
        nodes = within(*body)
        imports = self._module.imported_by(nodes)
        outer = [name for node in nodes if isinstance(node, ast.Global) for name in node.names]
        if imports:
            read = used_names(*body)
            for name in (name for name in imports if name not in read):
                self.parts += self._unnamed(self._module, imports[name])
        return scope.within(arguments | bound_names(nodes) | imports.keys(), imports, outer)

    def _class(self, node: ast.ClassDef, scope: Scope) -> None:
        self._list(f"class {node.name}", node.decorator_list, scope)
        self._list("bases", [*node.bases, *node.keywords], scope)
        self.parts.append("(body")
        inside = replace(scope, of_class=frozenset(bound_names(within(*node.body))))
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign):
                self._field(statement, inside)
            else:
                self._node(statement, inside)
        self.parts.append(")")

    def _field(self, node: ast.AnnAssign, scope: Scope) -> None:
        """Write a field of a class: a dataclass makes more of it than of an assignment."""
        special = sorted(_RUNTIME & set(re.findall(r"\w+", ast.unparse(node.annotation))))
        self.parts.append(f"field {' '.join(special)}")
        self._each([node.target, *([node.value] if node.value else [])], scope)
        if self._model:
            self._node(node.annotation, scope)

    def _comprehension(self, node: ast.AST, scope: Scope) -> None:
        generators: list[ast.comprehension] = node.generators  # type: ignore[attr-defined]
        targets = {n.id for g in generators for n in ast.walk(g.target) if isinstance(n, ast.Name)}
        inside = scope.within(targets, {})
        self.parts.append(f"({type(node).__name__}")
        for place, generator in enumerate(generators):
            self._node(generator.iter, inside if place else scope)
            self._list(f"for {generator.is_async}", [generator.target, *generator.ifs], inside)
        self._each((getattr(node, name) for name in ("key", "value", "elt") if hasattr(node, name)), inside)
        self.parts.append(")")

    def _chain(self, node: ast.Name | ast.Attribute, scope: Scope) -> None:
        """Write a name with the attributes asked of it; those of a module are its members."""
        attributes: list[str] = []
        base: ast.AST = node
        while isinstance(base, ast.Attribute):
            attributes.insert(0, base.attr)
            base = base.value
        if isinstance(base, ast.Name):
            self.parts += self._name(base, attributes, scope)
        else:
            self._node(base, scope)
            self.parts += [f".{attribute}" for attribute in attributes]

    def _name(self, node: ast.Name, attributes: list[str], scope: Scope) -> list[Part]:
        plain: list[Part] = [f"name {node.id}", *(f".{attribute}" for attribute in attributes)]
        if node.id in scope.of_class:  # where it is read before it is bound, it is the module's
            outside = self._follow(self._module, node.id, attributes) if isinstance(node.ctx, ast.Load) else None
            return plain + (outside or [])
        if node.id in scope.imports:
            return self._import(self._module, scope.imports[node.id], attributes)
        if node.id in scope.names:
            return plain
        return self._follow(self._module, node.id, attributes) or plain


def _is_len(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "len"


@cache
def _seen(kind: str) -> list[str]:
    """Return the fields of a kind of node that can change a result."""
    return [name for name in node_fields(kind) if name not in _UNSEEN]


def imported_whole(target: Imported) -> Imported:
    """Return the module that was loaded, or the member, in place of the package that an import binds."""
    return Imported(target.loaded) if target.loaded else target


def _signature(arguments: ast.arguments) -> str:
    """Return the names and kinds of arguments, and which of them have defaults."""
    kinds = (arguments.posonlyargs, arguments.args, arguments.kwonlyargs)
    names = "/".join(",".join(argument.arg for argument in kind) for kind in kinds)
    rest = "/".join(argument.arg if argument else "" for argument in (arguments.vararg, arguments.kwarg))
    keyword = "".join("01"[default is not None] for default in arguments.kw_defaults)
    return f"({names}|{rest}|{len(arguments.defaults)}|{keyword})"
