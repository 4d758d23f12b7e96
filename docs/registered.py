"""Hook of mkdocs: the reference describes every scheme and every attack that is registered."""

from collections.abc import Iterable
from typing import Any

_WITHOUT_CONTRACT = "\n    options: {members: false}\n"  # the contract describes what all of them have


def on_page_markdown(markdown: str, **_: Any) -> str:  # noqa: ANN401 (what mkdocs gives besides)
    """Put a heading with the name that suites use, and the class, for each scheme and attack."""
    if "<!-- every scheme -->" in markdown:
        from cwwm.schemes import SCHEMES, Scheme

        return markdown.replace("<!-- every scheme -->", _described(SCHEMES.values(), Scheme))
    if "<!-- every attack -->" in markdown:
        from bench.attacks import ATTACKS, Attack

        return markdown.replace("<!-- every attack -->", _described(ATTACKS.values(), Attack))
    return markdown


def _described(classes: Iterable[type[Any]], contract: type[Any]) -> str:
    """Return a directive of mkdocstrings for each class, by name, then for what several of them derive from."""
    known = sorted(set(classes), key=lambda one: str(one.name))
    above = {base for one in known for base in one.__mro__ if issubclass(base, contract)} - {contract, *known}
    shared = sorted((one for one in above if not one.__name__.startswith("_")), key=lambda one: one.__name__)
    parts = [f"### `{one.name}`\n\n{_directive(one)}" for one in known]
    return "\n".join([*parts, "\n## What several share\n", *map(_directive, shared)])


def _directive(described: type[Any]) -> str:
    return f"::: {described.__module__}.{described.__qualname__}{_WITHOUT_CONTRACT}"
