"""All figures of a board at once: losses as a matrix of entries and hosts, and draws that say how sure they are."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.leaderboard.boards import Board
from bench.leaderboard.bootstrap import Estimate, Floats, estimate, mean_of, redraw, share_above, share_estimate
from bench.leaderboard.runs import Run, not_provable
from bench.leaderboard.survival import Matrix

HEADLINE_LOSS, MORE_LOSS = 1.0, 3.0  # points of accuracy that an attacker accepts to lose
_DIGITS = 9  # to which shares are the same


@dataclass(frozen=True)
class Figures:
    """What a board of one payload comes to; entries in the order of its matrix."""

    board: Board

    @cached_property
    def matrix(self) -> Matrix:
        """Return entries, hosts and runs."""
        return Matrix.of(self.board.runs)

    @cached_property
    def counts(self) -> Floats:
        """Return the draws of hosts and seeds, (draws, places)."""
        return redraw(self.matrix.places)

    @cached_property
    def losses(self) -> Floats:
        """Return removal losses at the headline's tiers, (entries, places)."""
        return self.matrix.losses(self.board.headline)

    @cached_property
    def full_losses(self) -> Floats:
        """Return the same at all tiers."""
        return self.matrix.losses(self.board.all_tiers)

    @cached_property
    def proof_losses(self) -> Floats:
        """Return the losses after which the mark can no longer be proven, at the headline's tiers."""
        return self.matrix.losses(self.board.headline, not_provable)

    def of_marks(self, value: Callable[[Run], float | None]) -> Floats:
        """Return a value of each embedded run, (entries, places), NaN where there is none."""
        found = np.full(self.losses.shape, np.nan)
        for row, entry in enumerate(self.matrix.entries):
            for column, place in enumerate(self.matrix.places):
                run = self.matrix.runs.get((entry, place))
                if run is not None and run.embedded and (known := value(run)) is not None:
                    found[row, column] = known
        return found

    def survival(self, losses: Floats, points: float = HEADLINE_LOSS) -> list[Estimate | None]:
        """Return S(points) of each entry with its interval."""
        return [share_estimate(own, points, self.counts) for own in losses]

    def means(self, values: Floats) -> list[Estimate | None]:
        """Return the mean of each entry with its interval."""
        draws = mean_of(values, self.counts)
        return [estimate(float(value), own) for value, own in zip(mean_of(values), draws.T, strict=True)]

    def ranked_by(self, counts: Floats | None = None) -> Floats:
        """Return what ranks, first things first, best largest: (4, entries), or (4, draws, entries) with counts."""
        parts = [
            share_above(self.losses, HEADLINE_LOSS, counts),
            share_above(self.losses, MORE_LOSS, counts),
            share_above(self.full_losses, HEADLINE_LOSS, counts),
            mean_of(self.of_marks(answers_kept), counts),
        ]
        ranked: Floats = np.nan_to_num(np.round(np.stack(parts), _DIGITS), nan=-1.0)
        return ranked


def answers_kept(run: Run) -> float | None:
    """Return the share of answers of a marked model that are those of its control."""
    answers = run.record.marked.answers
    return None if answers is None else answers.share


def accuracy_change(run: Run) -> float:
    """Return the test accuracy of a marked model less that of its control, points."""
    return run.record.marked.accuracy.percent - run.record.host.accuracy.percent
