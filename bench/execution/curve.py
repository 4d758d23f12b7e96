"""The rows of a cell: an attack over its strengths, and what is found of each attacked model."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch import nn

from bench.attacks import AttackContext, Attacked
from bench.execution.unmarked_models import UnmarkedModels
from bench.suite.cell import Cell

Advance = Callable[[int], None]
#: (channel, strength) -> probability that the message is recovered, None where no law is known
Law = Callable[[str, float], float | None]
_MOST_KEPT = 2 << 30  # bytes of attacked models that wait to be read in another way


def curve_rows(
    cell: Cell,
    attacked: Iterable[Attacked],
    law: Law,
    measured: Callable[[Attacked], dict[str, Any]],
    advance: Advance,
) -> list[dict[str, Any]]:
    """Return a row for each strength, as JSON values.

    Args:
        cell: whose attack is run.
        attacked: what the attack made at each strength.
        law: what is to be expected by (channel, strength); see `Attack.predicted`.
        measured: what is found of an attacked model beside strength, achieved and law.
        advance: told after each strength how many rows are done.
    """
    attack, rows = cell.attack.attack, list[dict[str, Any]]()
    for item in attacked:
        channel = attack.predicted(item.strength)
        expected = law(*channel) if channel else None
        rows.append({"strength": item.strength, "achieved": dict(item.achieved), "law": expected, **measured(item)})
        advance(len(rows))
    return rows


def attacked_models(
    cell: Cell, models: Sequence[nn.Module], context: AttackContext, factory: UnmarkedModels
) -> Iterable[Attacked]:
    """Return the attacked models of a cell: made one by one, or kept for the cells that read them in other ways.

    Args:
        cell: whose attack is run.
        models: the marked one, and other customers' copies for attackers who collude.
        context: what the attacker has.
        factory: keeps them.
    """

    def made() -> Iterator[Attacked]:
        return cell.attack.attack.curve(models, cell.attack.strengths, context)

    size = sum(tensor.numel() * tensor.element_size() for tensor in models[0].state_dict().values())
    if cell.readings == 1 or size * len(cell.attack.strengths) > _MOST_KEPT:
        return made()
    return factory.keep("attacked", cell.attacked, lambda: [item.kept() for item in made()])
