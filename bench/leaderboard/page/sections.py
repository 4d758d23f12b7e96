"""The smaller tables of leaderboard.md, each with its title and what its numbers mean."""

from collections.abc import Callable, Sequence
from typing import Any

from bench.leaderboard.boards import board_and_payload, boards_of
from bench.leaderboard.detection import (
    ABOUT_DETECTABILITY,
    ABOUT_DETECTION,
    ABOUT_TRUE_POSITIVES,
    detectability_table,
    detection_table,
    true_positive_table,
)
from bench.leaderboard.levels import ABOUT_LEVELS, at_levels, levels_asked, levels_table
from bench.leaderboard.page.board_content import board_sections, section
from bench.leaderboard.page.places import Places
from bench.leaderboard.points import Point
from bench.leaderboard.runs import runs_of
from bench.leaderboard.table_text import Table
from bench.leaderboard.tables import ABOUT_LAW, law_table, model_table, speed_table, timed_on
from bench.records.record import Record
from bench.records.store import Levels


def sections(
    records: Sequence[Record], points: Sequence[Point], levels: Levels, places: Places
) -> list[dict[str, Any]]:
    """Return tables as they stand in leaderboard.md, those of all payloads together; "speed" is one of them."""
    boards = board_and_payload(boards_of(runs_of(points)))
    found = [
        section(
            "speed",
            "Speed",
            timed_on(records),
            speed_table(points),
        ),
        *board_sections(boards, places),
        section("law", "Law and measurement", ABOUT_LAW, law_table(points)),
        section("detection", "Detection", ABOUT_DETECTION, detection_table(points)),
        section("roc", "True positives by attack", ABOUT_TRUE_POSITIVES, true_positive_table(points)),
        section("detectability", "Detectability", ABOUT_DETECTABILITY, detectability_table(points)),
        section("models", "Models", "", model_table(points)),
    ]
    if at_levels(points, levels):
        about = ABOUT_LEVELS.format(levels=", ".join(f"{level:g}" for level in levels_asked(levels)))
        table = _each_payload(points, lambda own: levels_table(own, levels))
        found.insert(1, section("levels", "Whole at equal cost", about, table))
    return found


def _each_payload(points: Sequence[Point], make: Callable[[Sequence[Point]], Table]) -> Table:
    """Return the tables of all payloads as one: each has a column of bits."""
    headers: list[str] = []
    rows: list[list[object]] = []
    for payload in sorted({point.payload for point in points}):
        headers, own = make([point for point in points if point.payload == payload])
        rows += own
    return headers, rows
