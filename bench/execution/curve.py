"""The rows of a cell: an attack over its strengths, and what is found of each attacked model."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from bench.attacks import AttackContext, Attacked
from bench.suite.cell import Cell
from cwwm.schemes import Scheme

Advance = Callable[[int], None]


def curve_rows(
    cell: Cell,
    models: Sequence[nn.Module],
    scheme: Scheme,
    context: AttackContext,
    measured: Callable[[Attacked], dict[str, Any]],
    advance: Advance,
) -> list[dict[str, Any]]:
    """Return a row for each strength, as JSON values.

    Args:
        cell: whose attack is run.
        models: the marked one, and other customers' copies for attackers who collude.
        scheme: of the mark, whose law says what is to be expected.
        context: what the attacker has.
        measured: what is found of an attacked model beside strength, achieved and law.
        advance: told after each strength how many rows are done.
    """
    attack, rows = cell.attack.attack, list[dict[str, Any]]()
    for item in attack.curve(models, cell.attack.strengths, context):
        channel = attack.predicted(item.strength)
        law = scheme.survival(*channel) if channel else None
        rows.append({"strength": item.strength, "achieved": dict(item.achieved), "law": law, **measured(item)})
        advance(len(rows))
    return rows
