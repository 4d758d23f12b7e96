"""What the page shows, as tidy tables with the cells of leaderboard.md and .csv; the browser only shows them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bench.leaderboard.capacity import capacity_tables, several_payloads
from bench.leaderboard.page.sections import sections
from bench.leaderboard.pareto import frontiers
from bench.leaderboard.points import ALL_MODELS, Point, Run, by_scheme, pooled
from bench.leaderboard.ranking import RANKED_AT, Standing, decisive, rank
from bench.leaderboard.tables import (
    ABOUT_CAPACITY,
    ABOUT_RANKING,
    CSV_COLUMNS,
    csv_row,
    exact_text,
    price_text,
    ranking_table,
)
from bench.records.record import Record
from bench.records.store import Levels

Columns = dict[str, list[Any]]

ALL_ATTACKS = "all attacks"


def content(records: Sequence[Record], points: Sequence[Point], levels: Levels) -> dict[str, Any]:
    """Return all tables of the page, by name."""
    places = Places(records)
    together = pooled(points) if len({point.model for point in points}) > 1 else []
    shown = [*together, *points]
    return {
        "names": _names(points),
        "points": _points(shown, places),
        "standings": columns(_standings(points, places)),
        "capacity": {model: _capacity(own) for model, own in by_model(points).items()},
        "sections": sections(records, points, levels),
        "about": {"ranking": ABOUT_RANKING, "capacity": ABOUT_CAPACITY},
        "not_run": [number for number, record in enumerate(records) if record.status != "ok"],
    }


class Places:
    """Numbers the rows of all records, one record after the other: so the page names what a number comes from."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._numbers: dict[int, int] = {}
        self._kept = list(records)  # ids name rows only while these live
        for record in self._kept:
            for row in record.rows or ():
                self._numbers[id(row)] = len(self._numbers)

    def of(self, runs: Iterable[Run]) -> list[int]:
        """Return the numbers of runs."""
        return [self._numbers[id(run.row)] for run in runs]


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


def _names(points: Sequence[Point]) -> dict[str, list[Any]]:
    """Return what can be chosen: schemes best ranked first at the payload that most of them carry."""
    payloads = sorted({point.payload for point in points})
    carried = {bits: [p for p in points if p.payload == bits] for bits in payloads}
    fullest = max(payloads, key=lambda bits: (len({(p.scheme, p.attack) for p in carried[bits]}), bits), default=0)
    schemes = [standing.scheme for bits in [fullest, *payloads] for standing in rank(carried.get(bits, []))]
    return {
        "models": list(by_model(points)),
        "payloads": sorted(payloads, key=lambda bits: bits != fullest),
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
            "useful": point.useful(RANKED_AT),
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


def _standings(points: Sequence[Point], places: Places) -> Iterator[dict[str, Any]]:
    """Yield the ranking of each model, payload and attack, and of all models and attacks."""
    for model, own in by_model(points).items():
        for payload in sorted({point.payload for point in own}):
            at = [point for point in own if point.payload == payload]
            attacks = sorted({point.attack for point in at})
            yield from _ranking(at, places, model, ALL_ATTACKS)
            for attack in attacks:
                yield from _ranking([p for p in at if p.attack == attack], places, model, attack)


def _ranking(points: Sequence[Point], places: Places, model: str, attack: str) -> Iterator[dict[str, Any]]:
    standings, groups = rank(points), by_scheme(points)
    headers, rows = ranking_table(standings)
    for standing, row in zip(standings, rows, strict=True):
        own = groups[standing.scheme, standing.payload]
        cells = dict(zip(headers, map(str, row), strict=True))
        if attack != ALL_ATTACKS:
            cells["price of removal"] = price_text(own)
        cells["cost"] = f"{max(0.0, standing.clean - standing.marked):.2f}"
        yield cells | {
            "model": model,
            "attack": attack,
            "bits": standing.payload,
            **_sources(standing, own, places),
        }


def _sources(standing: Standing, points: Sequence[Point], places: Places) -> dict[str, Any]:
    """Return the runs from which the numbers of a standing come."""
    return {
        "removal runs": places.of(run for run, _ in decisive(points, lambda run: run.removed)),
        "proof runs": places.of(run for run, _ in decisive(points, lambda run: run.unprovable)),
        "worst runs": places.of(standing.worst.runs) if standing.worst else [],
        "weakest runs": places.of(standing.weakest.runs) if standing.weakest else [],
    }


def _capacity(points: Sequence[Point]) -> dict[str, Any]:
    return capacity_tables(points) if several_payloads(points) else {}
