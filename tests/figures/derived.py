"""All figures of the pages with what records give for them, those among them that nothing derives."""

from collections.abc import Callable
from functools import cache
from importlib import import_module

from tests.figures.definitions import defined
from tests.figures.registry import CLAIMS, Found
from tests.figures.text import PAGES, Statement, statements

_TOPICS = (
    "attackers",
    "compression",
    "costs",
    "encodings",
    "evidence",
    "gpu",
    "informed",
    "laws",
    "limits",
    "nightly",
    "pretrained",
    "readings",
    "smoke",
    "systems",
)
TOPICS = [import_module(f"tests.figures.{name}") for name in _TOPICS]  # each registers its claims


@cache
def claimed() -> tuple[Found, ...]:
    """Return the figures that a claim derives."""
    return tuple(found for one in CLAIMS for found in one.found())


@cache
def underived() -> tuple[Found, ...]:
    """Return the numbers that are neither derived nor no measurement."""
    spans: dict[Statement, list[tuple[int, int]]] = {}
    for one in CLAIMS:
        for statement, span in one.spans():
            spans.setdefault(statement, []).append(span)
    return tuple(
        Found(statement, number, None)
        for page in PAGES
        for statement in statements(page)
        for number in statement.numbers
        if not _within(number, spans.get(statement, [])) and not defined(statement, number)
    )


def _within(number: tuple[int, int], spans: list[tuple[int, int]]) -> bool:
    return any(first <= number[0] and number[1] <= last for first, last in spans)


def figures(keep: Callable[[Found], bool] = lambda _: True) -> list[Found]:
    """Return all figures, by page and place."""
    every = [found for found in (*claimed(), *underived()) if keep(found)]
    return sorted(every, key=lambda found: (found.statement.page, found.statement.text, found.span))
