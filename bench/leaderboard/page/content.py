"""What the page shows, as tidy tables with the cells of leaderboard.md and .csv; the browser only shows them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.leaderboard.boards import Board, board_and_payload, boards_of, fullest
from bench.leaderboard.capacity import ABOUT_CAPACITY, capacity_tables, several_payloads
from bench.leaderboard.csv_table import CSV_COLUMNS, csv_row
from bench.leaderboard.page.board_content import board_content
from bench.leaderboard.page.places import Places
from bench.leaderboard.page.sections import sections
from bench.leaderboard.pareto import frontiers
from bench.leaderboard.points import ALL_MODELS, USEFUL, Point, exact_text, pooled
from bench.leaderboard.ranking import rank
from bench.leaderboard.runs import runs_of
from bench.records.record import Record
from bench.records.store import Levels

Columns = dict[str, list[Any]]


def content(records: Sequence[Record], points: Sequence[Point], levels: Levels) -> dict[str, Any]:
    """Return all tables of the page, by name."""
    places, boards = Places(records), boards_of(runs_of(points))
    together = pooled(points) if len({point.model for point in points}) > 1 else []
    shown = board_content(boards, places)
    return {
        "names": _names(points, boards),
        "points": _points([*together, *points], places),
        **{name: columns(shown[name]) for name in ("standings", "survival", "heat")},
        "boards": shown["boards"],
        "capacity": {model: _capacity(own) for model, own in by_model(points).items()},
        "sections": sections(records, points, levels, places),
        "about": {**shown["about"], "capacity": ABOUT_CAPACITY},
        "not_run": [number for number, record in enumerate(records) if record.status != "ok"],
    }


def by_model(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Return the points of each model, and those of all first if there are several."""
    models = sorted({point.model for point in points})
    every = {ALL_MODELS: list(points)} if len(models) > 1 else {}
    return every | {model: [point for point in points if point.model == model] for model in models}


def columns(rows: Iterable[Mapping[str, Any]]) -> Columns:
    """Return rows as columns, which compress better."""
    found: Columns = {}
    for row in rows:
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    return found


def _names(points: Sequence[Point], boards: Sequence[Board]) -> dict[str, list[Any]]:
    """Return what can be chosen: schemes best ranked first at the payload at which most attacks were met."""
    first = fullest(boards)
    shown = {board.payloads[0]: None for board in first}
    schemes = [s.scheme for board in [*first, *board_and_payload(boards)] for s in rank(board)]
    payloads = sorted({point.payload for point in points})
    return {
        "models": list(by_model(points)),
        "payloads": sorted(payloads, key=lambda bits: bits != next(iter(shown))),
        "schemes": list(dict.fromkeys(schemes)),
        "attacks": sorted({point.attack for point in points}),
    }


def _points(points: Sequence[Point], places: Places) -> Columns:
    """Return the lines of the CSV, with what curves need besides."""
    models = sorted({point.model for point in points})
    cheapest = {id(p) for model in models for p in frontiers([p for p in points if p.model == model])}
    return columns(
        dict(zip(CSV_COLUMNS, map(str, csv_row(point)), strict=True))
        | {
            "payload": point.payload,
            "strength": point.strength,
            "recovered": exact_text(point),
            "useful": point.useful(USEFUL),
            "frontier": id(point) in cheapest,
            "bit_error_range": _range(run.row.bit_error for run in point.runs),
            "log10_p_range": _range(run.row.log10_p for run in point.runs),
            "runs": places.of(point.runs),
        }
        for point in points
    )


def _range(values: Iterable[float | None]) -> list[float] | None:
    known = [value for value in values if value is not None]
    return [round(min(known), 4), round(max(known), 4)] if known else None


def _capacity(points: Sequence[Point]) -> dict[str, Any]:
    return capacity_tables(points) if several_payloads(points) else {}
