"""Which source a result depends on: a digest of the definitions that its own definitions name, and of nothing else.

A definition is a function, a class or what a module assigns to a name. It counts by its syntax tree
(`bench.support.syntax`), in which a name of another definition stands for that one's digest. So comments,
docstrings, annotations, blank lines, the order of definitions and statements that only tell how far the work is
change nothing, nor does it to move or rename a module or a function, to add what nothing names, or to edit another
attack, scheme or table.

- A class counts whole, with its bases. What an argument is, and so which methods are called on it, is not followed:
  whoever makes the object brings its class, or it is a root.
- A statement at a module's level that is no definition counts with every definition of its module, and of those in
  a package below, and so does a module that is imported and never named: it is imported for what it does. One that
  sets an attribute or item of a definition counts with that. What modules do that are only imported does not count.
- Classes and decorated functions keep their names, which a decorator or a message may read.
- Annotations count in pydantic models, and as ``ClassVar`` and the like in a dataclass.
- A registry does not bring what is registered: who takes a scheme or an attack by its name adds it as a root.
- A plugin's modules count whole, by their bytes, with what they import of their own or from beside them.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from bench.support.collection import no_collection
from bench.support.definitions import Definitions
from bench.support.modules import Modules
from bench.support.syntax import TOLD, Definition

#: What is named and not followed, with what stands for it: registries, what has a digest of its own, and what can
#: not change a result: where values are part of the identity themselves, or no result is read from.
STOPS = {
    "cwwm.schemes.known:SCHEMES": "registry of schemes",
    "cwwm.schemes.registry:BUILT_IN": "registry of schemes",
    "cwwm.readers:READERS": "registry of readers",
    "bench.attacks.registry:ATTACKS": "registry of attacks",
    "bench.data.registry:DATASETS": "registry of data sets",
    "bench.support.git:PACKAGE": "folder of the package",
    "bench.suite.sources:host_source": "source of the host",
    "bench.suite.sources:mark_source": "source of the mark",
    "bench.suite.sources:attack_source": "source of the attack",
    "bench.suite.sources:detection_source": "source of the detection",
    "bench.suite.sources:timing_source": "source of the timing",
    "bench.support.numerics:processor_facts": "processor",
    "cwwm.weights.torch_files:load_torch_file": "torch files",
    "cwwm.support.torchvision_shim:install": "torchvision without its extension",
    "bench.metrics.detection:detection": "detection",
    "bench.support.environment:environment": "environment",
    "bench.support.environment:OthersLoad": "load",
    "cwwm.support.timing:Stopwatch": "stopwatch",
    "bench.published.provenance:note_page": "provenance of the page",
    "cwwm.support.progress:tell": TOLD,
}


def root(value: type | object) -> str:
    """Return the name ``module:name`` of the definition that a class or function is, or stands in."""
    return f"{getattr(value, '__module__')}:{getattr(value, '__qualname__').partition('.')[0]}"  # noqa: B009


@cache
def fingerprint(*roots: str) -> str:
    """Return the digest, 32 hex digits, of definitions and of all that they name, directly or not.

    Args:
        roots: ``"module:name"``, or ``"module"`` for the whole of one; see `root`.

    Raises:
        LookupError: for a name that is no definition; its module may be missing.
    """
    return _running().of(roots)


@cache
def _running() -> "Fingerprints":
    return Fingerprints(Modules())


class Fingerprints:
    """The digests of one checkout's definitions, each made once."""

    def __init__(self, modules: Modules, stops: Mapping[str, str] = STOPS) -> None:
        """Read `modules`; `stops` are named and not followed."""
        self._definitions = Definitions(modules, stops)
        self._digests: dict[Definition, bytes] = {}

    def of(self, roots: Iterable[str]) -> str:
        """Return the digest of definitions; see `fingerprint`."""
        with no_collection():
            found = {self._digest(self._definitions.find(name)) for name in roots}
        return hashlib.sha256(b"".join(sorted(found))).hexdigest()[:32]

    def reached(self, roots: Iterable[str]) -> set[str]:
        """Return the definitions that count, as ``module:name``."""
        return set(map(str, self._reached(roots)))

    def texts(self, roots: Iterable[str], within: str | tuple[str, ...] = "") -> set[str]:
        """Return what the definitions that count are made of beside others: constants, and labels of what stops.

        Args:
            roots: as of `reached`. within: only definitions of modules whose names begin so.
        """
        found = [definition for definition in self._reached(roots) if definition.module.startswith(within)]
        parts = (part for definition in found for part in self._definitions.parts(definition))
        return {part for part in parts if isinstance(part, str)}

    def _reached(self, roots: Iterable[str]) -> set[Definition]:
        waiting, found = [self._definitions.find(name) for name in roots], set()
        while waiting:
            if (definition := waiting.pop()) not in found:
                found.add(definition)
                waiting += self._named(definition)
        return found

    def _named(self, definition: Definition) -> list[Definition]:
        return [part for part in self._definitions.parts(definition) if isinstance(part, Definition)]

    def _digest(self, definition: Definition) -> bytes:
        if definition not in self._digests:
            for component in self._components(definition):
                self._digests |= self._of_component(component)
        return self._digests[definition]

    def _of_component(self, component: list[Definition]) -> dict[Definition, bytes]:
        """Return the digests of definitions that name each other.

        Each digest is one of what the others' digests were the round before: after as many rounds as there are
        definitions it covers all of them, whatever they are called and wherever they stand.
        """
        digests = dict.fromkeys(component, b"")
        for _ in component:
            digests = {definition: self._hashed(definition, digests) for definition in component}
        return digests

    def _hashed(self, definition: Definition, around: Mapping[Definition, bytes]) -> bytes:
        digest = hashlib.sha256()
        for part in self._definitions.parts(definition):
            if isinstance(part, str):
                digest.update(part.encode() + b"\0")
            elif part == definition:
                digest.update(b"itself\0")
            else:
                digest.update(b"\1" + (around[part] if part in around else self._digests[part]))
        return digest.digest()

    def _components(self, start: Definition) -> Iterator[list[Definition]]:
        """Yield the definitions that have no digest yet, those that name each other together, named before naming.

        Tarjan, Depth-first search and linear graph algorithms (1972), without recursion.
        """
        order: dict[Definition, int] = {start: 0}
        lowest = {start: 0}
        stack, held = [start], {start}
        path = [(start, iter(self._named(start)))]
        while path:
            here, others = path[-1]
            for other in others:
                if other in self._digests:
                    continue
                if other not in order:
                    order[other] = lowest[other] = len(order)
                    stack.append(other)
                    held.add(other)
                    path.append((other, iter(self._named(other))))
                    break
                if other in held:
                    lowest[here] = min(lowest[here], order[other])
            else:
                path.pop()
                if path:
                    lowest[path[-1][0]] = min(lowest[path[-1][0]], lowest[here])
                if lowest[here] == order[here]:
                    component = stack[stack.index(here) :]
                    del stack[-len(component) :]
                    held.difference_update(component)
                    yield component
