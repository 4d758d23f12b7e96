"""The ranking of a board: by the share of runs that keep their message when the attacker may lose one point."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from scipy.stats import rankdata

from bench.leaderboard.attacker_tiers import FREE, FULL
from bench.leaderboard.board_figures import MORE_LOSS, Figures, accuracy_change, answers_kept
from bench.leaderboard.boards import Board
from bench.leaderboard.bootstrap import Estimate, Floats, estimate
from bench.leaderboard.points import RunRow, mean_known
from bench.leaderboard.runs import Run, embedded
from bench.leaderboard.survival import removal_loss

_INTERVAL = (2.5, 97.5)  # percent


@dataclass(frozen=True)
class Removal:
    """The attack that removes most runs of an entry at the least loss.

    Attributes:
        attack, strength: of it.
        loss: median test accuracy that it cost there, points.
        runs: those rows, one a run. of: how many runs were embedded.
    """

    attack: str
    strength: float
    loss: float
    runs: tuple[RunRow, ...]
    of: int

    def __str__(self) -> str:
        return f"{self.attack} {self.strength:g}: {self.loss:.1f} ({len(self.runs)} of {self.of} runs)"


@dataclass(frozen=True)
class Standing:
    """One line of a ranking: a scheme at a payload, over all hosts.

    Attributes:
        place: as shown; ``2=`` where the difference to the first of its group is not resolved; ``-`` if unranked.
        rank: its 95 % interval over draws of hosts and seeds; None if unranked.
        unranked: why there is no rank; else empty.
        runs: all of the entry.
        survival, more: S(1) and S(3) at the headline's tiers. full: S(1) with tier 3, None where nothing of it was
            tried. proof: S(1) of the proof in place of the message.
        answers: share that are the control's; change: accuracy of the marked model less the control's, points.
        energy, depth_energy: means.
        removal: the commonest cheapest one at all tiers; None if nothing removes any run.
    """

    scheme: str
    payload: int
    place: str
    rank: tuple[int, int] | None
    unranked: str
    runs: tuple[Run, ...]
    survival: Estimate | None
    more: Estimate | None
    full: Estimate | None
    proof: Estimate | None
    answers: Estimate | None
    change: Estimate | None
    energy: float | None
    depth_energy: float | None
    removal: Removal | None

    @property
    def embedded(self) -> list[Run]:
        """Return the runs that robustness is told of."""
        return embedded(self.runs)

    @property
    def hosts_and_seeds(self) -> str:
        """Return models times seeds of its runs, in words."""
        return f"{len({run.model for run in self.runs})} x {len({run.seed for run in self.runs})}"

    @property
    def free_rows(self) -> list[RunRow]:
        """Return the rows of free attacks on embedded runs."""
        return [row for run in self.embedded for row in run.rows if row.tier == FREE]


@dataclass(frozen=True)
class _Rank:
    place: str
    interval: tuple[int, int] | None
    unranked: str


def rank(board: Board) -> list[Standing]:
    """Return the standings of a board of one payload, best first; entries without a rank come last.

    By S(1) at the headline's tiers, then S(3), then S(1) with tier 3, then answers kept. Entries whose S(1) is not
    told apart from that of the first of their group, by draws of the same hosts, share a place.
    """
    figures = Figures(board)
    values = figures.ranked_by()
    why = [_unranked(board, figures, number) for number in range(len(figures.matrix.entries))]
    order = sorted(
        range(len(why)), key=lambda n: (bool(why[n]), *(-values[:, n]).tolist(), *figures.matrix.entries[n])
    )
    ranks = _ranks(figures, order, why)
    columns = (
        figures.survival(figures.losses),
        figures.survival(figures.losses, MORE_LOSS),
        figures.survival(figures.full_losses),
        figures.survival(figures.proof_losses),
        figures.means(figures.of_marks(answers_kept)),
        figures.means(figures.of_marks(accuracy_change)),
    )
    return [_standing(board, figures, n, ranks[n], [column[n] for column in columns]) for n in order]


def _unranked(board: Board, figures: Figures, number: int) -> str:
    """Return why an entry cannot be ranked, or nothing."""
    entry, places = figures.matrix.entries[number], figures.matrix.places
    if not any(run.embedded for run in board.runs if run.entry == entry):
        return "no run embedded"
    known = [places[column] for column in np.flatnonzero(~np.isnan(figures.losses[number]))]
    if not known:
        return f"nothing tried at tiers {board.first} to 2"
    if len({model for model, _ in known}) < 2:
        return "one host"
    return "one seed" if len({seed for _, seed in known}) < 2 else ""


def _ranks(figures: Figures, order: Sequence[int], why: Sequence[str]) -> dict[int, _Rank]:
    """Return the rank of each entry; `order` has the ranked ones first."""
    ranked = [number for number in order if not why[number]]
    found = {number: _Rank("-", None, reason) for number, reason in enumerate(why) if reason}
    if ranked:
        drawn = figures.ranked_by(figures.counts)[:, :, ranked]
        places, intervals = _places(drawn[0]), _rank_intervals(drawn)
        found |= {n: _Rank(places[i], intervals[i], "") for i, n in enumerate(ranked)}
    return found


def _places(drawn: Floats) -> list[str]:
    """Return the places as shown.

    Args:
        drawn: S(1), (draws, entries), the best first.
    """
    groups = [[0]]
    for number in range(1, drawn.shape[1]):
        if _told_apart(drawn[:, groups[-1][0]] - drawn[:, number]):
            groups.append([])
        groups[-1].append(number)
    return [f"{group[0] + 1}{'=' if len(group) > 1 else ''}" for group in groups for _ in group]


def _told_apart(differences: Floats) -> bool:
    found = estimate(0.0, differences)
    return found is not None and not found.low <= 0.0 <= found.high


def _rank_intervals(drawn: Floats) -> list[tuple[int, int]]:
    """Return the 95 % intervals of ranks; equals in a draw have all ranks that they share.

    Args:
        drawn: what ranks, (figures, draws, entries), first things first.
    """
    code = np.zeros(drawn.shape[1:], np.int64)
    for figure in drawn:
        values, dense = np.unique(figure, return_inverse=True)
        _, code = np.unique(code * len(values) + dense.reshape(code.shape), return_inverse=True)
        code = code.reshape(figure.shape)
    best, worst = rankdata(-code, method="min", axis=1), rankdata(-code, method="max", axis=1)
    low = np.percentile(best, _INTERVAL[0], axis=0, method="lower")
    high = np.percentile(worst, _INTERVAL[1], axis=0, method="higher")
    return [(int(a), int(b)) for a, b in zip(low, high, strict=True)]


def _standing(
    board: Board, figures: Figures, number: int, place: _Rank, columns: Sequence[Estimate | None]
) -> Standing:
    entry = figures.matrix.entries[number]
    runs = tuple(run for run in board.runs if run.entry == entry)
    marks = [run.record.marked for run in embedded(runs) or runs]
    has_full = any(row.tier == FULL for run in runs for row in run.priced(board.all_tiers))
    survival, more, full, proof, answers, change = columns
    return Standing(
        *entry, place.place, place.interval, place.unranked, runs,
        survival, more, full if has_full else None, proof, answers, change,
        mean_known(mark.energy for mark in marks), mean_known(mark.depth_energy for mark in marks),
        _removal(board, runs),
    )  # fmt: skip


def _removal(board: Board, runs: Sequence[Run]) -> Removal | None:
    kept = embedded(runs)
    rows = [row for run in kept if (row := run.removal(board.all_tiers)) is not None]
    if not rows:
        return None
    counted = Counter((row.attack, row.row.strength) for row in rows)
    attack, strength = min(counted, key=lambda key: (-counted[key], key))
    own = tuple(row for row in rows if (row.attack, row.row.strength) == (attack, strength))
    return Removal(attack, strength, median(row.lost or 0.0 for row in own), own, len(kept))


def median_loss(runs: Sequence[Run], tiers: Sequence[int]) -> tuple[float, bool] | None:
    """Return the median removal loss of embedded runs, points, and whether it is only known to be above.

    None without a run to count; infinite and above where most runs are removed by nothing.
    """
    losses = [removal_loss(run, tiers) for run in runs]
    found = sorted(loss for loss in losses if not np.isnan(loss))
    if not found:
        return None
    low, high = found[(len(found) - 1) // 2], found[len(found) // 2]
    return ((low + high) / 2, False) if np.isfinite(high) else (low, True)
