"""What the page of a suite of untrained models shows: its tables, each row with its records, and no curves."""

from collections.abc import Sequence
from typing import Any

from bench.leaderboard.compatibility import Section, compatibility_sections, what_was_tried
from bench.leaderboard.page.board_content import section
from bench.leaderboard.tables import conditions
from bench.records.untrained_schema import UntrainedRecord


def untrained_content(records: Sequence[UntrainedRecord]) -> dict[str, Any]:
    """Return all tables of the page, by name; of those of `content`, the ones that do not apply are empty."""
    places = {id(record): number for number, record in enumerate(records)}
    keys = [record.key for record in records]
    shown = compatibility_sections(records, conditions(records))
    return {
        "names": {
            "models": list(dict.fromkeys(key.model for key in keys)),
            "payloads": sorted({key.payload for key in keys}),
            "schemes": sorted({key.scheme for key in keys}),
            "attacks": sorted({key.attack for key in keys}),
        },
        "points": {},
        "standings": {},
        "survival": {},
        "heat": {},
        "boards": {},
        "capacity": {},
        "sections": [_section(one, places) for one in shown if one.sources],
        "about": {"sections": what_was_tried(records).replace("*", "")},
        "not_run": [],
    }


def _section(one: Section, places: dict[int, int]) -> dict[str, Any]:
    sources = [[places[id(record)] for record in records] for records in one.sources]
    return section(one.name, one.title, one.about, one.table) | {"records": sources}
