"""The ranking by mean price of removal, as it was, beside the board's, for the same records, and why they differ.

Nothing is run: ``python -m bench.studies.ranking_change results/encodings-pilot -o change.md``. The former
arithmetic is here alone. Both rankings are of the same entries: the former one of all their records, the board's of
those that it counts.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer

from bench.leaderboard.attacker_tiers import FREE, FULL
from bench.leaderboard.board_figures import HEADLINE_LOSS
from bench.leaderboard.boards import Board, board_and_payload, boards_of
from bench.leaderboard.points import USEFUL, Point, RunRow, by_scheme, gather
from bench.leaderboard.ranking import Standing, rank
from bench.leaderboard.runs import Entry, runs_of
from bench.leaderboard.table_text import Table, table_text
from bench.records.store import RecordStore
from bench.studies.output import Output, publish
from cwwm.support.console import DONE, run_program
from cwwm.support.errors import BadInput

HEADERS = ["#", "scheme", "bits", "was", "moved", "price as it was", "S(1)", "why"]
ABOUT = (
    "The same records, ranked twice. *Was*: by the mean over runs of the points that the cheapest removal cost, at "
    "all tiers, at least 0, the dearest attack tried where nothing removed the message (>), among the entries of "
    "this board. *#*: by S(1) up to tier 2, as tables are now. *Moved*: places, a shared place counting as any of "
    "those it stands for."
)
_NAMED = 3  # schemes that a reason names


@dataclass(frozen=True)
class Price:
    """What the cheapest successful attack cost a run, at least 0; `more`: none did, the dearest cost this."""

    points: float
    more: bool


@dataclass(frozen=True)
class Former:
    """A line of the former ranking.

    Attributes:
        place: of its payload, from 1.
        prices: one a run, never embedded ones among them, whatever the attackers' means.
    """

    place: int
    prices: tuple[Price, ...]

    @property
    def text(self) -> str:
        """Return the mean price as tables had it: "more than" if it was so for any run."""
        more = any(price.more for price in self.prices)
        return f"{'> ' if more else ''}{fmean(price.points for price in self.prices):.1f}"


def former_ranking(points: Sequence[Point]) -> dict[Entry, Former]:
    """Return the former places at one payload: by mean price, messages held, worst exact rate, least energy."""
    groups = by_scheme(points)
    prices = {entry: _prices(own) for entry, own in groups.items()}
    ordered = sorted(groups, key=lambda entry: (*_order(groups[entry], prices[entry]), entry))
    return {entry: Former(place, prices[entry]) for place, entry in enumerate(ordered, 1)}


def _prices(points: Iterable[Point]) -> tuple[Price, ...]:
    runs: dict[tuple[str, int], list[tuple[float, RunRow]]] = {}
    for point in points:
        for row in point.runs:
            if row.lost is not None:
                runs.setdefault((point.model, row.seed), []).append((max(0.0, row.lost), row))
    found = [_price(sorted(rows, key=lambda priced: priced[0])) for rows in runs.values()]
    return tuple(found) or (Price(0.0, True),)


def _price(rows: Sequence[tuple[float, RunRow]]) -> Price:
    lost, row = next((priced for priced in rows if priced[1].removed), rows[-1])
    return Price(lost, not row.removed)


def _order(points: Sequence[Point], prices: Sequence[Price]) -> tuple[float, bool, float, float, float]:
    useful = [point for point in points if _mean_lost(point) <= USEFUL]
    rates = [point.exact[0] / point.exact[1] for point in useful]
    held = fmean(not row.removed for point in useful for row in point.runs) if useful else 0.0
    energies = [e for point in points for row in point.runs if (e := row.record.marked.energy) is not None]
    mean = fmean(price.points for price in prices)
    energy = fmean(energies) if energies else 0.0
    return -mean, not any(price.more for price in prices), -held, -min(rates, default=0.0), energy


def _mean_lost(point: Point) -> float:
    losses = [max(0.0, row.lost) for row in point.runs if row.lost is not None]
    return fmean(losses) if losses else 0.0


@dataclass(frozen=True)
class Move:
    """A line of a board beside what it was.

    Attributes:
        standing: the line. was: its former place and prices.
        before: its former place among the entries that have a rank now; 0 without a rank.
        first, last: the places that its place stands for, the same unless it is shared; 0 without a rank.
    """

    standing: Standing
    was: Former
    before: int = 0
    first: int = 0
    last: int = 0

    @property
    def text(self) -> str:
        """Return how many places it moved, in words."""
        if not self.first:
            return "-"
        if self.before > self.last:
            return f"up {self.before - self.last}"
        return f"down {self.first - self.before}" if self.before < self.first else "same"


def moves(board: Board, points: Sequence[Point]) -> list[Move]:
    """Return how each entry of a board of one payload moved, in the order of the board."""
    standings = rank(board)
    entries = {_entry(standing) for standing in standings}
    former = former_ranking([point for point in points if (point.scheme, point.payload) in entries])
    ranked = sorted(former[_entry(one)].place for one in standings if not one.unranked)
    sizes = Counter(standing.place for standing in standings)
    return [_move(standing, former[_entry(standing)], ranked, sizes[standing.place]) for standing in standings]


def _entry(standing: Standing) -> Entry:
    return standing.scheme, standing.payload


def _move(standing: Standing, was: Former, ranked: Sequence[int], sharing: int) -> Move:
    if standing.unranked:
        return Move(standing, was)
    first = int(standing.place.removesuffix("="))
    return Move(standing, was, ranked.index(was.place) + 1, first, first + sharing - 1)


def change_table(board: Board, points: Sequence[Point]) -> Table:
    """Return the present ranking of a board of one payload with the former one and the reason for each line."""
    reached, found = _reached(points), moves(board, points)
    rows: list[list[object]] = []
    for move in found:
        one = move.standing
        place = [one.place, one.scheme, one.payload, move.was.place, move.text, move.was.text]
        reason = "; ".join([*why(move, board, reached[_entry(one)]), *_others(move, found)])
        rows.append([*place, one.survival or "-", reason])
    return HEADERS, rows


def _reached(points: Sequence[Point]) -> Mapping[Entry, list[RunRow]]:
    """Return all rows of each entry, those among them that a board leaves out."""
    return {entry: [row for point in own for row in point.runs] for entry, own in by_scheme(points).items()}


def why(move: Move, board: Board, rows: Sequence[RunRow]) -> list[str]:
    """Return what makes the two figures of a scheme differ, or what both say and the first thing that differs.

    Args:
        move: of the scheme on the board. board: of one payload.
        rows: all rows of the scheme, those that the board leaves out among them.
    """
    if move.standing.unranked:
        return [f"not ranked: {move.standing.unranked}"]
    reasons = list(_reasons(move, board, rows))
    return [_by_both(move), *reasons[:1]] if move.text == "same" else reasons


def _by_both(move: Move) -> str:
    share = move.standing.survival.value if move.standing.survival else 0.0
    said = {1.0: "keeps every message at one point by both", 0.0: "removed for at most one point by both"}
    cheap = max(price.points for price in move.was.prices) <= HEADLINE_LOSS
    return said.get(share, "in this place by both") if share or cheap else "in this place by both"


def _reasons(move: Move, board: Board, rows: Sequence[RunRow]) -> Iterator[str]:
    standing, prices = move.standing, move.was.prices
    lost = len(standing.runs) - len(standing.embedded)
    if lost:
        yield f"{lost} of {len(standing.runs)} runs were never embedded, and counted as removed for nothing"
    points = sorted(price.points for price in prices)
    if points[0] <= HEADLINE_LOSS < points[-1]:
        yield f"the price was a mean of {points[0]:.1f} to {points[-1]:.1f} points"
    censored = sum(price.more for price in prices)
    if censored:
        yield f"of {censored} runs that nothing removed the price was that of the dearest attack tried"
    yield from _left_out(standing, board, rows)
    if standing.place.endswith("="):
        yield "its place is shared: S(1) is not told apart"


def _left_out(standing: Standing, board: Board, rows: Sequence[RunRow]) -> Iterator[str]:
    """Yield which cheap removals the former price counted and the headline does not."""
    if board.first > FREE and (free := _fell(rows, lambda row: row.tier == FREE)):
        yield f"{free} runs fell to free moves, which this board leaves out"
    cheapest = [row for run in standing.embedded if (row := run.removal(board.all_tiers)) is not None]
    full = sum(row.tier == FULL for row in cheapest)
    if full:
        yield f"the cheapest removal of {full} runs takes tier 3, which the headline leaves out"


def _fell(rows: Iterable[RunRow], counted: Callable[[RunRow], bool]) -> int:
    return len({(row.record.key.model, row.seed) for row in rows if row.removed and counted(row)})


def _others(move: Move, every: Sequence[Move]) -> Iterator[str]:
    """Yield whom a scheme that moved passed, and who passed it."""
    ranked = [other for other in every if other.first and move.text not in ("same", "-")]
    passed = [other for other in ranked if other.before < move.before and other.first > move.last]
    by = [other for other in ranked if other.before > move.before and other.last < move.first]
    for what, some in (("passed", passed), ("passed by", by)):
        if some:
            yield f"{what} {_names([_entry(other.standing) for other in some])}"


def _names(entries: Sequence[Entry]) -> str:
    more = len(entries) - _NAMED
    return ", ".join(scheme for scheme, _ in entries[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def page(folder: Path) -> str:
    """Return both rankings of a folder's records, a table a board and payload.

    Raises:
        BadInput: if no trained model's result is there, so that nothing can be ranked.
    """
    points = gather(RecordStore(folder).records())
    if not points:
        raise BadInput(
            f"{folder} holds no results of trained models, so that nothing is ranked; name another folder"
        )
    parts = [f"# The ranking of {RecordStore(folder).suite} by price of removal, and as it is", ABOUT]
    for board in board_and_payload(boards_of(runs_of(points))):
        parts += [f"## Board {board.name}, {board.payloads[0]} bits", table_text(change_table(board, points))]
    return "\n\n".join(parts) + "\n"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(folder: Annotated[Path, typer.Argument(help="Folder of records.")], output: Output) -> int:
    """Write both rankings of a folder's records, with the reason for each line."""
    publish(page(folder), output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.ranking_change")
