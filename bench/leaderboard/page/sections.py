"""The smaller tables of leaderboard.md, each with its title and what its numbers mean."""

from collections.abc import Callable, Sequence
from typing import Any

from bench.leaderboard.detection import ABOUT_DETECTABILITY, ABOUT_DETECTION, detectability_table, detection_table
from bench.leaderboard.levels import ABOUT_LEVELS, at_levels, levels_asked, levels_table
from bench.leaderboard.points import Point
from bench.leaderboard.ranking import rank
from bench.leaderboard.tables import (
    ABOUT_LAW,
    Table,
    law_table,
    model_table,
    speed_table,
    timed_on,
    useful_table,
)
from bench.records.record import Record
from bench.records.store import Levels


def sections(records: Sequence[Record], points: Sequence[Point], levels: Levels) -> list[dict[str, Any]]:
    """Return tables as they stand in leaderboard.md, those of all payloads together; "speed" is one of them."""
    found = [
        section(
            "speed",
            "Speed",
            timed_on(records),
            speed_table(points),
        ),
        section(
            "useful",
            "Worst exact-match rate by what the attacker accepts to lose",
            "",
            _each_payload(points, _useful),
        ),
        section("law", "Law and measurement", ABOUT_LAW, law_table(points)),
        section("detection", "Detection", ABOUT_DETECTION, detection_table(points)),
        section("detectability", "Detectability", ABOUT_DETECTABILITY, detectability_table(points)),
        section("models", "Models", "", model_table(points)),
    ]
    if at_levels(points, levels):
        about = ABOUT_LEVELS.format(levels=", ".join(f"{level:g}" for level in levels_asked(levels)))
        table = _each_payload(points, lambda own: levels_table(own, levels))
        found.insert(1, section("levels", "Whole at equal cost", about, table))
    return found


def section(name: str, title: str, about: str, table: Table) -> dict[str, Any]:
    """Return a table as the page takes it."""
    headers, rows = table
    return {
        "name": name,
        "title": title,
        "about": about,
        "headers": headers,
        "rows": [[str(cell) for cell in row] for row in rows],
    }


def _useful(points: Sequence[Point]) -> Table:
    return useful_table(rank(points))


def _each_payload(points: Sequence[Point], make: Callable[[Sequence[Point]], Table]) -> Table:
    """Return the tables of all payloads as one: each has a column of bits."""
    headers: list[str] = []
    rows: list[list[object]] = []
    for payload in sorted({point.payload for point in points}):
        headers, own = make([point for point in points if point.payload == payload])
        rows += own
    return headers, rows
