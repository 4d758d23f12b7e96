"""Tiers that stop: which cells of a run need not be run, since an earlier attack has decided it.

A run is a model with one mark and one seed, read in one way. An attacker who removes the message for no accuracy
on validation needs no more means: removals are chosen by that, so attacks of higher tiers can change no removal
loss above zero there. The same holds for a mark that was never embedded, which is in no figure of robustness.

Tiers below the last are run whole, for they cost little and tell what each attack does. In the last tier, whose
attacks train as long as the host did, each one stops those after it: a suite puts the likeliest to remove first.
The rule looks at records of the same run that come before, and at nothing else.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.metrics.tiers import Tier, holds_a_move, tier
from bench.records.record import Record
from bench.records.schema import Row, TrainedResult
from bench.suite.cell import Cell
from cwwm.readers import find_reader

_LAST: Tier = 3


class Records(Protocol):
    """Where records are."""

    def read(self, identity: str) -> Record | None:
        """Return the record of a cell, or None if it has none."""


@dataclass(frozen=True)
class Stopping:
    """Says of a cell why it is not needed.

    Attributes:
        record_store: with the records of earlier attacks, as far as they were run.
        runs: the cells of each mark, by its identity and reader, in the order in which they are run.
    """

    record_store: Records
    runs: Mapping[tuple[str, str], Sequence[Cell]]

    @classmethod
    def of(cls, cells: Iterable[Cell], record_store: Records) -> "Stopping":
        """Return the rule for the cells of a suite."""
        runs: dict[tuple[str, str], list[Cell]] = {}
        for cell in cells:
            runs.setdefault(_run(cell), []).append(cell)
        return cls(record_store, runs)

    def reason(self, cell: Cell) -> str | None:
        """Return which cell, of a lower tier or before it in the last, decided a cell's run; None if none has."""
        own, run = cell.attack.attack.declared_tier, self.runs[_run(cell)]
        tiers = [(c, c.attack.attack.declared_tier) for c in run]
        lower = [c for c, its in tiers if its < own]
        beside = [c for c, its in tiers[: run.index(cell)] if its == own == _LAST]
        found = (self.record_store.read(c.identity) for c in (*lower, *beside))
        records = (record for record in found if record is not None)
        return next(decisions(records, own, cell.mark.scheme.reader), None)


def _run(cell: Cell) -> tuple[str, str]:
    return cell.mark.identity, cell.mark.scheme.reader


def deciding(tier: Tier) -> int:
    """Return the highest tier whose attacks decide whether one of `tier` is needed: the one below, or the last."""
    return tier if tier == _LAST else tier - 1


def decisions(earlier: Iterable[Record], own: Tier, reader: str) -> Iterator[str]:
    """Yield what decides a run before an attack of tier `own`, in words, in the order of the records.

    A mark that is read from the suspect alone falls to every renumbering of channels, which says nothing of its
    code: there tier 0 decides nothing, and no attack that holds such a move among others.

    Args:
        earlier: records of the run whose attacks declare at most the tier that is `deciding`.
        own: tier of the cell in question. reader: by which the run is read.
    """
    helped = find_reader(reader).helped
    for record in earlier:
        if not isinstance(record, TrainedResult):
            continue
        name = record.key.attack
        if not record.marked.recovered:
            yield f"the message was never embedded, as the cell of attack '{name}' found"
        for row in record.rows if helped or not holds_a_move(record.recipe.attack) else ():
            counts = (0 if helped else 1) <= (its := tier(row.cost)) <= deciding(own)
            if counts and _is_removed_for_nothing(record, row):
                yield f"attack '{name}' at {row.strength:g}, of tier {its}, removed the message for no accuracy"


def _is_removed_for_nothing(record: TrainedResult, row: Row) -> bool:
    """Say whether the message is gone, and the model still answers its validation images as well as before."""
    before, after = record.marked.validation, row.validation
    if row.recovered or row.task != record.key.data or before is None or after is None:
        return False
    return after.total == before.total and after.correct >= before.correct
