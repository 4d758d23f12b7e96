"""The ranking by mean price of removal, as it was, beside the board's, for the same records, and why they differ.

Nothing is run: ``python -m bench.studies.ranking_change results/encodings``. The former arithmetic is here alone.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer

from bench.leaderboard.attacker_tiers import FULL
from bench.leaderboard.boards import Board, board_and_payload, boards_of
from bench.leaderboard.points import USEFUL, Point, RunRow, by_scheme, gather
from bench.leaderboard.ranking import Standing, rank
from bench.leaderboard.runs import Entry, Run, runs_of
from bench.leaderboard.table_text import Table, table_text
from bench.records.store import RecordStore
from cwwm.support.console import DONE, run_app

HEADERS = ["#", "scheme", "bits", "was", "price as it was", "S(1)", "why"]


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


def change_table(board: Board, points: Sequence[Point]) -> Table:
    """Return the present ranking of a board of one payload with the former one and the reason for each line."""
    former = former_ranking([p for p in points if p.payload == board.payloads[0]])
    rows: list[list[object]] = []
    for standing in rank(board):
        was = former[standing.scheme, standing.payload]
        place = [standing.place, standing.scheme, standing.payload, was.place, was.text]
        rows.append([*place, standing.survival or "-", why(standing, was, board)])
    return HEADERS, rows


def why(standing: Standing, was: Former, board: Board) -> str:
    """Return in one line what makes the two figures of a scheme differ."""
    if standing.unranked:
        return f"not ranked: {standing.unranked}"
    lost = len(standing.runs) - len(standing.embedded)
    points = sorted(price.points for price in was.prices)
    never = f"{lost} of {len(standing.runs)} runs were never embedded, and counted as removed for nothing"
    mixed = f"the price was a mean of {points[0]:.1f} to {points[-1]:.1f} points"
    reasons = [
        never if lost else "",
        mixed if points[0] <= 1 < points[-1] else "",
        _dearer(standing.embedded, board),
        "its place is shared: S(1) is not told apart" if standing.place.endswith("=") else "",
    ]
    return "; ".join(filter(None, reasons)) or "told apart by both"


def _dearer(runs: Sequence[Run], board: Board) -> str:
    rows = [row for run in runs if (row := run.removal(board.all_tiers)) is not None]
    full = sum(row.tier == FULL for row in rows)
    return f"the cheapest removal of {full} runs takes tier 3, which the headline leaves out" if full else ""


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(folder: Annotated[Path, typer.Argument(help="Folder of records.")]) -> int:
    """Print both rankings of a folder's records, a table a board and payload."""
    points = gather(RecordStore(folder).records())
    for board in board_and_payload(boards_of(runs_of(points))):
        print(f"Board {board.name}, {board.payloads[0]} bits\n\n{table_text(change_table(board, points))}\n")
    return DONE


if __name__ == "__main__":
    sys.exit(run_app(app, "bench.studies.ranking_change"))
