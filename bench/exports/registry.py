"""The one registry of formats: every module of the package is looked through."""

from collections.abc import Iterable

from bench.exports.base import Export
from cwwm.support.discovery import discover
from cwwm.support.errors import unknown_name

EXPORTS: dict[str, type[Export]] = discover("bench.exports", Export)


def exports_named(names: Iterable[str]) -> list[Export]:
    """Return the formats of these names, each once; BadInput for an unknown one, naming the nearest."""
    chosen = list(dict.fromkeys(names))
    for name in chosen:
        if name not in EXPORTS:
            raise unknown_name("format", name, EXPORTS)
    return [EXPORTS[name]() for name in chosen]
