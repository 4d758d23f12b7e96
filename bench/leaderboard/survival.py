"""Survival S(x): the share of embedded runs whose mark outlives all attacks that cost at most x points."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.leaderboard.boards import Board
from bench.leaderboard.bootstrap import Floats, Place, redraw, share_above, share_interval
from bench.leaderboard.runs import Entry, Gone, Run, by_entry, not_recovered

GRID = np.round(np.arange(-1.0, 20.0 + 1e-9, 0.1), 1)  # points at which a curve is told
BAND_FROM = 5  # runs from which on a band is drawn: with fewer it covers most of the panel


@dataclass(frozen=True)
class Matrix:
    """Hosts and entries of a board, as the rows and columns that losses stand in.

    Attributes:
        entries: schemes with payloads, sorted.
        places: models with seeds, sorted.
        runs: by entry and place.
    """

    entries: tuple[Entry, ...]
    places: tuple[Place, ...]
    runs: dict[tuple[Entry, Place], Run]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Matrix":
        """Return the matrix of runs."""
        entries, places = sorted(by_entry(runs)), sorted({run.place for run in runs})
        return cls(tuple(entries), tuple(places), {(run.entry, run.place): run for run in runs})

    def losses(self, tiers: Sequence[int], gone: Gone = not_recovered) -> Floats:
        """Return removal losses, float64 (entries, places), as `removal_loss` says them."""
        return np.array(
            [[removal_loss(self.runs.get((e, p)), tiers, gone) for p in self.places] for e in self.entries], float
        ).reshape(len(self.entries), len(self.places))


def removal_loss(run: Run | None, tiers: Sequence[int], gone: Gone = not_recovered) -> float:
    """Return the points of a run's cheapest removal: infinite if none, NaN if there is nothing to count.

    Nothing counts where there is no run, its mark was not embedded, or no attack of these tiers was tried.
    """
    if run is None or not run.embedded or not run.priced(tiers):
        return np.nan
    found = run.removal(tiers, gone)
    return np.inf if found is None or found.lost is None else found.lost


@dataclass(frozen=True)
class Curve:
    """S(x) of one entry at `GRID`.

    Attributes:
        entry: scheme and payload.
        runs: how many are counted.
        share, low, high: float64, of the grid's length; the band is the 95 % interval.
    """

    entry: Entry
    runs: int
    share: Floats
    low: Floats
    high: Floats

    @property
    def has_band(self) -> bool:
        """Say whether there are enough runs for a band to tell more than that they are few."""
        return self.runs >= BAND_FROM


def curves(board: Board, last: int) -> list[Curve]:
    """Return the curves of all entries of a board of one payload that have a run to count, up to a tier."""
    matrix = Matrix.of(board.runs)
    losses = matrix.losses(range(board.first, last + 1))
    counts = redraw(matrix.places)
    return [
        _curve(entry, own[None, :], counts)
        for entry, own in zip(matrix.entries, losses, strict=True)
        if not np.isnan(own).all()
    ]


def _curve(entry: Entry, losses: Floats, counts: Floats) -> Curve:
    """Return a curve; it is computed at points between which it changes, of which there are few."""
    steps = np.searchsorted(np.sort(losses[~np.isnan(losses)]), GRID, side="right")
    changes, at = np.unique(steps, return_index=True)
    share = np.array([share_above(losses, x)[0] for x in GRID[at]])
    runs = int((~np.isnan(losses)).sum())
    low, high = share_interval(share, np.hstack([share_above(losses, x, counts) for x in GRID[at]]), runs)
    column = np.searchsorted(changes, steps)
    return Curve(entry, runs, share[column], low[column], high[column])
