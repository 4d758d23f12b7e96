"""The tables of a board: its ranking, what removes each scheme at what loss, and which attacks were tried."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.leaderboard.attacker_tiers import FREE, TIERS
from bench.leaderboard.board_figures import HEADLINE_LOSS
from bench.leaderboard.boards import Board
from bench.leaderboard.bootstrap import Estimate
from bench.leaderboard.older_costs import ABOUT_DERIVED
from bench.leaderboard.points import Point, RunRow
from bench.leaderboard.ranking import Standing, median_loss
from bench.leaderboard.runs import Run, embedded
from bench.leaderboard.table_text import Table, number_text
from cwwm.ownership.evidence import PROOF_RATE

FALLS = "falls to free moves"

ABOUT_RANKING = (
    "A run is one scheme, payload, model and seed. Its removal loss is the test accuracy in points, with sign, "
    "that the cheapest attack cost after which the message does not come back; which is the cheapest is chosen "
    "on validation. S(x) is the share of embedded runs whose removal loss is above x, by the attackers' tiers: "
    "0 free, 1 without data and compute, 2 a tenth of both at most, 3 more. Without a tier S is of the lowest "
    f"to tier 2. Proof S(1): the same, with what leaves no proof at {PROOF_RATE:g} in place of what loses the "
    "message. Rank: by S(1), then S(3), S(1) with tier 3, and answers kept; a place with = is shared, since "
    "S(1) is not told apart. Intervals: 95 %, from 2,000 draws of hosts and then seeds; that of a share is at "
    "least as wide as Wilson's for as many independent runs."
)
ABOUT_TEST = (
    "No validation accuracy was recorded: the cheapest removal was chosen on the test images that its loss is "
    "told on, so losses are a little too low."
)
ABOUT_MEDIANS = (
    'Median over the seeds of a model, test accuracy in points. "> x": just half of its runs are removed, at x '
    'at most; "none": fewer than half are.'
)
ABOUT_BY_ATTACK = (
    f"Runs that keep their message, of those that met the attack, if the attacker may lose {HEADLINE_LOSS:g} "
    "point and has this attack alone. Before each attack stands its tier. An attack that puts the model to a "
    "new task has no loss: runs that keep their message at all of its strengths are counted, and it is in no "
    "S(x)."
)
ABOUT_TRIED = (
    "Attacks by tier, and which schemes lack some of them, for lack of records or since they cannot apply."
)


@dataclass(frozen=True)
class Column:
    """An attack at a tier: what the columns of the tables by attack are."""

    tier: int
    attack: str

    @property
    def title(self) -> str:
        """Return what stands above it."""
        return f"{self.tier}: {self.attack}"


def notes(points: Iterable[Point]) -> str:
    """Return what must be said of the rows behind a ranking: what was derived, and what was chosen on test."""
    rows = [row for point in points for row in point.runs]
    derived = any(row.row.cost.compute_fraction is None or row.row.cost.free is None for row in rows)
    on_test = any(row.lost is not None and row.record.validation_lost(row.row) is None for row in rows)
    said = [text for text, holds in ((ABOUT_DERIVED, derived), (ABOUT_TEST, on_test)) if holds]
    return " ".join(said)


def ranking_table(board: Board, standings: Sequence[Standing]) -> Table:
    """Return the ranking of a board, one line a scheme and payload."""
    blind = board.first > FREE
    headers = [
        "#", "scheme", "bits", "rank, 95 %", "S(1)", "S(3)", "S(1), tier 3", "proof S(1)", "not embedded",
        "cheapest removal", *([FALLS] if blind else []), "answers kept", "accuracy change", "energy",
        "depth energy", "hosts x seeds",
    ]  # fmt: skip
    rows: list[list[object]] = [
        [
            s.place, s.scheme, s.payload, _rank_text(s), s.survival or "-", s.more or "-", s.full or "-",
            s.proof or "-", f"{len(s.runs) - len(s.embedded)}/{len(s.runs)}", _removal_text(s),
            *([_falls(s)] if blind else []), _percent(s.answers), _signed(s.change),
            number_text(s.energy, ".1e"), number_text(s.depth_energy, ".1e"), s.hosts_and_seeds,
        ]
        for s in standings
    ]  # fmt: skip
    return headers, rows


def _rank_text(standing: Standing) -> str:
    if standing.rank is None:
        return f"not ranked: {standing.unranked}"
    low, high = standing.rank
    return f"{low} to {high}"


def _removal_text(standing: Standing) -> str:
    if standing.removal is not None:
        return str(standing.removal)
    return "none" if standing.embedded else "-"


def _falls(standing: Standing) -> str:
    rows = standing.free_rows
    return f"{sum(row.removed for row in rows)}/{len(rows)}" if rows else "-"


def _percent(answers: Estimate | None) -> str:
    return "-" if answers is None else f"{100 * answers.value:.1f} %"


def _signed(change: Estimate | None) -> str:
    return "-" if change is None else f"{change.value:+.2f} [{change.low:+.2f}, {change.high:+.2f}]"


def median_table(board: Board, standings: Sequence[Standing]) -> Table:
    """Return the median removal loss of each scheme on each model, at the headline's tiers and with tier 3."""
    places = median_columns(board)
    rows: list[list[object]] = [
        [s.scheme, s.payload, *(median_text([r for r in s.runs if r.model == m], tiers) for _, m, tiers in places)]
        for s in standings
    ]
    return ["scheme", "bits", *(title for title, _, _ in places)], rows


def median_columns(board: Board) -> list[tuple[str, str, range]]:
    """Return (title, model, tiers) of each column of medians."""
    kinds = (("to tier 2", board.headline), ("to tier 3", board.all_tiers))
    models = sorted({run.model for run in board.runs})
    return [(f"{model}, {what}", model, tiers) for model in models for what, tiers in kinds]


def median_text(runs: Sequence[Run], tiers: Sequence[int]) -> str:
    """Return the median removal loss of runs in words."""
    found = median_loss(runs, tiers)
    if found is None:
        return "-"
    loss, above = found
    if loss == float("inf"):
        return "none"
    return f"{'> ' if above else ''}{loss:.1f}"


def columns_of(runs: Iterable[Run]) -> list[Column]:
    """Return what runs met, by tier and attack; an attack that takes more at some strength has several columns."""
    found = {(row.tier, row.attack) for run in runs for row in run.rows}
    return [Column(*place) for place in sorted(found)]


def met(runs: Sequence[Run], column: Column) -> list[list[RunRow]]:
    """Return the rows of each embedded run that met an attack at a tier."""
    place = (column.tier, column.attack)
    return list(filter(None, ([r for r in run.rows if (r.tier, r.attack) == place] for run in embedded(runs))))


def keeps(rows: Iterable[RunRow]) -> bool:
    """Say whether a run keeps its message under these rows, as far as they cost at most one point."""
    return not any(row.removed and (row.lost is None or row.lost <= HEADLINE_LOSS) for row in rows)


def by_attack_table(board: Board, standings: Sequence[Standing]) -> Table:
    """Return how many runs of each scheme keep their message under each attack alone."""
    columns = columns_of(board.runs)
    rows: list[list[object]] = [
        [s.scheme, s.payload, *(by_attack_text(s.runs, column) for column in columns)] for s in standings
    ]
    return ["scheme", "bits", *(column.title for column in columns)], rows


def by_attack_text(runs: Sequence[Run], column: Column) -> str:
    """Return how many runs keep their message, of how many that met the attack."""
    found = met(runs, column)
    return f"{sum(map(keeps, found))}/{len(found)}" if found else "-"


def tried_table(runs: Sequence[Run]) -> Table:
    """Return the attacks of each tier with the schemes that lack some."""
    columns = columns_of(runs)
    rows: list[list[object]] = []
    for tier in TIERS:
        own = [column.attack for column in columns if column.tier == tier]
        count = sum(row.tier == tier for run in runs for row in run.rows)
        rows.append([tier, ", ".join(own) or "none", count, _lacking(runs, set(own)) or "none"])
    return ["tier", "attacks", "rows", "schemes that lack some"], rows


def _lacking(runs: Sequence[Run], asked: set[str]) -> str:
    """Return the schemes that met some of these attacks at no tier, with which."""
    met_by: dict[str, set[str]] = {}
    for run in runs:
        met_by.setdefault(run.scheme, set()).update(row.attack for row in run.rows)
    lacking = {scheme: sorted(asked - attacks) for scheme, attacks in sorted(met_by.items()) if asked - attacks}
    return "; ".join(f"{scheme} ({', '.join(attacks)})" for scheme, attacks in lacking.items())


def about_board(board: Board) -> str:
    """Return the heading of a board's tables."""
    return f"Board {board.name}: {board.about}"
