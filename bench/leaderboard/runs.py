"""Runs: one scheme, payload, model and seed under all attacks; was its mark embedded, and what removes it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from bench.leaderboard.points import Point, RunRow
from bench.metrics.tiers import holds_a_move
from bench.records.schema import TrainedResult

Gone = Callable[[RunRow], bool]
Entry = tuple[str, int]  # label of the scheme, and bits of the payload


def not_recovered(row: RunRow) -> bool:
    """Say whether the message no longer comes back."""
    return row.removed


def not_provable(row: RunRow) -> bool:
    """Say whether the mark can no longer be proven."""
    return row.unprovable


@dataclass(frozen=True, eq=False)
class Run:
    """One mark in one host, and all that was done to it.

    Attributes:
        scheme, payload, model, seed: which one; the scheme by its label, the payload in bits.
        rows: one for each attack and strength, at least one.
    """

    scheme: str
    payload: int
    model: str
    seed: int
    rows: tuple[RunRow, ...]

    @property
    def entry(self) -> Entry:
        """Return the line of the table that it belongs to."""
        return self.scheme, self.payload

    @property
    def place(self) -> tuple[str, int]:
        """Return the host that it is in."""
        return self.model, self.seed

    @property
    def record(self) -> TrainedResult:
        """Return one of its records: all say the same of host and mark."""
        return self.rows[0].record

    @property
    def embedded(self) -> bool:
        """Say whether the message was recovered before any attack."""
        return self.record.marked.recovered

    def without_hidden_moves(self) -> "Run":
        """Return the run without attacks that hold a free move among others: the move alone decides these."""
        kept = [row for row in self.rows if not row.tier or not holds_a_move(row.record.recipe.attack)]
        return replace(self, rows=tuple(kept))

    def priced(self, tiers: Iterable[int]) -> list[RunRow]:
        """Return the rows of these tiers that left the model at its task."""
        within = frozenset(tiers)
        return [row for row in self.rows if row.tier in within and row.lost is not None]

    def removal(self, tiers: Iterable[int], gone: Gone = not_recovered) -> RunRow | None:
        """Return the row of these tiers that removes the mark at the least loss; None if none does.

        It is chosen by the loss on validation, where that was measured; what counts is its `lost`, on test.
        """
        return min(filter(gone, self.priced(tiers)), key=_order, default=None)


def _order(row: RunRow) -> tuple[float, int, str, float]:
    return row.chosen_by or 0.0, row.tier, row.attack, row.row.strength


def runs_of(points: Iterable[Point]) -> list[Run]:
    """Return the runs behind points, sorted by scheme, payload, model and seed."""
    found: dict[tuple[str, int, str, int], list[RunRow]] = {}
    for point in points:
        for row in point.runs:
            found.setdefault((point.scheme, point.payload, point.model, row.seed), []).append(row)
    return [Run(*place, tuple(rows)) for place, rows in sorted(found.items(), key=lambda item: item[0])]


def by_entry(runs: Iterable[Run]) -> dict[Entry, list[Run]]:
    """Return the runs of each scheme and payload."""
    groups: dict[Entry, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.entry, []).append(run)
    return groups


def embedded(runs: Sequence[Run]) -> list[Run]:
    """Return the runs whose mark was embedded: no figure of robustness has others."""
    return [run for run in runs if run.embedded]
