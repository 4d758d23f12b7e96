"""The rows of a cell: an attack over its strengths, and what is found of each attacked model."""

from collections.abc import Callable, Iterable
from typing import Any

from bench.attacks import Attacked
from bench.suite.cell import Cell
from cwwm.schemes import Scheme

Advance = Callable[[int], None]


def curve_rows(
    cell: Cell,
    attacked: Iterable[Attacked],
    scheme: Scheme,
    measured: Callable[[Attacked], dict[str, Any]],
    advance: Advance,
) -> list[dict[str, Any]]:
    """Return a row for each strength, as JSON values.

    Args:
        cell: whose attack is run.
        attacked: what the attack made at each strength.
        scheme: of the mark, whose law says what is to be expected.
        measured: what is found of an attacked model beside strength, achieved and law.
        advance: told after each strength how many rows are done.
    """
    attack, rows = cell.attack.attack, list[dict[str, Any]]()
    for item in attacked:
        channel = attack.predicted(item.strength)
        law = scheme.survival(*channel) if channel else None
        rows.append({"strength": item.strength, "achieved": dict(item.achieved), "law": law, **measured(item)})
        advance(len(rows))
    return rows
