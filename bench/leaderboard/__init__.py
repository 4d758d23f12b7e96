"""Leaderboards: derived from records and from nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.leaderboard.capacity import capacities, several_payloads
from bench.leaderboard.capacity_picture import draw_capacity
from bench.leaderboard.compatibility import all_untrained, compatibility_texts
from bench.leaderboard.levels import at_levels
from bench.leaderboard.pictures import LINES, PANELS, draw, save
from bench.leaderboard.points import Point, by_scheme, gather
from bench.leaderboard.survival_map import draw_map
from bench.leaderboard.tables import TIMING_COLUMNS, conditions, csv_text, markdown
from bench.records.record import Record
from bench.records.store import Levels, RecordStore
from bench.support.plain_text import in_markdown
from cwwm.support.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TIMING_COLUMNS", "texts", "write"]


def texts(
    suite: str, records: Sequence[Record], levels: Levels | None = None, archived: str | None = None
) -> dict[str, str]:
    """Return the text files of a leaderboard by name.

    Args:
        suite: its name.
        records: all of them.
        levels: those at which its attacks were run.
        archived: the note that the records are of older source, if they are.
    """
    note = f"\n\n> {in_markdown(archived)}" if archived else ""
    head = f"# Leaderboard of suite {in_markdown(suite)}{note}"
    if all_untrained(records):
        return compatibility_texts(head, records, conditions(records))
    points = gather(records)
    return {"leaderboard.md": markdown(head, records, points, levels or {}), "leaderboard.csv": csv_text(points)}


def write(record_store: RecordStore) -> list[Path]:
    """Write leaderboard.md, .csv and .png, and capacity.png if payloads can be compared; return their paths."""
    paths, records = [], record_store.records()
    for name, text in texts(record_store.suite, records, record_store.levels, record_store.archived).items():
        paths.append(record_store.folder / name)
        write_atomic(paths[-1], text.encode())
    for name, figure in _figures(record_store.suite, gather(records), record_store.levels).items():
        paths.append(record_store.folder / name)
        save(figure, paths[-1])
    return paths


def _figures(suite: str, points: Sequence[Point], levels: Levels) -> dict[str, "Figure"]:
    """Return the pictures of a leaderboard by name: lines while a panel can hold them apart, else a map."""
    if not points:
        return {}
    title, attacks = f"suite {suite}", {point.attack for point in points}
    few = len(by_scheme(points)) <= LINES and len(attacks) <= PANELS
    if matched := at_levels(points, levels):
        figures = {"leaderboard.png": draw_map(matched, f"{title}, at points lost on the unmarked model")}
    else:
        figures = {"leaderboard.png": (draw if few else draw_map)(points, title)}
    if several_payloads(points) and capacities(points):
        figures["capacity.png"] = draw_capacity(points, f"suite {suite}: capacity under pruning")
    return figures
