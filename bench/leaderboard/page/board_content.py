"""What the page shows of the boards: rankings, survival and the map by attack, each with the rows behind it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from bench.leaderboard.attacker_tiers import LASTS
from bench.leaderboard.boards import Board
from bench.leaderboard.page.places import Places
from bench.leaderboard.points import ALL_MODELS, RunRow
from bench.leaderboard.ranking import Standing, rank
from bench.leaderboard.ranking_tables import (
    ABOUT_BY_ATTACK,
    ABOUT_MEDIANS,
    ABOUT_RANKING,
    ABOUT_TRIED,
    FALLS,
    by_attack_text,
    columns_of,
    median_columns,
    median_table,
    met,
    ranking_table,
    tried_table,
)
from bench.leaderboard.runs import Gone, Run, not_provable, not_recovered
from bench.leaderboard.survival import GRID, Curve, curves
from bench.leaderboard.table_text import Table

Rows = list[dict[str, Any]]


def by_model(board: Board) -> dict[str, Board]:
    """Return a board in all hosts first, and then in each model, where there are several."""
    models = sorted({run.model for run in board.runs})
    every = {ALL_MODELS: board} if len(models) > 1 else {}
    return every | {m: replace(board, runs=tuple(run for run in board.runs if run.model == m)) for m in models}


def board_content(boards: Sequence[Board], places: Places) -> dict[str, Any]:
    """Return the tables of all boards, models and payloads by name, and what they mean."""
    standings: Rows = []
    survival: Rows = []
    heat: Rows = []
    for whole in boards:
        for model, board in ((m, own.at(bits)) for m, own in by_model(whole).items() for bits in own.payloads):
            where = {"board": board.name, "model": model, "bits": board.payloads[0]}
            ranked = rank(board)
            standings += [where | one for one in _standings(board, ranked, places)]
            survival += [where | one for one in _curves(board, ranked, places)]
            heat += [where | one for one in _heat(board, ranked, places)]
    about = {"ranking": ABOUT_RANKING, "by_attack": ABOUT_BY_ATTACK}
    names = {board.name: board.about for board in boards}
    return {"standings": standings, "survival": survival, "heat": heat, "about": about, "boards": names}


def witness(run: Run, tiers: Sequence[int], gone: Gone = not_recovered) -> list[RunRow]:
    """Return the row that tells a run's removal loss; where nothing removes it, the dearest that was tried."""
    found = run.removal(tiers, gone)
    tried = run.priced(tiers)
    return [found] if found else [max(tried, key=lambda row: row.lost or 0.0)] if tried else []


def _witnesses(runs: Iterable[Run], tiers: Sequence[int], gone: Gone = not_recovered) -> list[RunRow]:
    return [row for run in runs for row in witness(run, tiers, gone)]


def _standings(board: Board, ranked: Sequence[Standing], places: Places) -> Iterator[dict[str, Any]]:
    headers, rows = ranking_table(board, ranked)
    for standing, row in zip(ranked, rows, strict=True):
        kept = standing.embedded
        sources = {
            "headline": _witnesses(kept, board.headline),
            "full": _witnesses(kept, board.all_tiers),
            "proof": _witnesses(kept, board.headline, not_provable),
            "not embedded": [run.rows[0] for run in standing.runs if not run.embedded],
            "marks": [run.rows[0] for run in kept or standing.runs],
            "removal": standing.removal.runs if standing.removal else [],
            "free": standing.free_rows,
        }
        cells = {FALLS: ""} | dict(zip(headers, map(str, row), strict=True)) | {"bits": standing.payload}
        yield cells | {"sources": {name: places.of(found) for name, found in sources.items()}}


def _curves(board: Board, ranked: Sequence[Standing], places: Places) -> Iterator[dict[str, Any]]:
    runs = {(standing.scheme, standing.payload): standing.embedded for standing in ranked}
    for last in LASTS:
        tiers = range(board.first, last + 1)
        tried = any(row.tier == last for run in board.runs for row in run.rows)
        for curve in curves(board, last):
            rows = _witnesses(runs[curve.entry], tiers)
            yield {
                "scheme": curve.entry[0],
                "last": last,
                "tried": tried,
                "steps": _steps(curve),
                "runs": places.of(rows),
            }


def _steps(curve: Curve) -> list[list[float]]:
    """Return a curve where it changes, and at both ends: points, share, and the band if it has one."""
    band = (curve.low, curve.high) if curve.has_band else ()
    told = [[round(float(x), 4) for x in values] for values in zip(GRID, curve.share, *band, strict=True)]
    last = len(told) - 1
    return [values for at, values in enumerate(told) if at in (0, last) or values[1:] != told[at - 1][1:]]


def _heat(board: Board, ranked: Sequence[Standing], places: Places) -> Iterator[dict[str, Any]]:
    for column in columns_of(board.runs):
        for standing in ranked:
            found = [row for rows in met(standing.runs, column) for row in rows]
            if found:
                text = by_attack_text(standing.runs, column)
                yield {
                    "scheme": standing.scheme,
                    "tier": column.tier,
                    "attack": column.attack,
                    "text": text,
                    "runs": places.of(found),
                }


def board_sections(boards: Sequence[Board], places: Places) -> list[dict[str, Any]]:
    """Return the median losses of each board of one payload, and the attacks that were tried."""
    found = [_medians(board, places) for board in boards]
    runs = list({id(run): run for board in boards for run in board.runs}.values())
    return [*found, section("tried", "Attacks tried", ABOUT_TRIED, tried_table(runs))]


def _medians(board: Board, places: Places) -> dict[str, Any]:
    ranked = rank(board)
    columns = [(model, tiers) for _, model, tiers in median_columns(board)]
    sources = [
        [
            [], [],
            *(places.of(_witnesses([r for r in s.embedded if r.model == m], tiers)) for m, tiers in columns),
        ]
        for s in ranked
    ]  # fmt: skip
    title = f"Median removal loss, board {board.name}"
    name = f"medians-{board.name}-{board.payloads[0]}"
    return section(name, title, ABOUT_MEDIANS, median_table(board, ranked)) | {"runs": sources}


def section(name: str, title: str, about: str, table: Table) -> dict[str, Any]:
    """Return a table as the page takes it."""
    headers, rows = table
    cells = [[str(cell) for cell in row] for row in rows]
    return {"name": name, "title": title, "about": about, "headers": headers, "rows": cells}
