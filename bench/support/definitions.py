"""Follows the names in a definition to the definitions that they stand for, through imports and packages."""

import ast
import hashlib
from collections.abc import Mapping

from bench.support.modules import Imported, Module, Modules
from bench.support.syntax import EFFECTS, Definition, Part, Writer, imported_whole


class Definitions:
    """The definitions of one checkout, each written down once."""

    def __init__(self, modules: Modules, stops: Mapping[str, str]) -> None:
        """Read `modules`; what `stops` names, as ``module:name``, is not followed."""
        self._modules = modules
        self._parts: dict[Definition, list[Part]] = {}
        self._stops = {self.find(name): label for name, label in stops.items()}

    def find(self, name: str) -> Definition:
        """Return the definition that ``module:name`` is, however many packages hand it on.

        Raises:
            LookupError: if there is none.
        """
        place, _, member = name.partition(":")
        module = self._modules.get(place)
        if module is None:
            raise LookupError(f"{place} is no module with a source of its own")
        while module and module.ours and member and member not in module.definitions:
            target = module.imports.get(member)
            module, member = (self._modules.get(target.module), target.name) if target else (None, member)
        if module is None:
            raise LookupError(f"{place} defines no {member}")
        return Definition(module.name, member if module.ours else "")

    def parts(self, definition: Definition) -> list[Part]:
        """Return what a definition is made of: text, and the definitions that it names."""
        if definition not in self._parts:
            self._parts[definition] = self._written(definition)
        return self._parts[definition]

    def _written(self, definition: Definition) -> list[Part]:
        module = self._modules.get(definition.module)
        if module is None:
            raise LookupError(f"{definition.module} is no module with a source of its own")
        if definition.name == EFFECTS:
            return self._effects(module)
        if not definition.name:
            return self._whole(module) if module.ours else self._foreign(module)
        statements = module.definitions[definition.name]
        model = self._is_model(module, definition.name)
        writer = Writer(module, self._follow, self._imported, self._for_effect, model=model)
        return [*writer.write(statements), *self._effective(module)]

    def _effects(self, module: Module) -> list[Part]:
        """Return what importing a module does: its statements, and modules imported for what they do."""
        parts = Writer(module, self._follow, self._imported, self._for_effect).write(module.effects)
        for target in module.for_effect:
            parts += self._for_effect(module, target)
        return parts

    def _for_effect(self, importer: Module, target: Imported) -> list[Part]:
        """Return a module that is imported and never named, whole; a member that nobody names does nothing.

        One whose names are all imported, by a star, is never named either.
        """
        name = target.module if target.name == "*" else target.loaded or f"{target.module}.{target.name}"
        known = self._modules.counts(name, importer) and self._modules.get(name) is not None
        return [Definition(name)] if known else []

    def _effective(self, module: Module) -> list[Part]:
        """Return the effects of a module and of the packages around it, those that have any."""
        places = module.name.split(".")
        around = [self._modules.get(".".join(places[:length])) for length in range(1, len(places) + 1)]
        return [Definition(m.name, EFFECTS) for m in around if m and self._does_something(m)]

    def _does_something(self, module: Module) -> bool:
        return bool(module.effects) or any(self._for_effect(module, target) for target in module.for_effect)

    def _whole(self, module: Module) -> list[Part]:
        """Return all that a module defines, under its names, and what a package hands on."""
        parts: list[Part] = []
        for name in sorted(module.definitions.keys() - {"__all__"}):
            parts += [name, *self._stopped(Definition(module.name, name))]
        for name in sorted(module.imports) if module.is_package else ():
            parts += [name, *self._imported(module, module.imports[name], [])]
        return parts + self._effective(module)

    def _foreign(self, module: Module) -> list[Part]:
        """Return a plugin's module by its bytes, with all that it imports, late imports included."""
        parts: list[Part] = [hashlib.sha256(module.content).hexdigest()]
        for target in module.all_imports:
            if self._modules.counts(target.loaded or target.module, module):
                parts += self._imported(module, imported_whole(target), [])
        return parts

    def _is_model(self, module: Module, name: str) -> bool:
        """Say whether a name is a pydantic model, whose annotations say what it takes."""
        classes = [node for node in module.definitions[name] if isinstance(node, ast.ClassDef)]
        bases = [part for node in classes for base in node.bases for part in self._base(module, base)]
        return any(
            part == "outside pydantic.BaseModel" if isinstance(part, str) else self._is_inherited(part)
            for part in bases
        )

    def _is_inherited(self, base: Definition) -> bool:
        module = self._modules.get(base.module)
        return bool(
            module and module.ours and base.name in module.definitions and self._is_model(module, base.name)
        )

    def _base(self, module: Module, base: ast.expr) -> list[Part]:
        names = ast.unparse(base).split(".")
        return self._follow(module, names[0], names[1:]) or []

    def _follow(self, module: Module, name: str, attributes: list[str]) -> list[Part] | None:
        """Return what a name at a module's level stands for, attributes included; None if it is no such name."""
        defined = self._stopped(Definition(module.name, name)) if name in module.definitions else []
        if name in module.imports:  # both, where an import may fail
            return defined + self._imported(module, module.imports[name], attributes)
        if not defined:
            return None
        return defined + [f".{attribute}" for attribute in attributes]

    def _imported(self, importer: Module, target: Imported, attributes: list[str]) -> list[Part]:
        """Return what an imported name stands for, with attributes asked of it as long as it is a module."""
        if not self._modules.counts(target.module, importer) or not (module := self._modules.get(target.module)):
            dotted = ".".join(filter(None, (target.module, target.name, *attributes)))
            return [f"outside {dotted}"]
        if target.name:
            return self._member(module, target.name, attributes) or [f"outside {target.module}.{target.name}"]
        if attributes and (found := self._member(module, attributes[0], attributes[1:])) is not None:
            return found
        return [Definition(module.name), *(f".{attribute}" for attribute in attributes)]

    def _member(self, module: Module, name: str, attributes: list[str]) -> list[Part] | None:
        """Return what a module's member stands for: a definition, what it imported, or a module below it."""
        itself = module.imports.get(name) == Imported(module.name, name)  # a package that imports from below itself
        if module.ours and not itself and (found := self._follow(module, name, attributes)) is not None:
            return found
        if module.is_package and self._modules.get(f"{module.name}.{name}"):
            return self._imported(module, Imported(f"{module.name}.{name}"), attributes)
        if module.ours:
            return None
        if module.is_package and name in module.imports:
            return self._imported(module, module.imports[name], attributes)
        return [Definition(module.name)]

    def _stopped(self, definition: Definition) -> list[Part]:
        """Return a definition, or what stands for it where it is not followed."""
        return [self._stops.get(definition, definition)]
