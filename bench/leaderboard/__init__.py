"""Leaderboards: derived from records and from nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.leaderboard.boards import boards_of, fullest
from bench.leaderboard.capacity import capacities, several_payloads
from bench.leaderboard.capacity_picture import draw_capacity
from bench.leaderboard.compatibility import all_untrained, compatibility_texts
from bench.leaderboard.csv_table import TIMING_COLUMNS, csv_text
from bench.leaderboard.pictures import save
from bench.leaderboard.points import Point, gather
from bench.leaderboard.runs import runs_of
from bench.leaderboard.survival_map import draw_map
from bench.leaderboard.survival_picture import draw_survival
from bench.leaderboard.tables import conditions, markdown
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
    """Write leaderboard.md and .csv, and pictures where there is something to draw; return their paths.

    These are leaderboard.png, survival by tiers; attacks.png, by attack; capacity.png, if payloads can be compared.
    """
    paths, records = [], record_store.records()
    for name, text in texts(record_store.suite, records, record_store.levels, record_store.archived).items():
        paths.append(record_store.folder / name)
        write_atomic(paths[-1], text.encode())
    for name, figure in _figures(record_store.suite, gather(records)).items():
        paths.append(record_store.folder / name)
        save(figure, paths[-1])
    return paths


def _figures(suite: str, points: Sequence[Point]) -> dict[str, "Figure"]:
    """Return the pictures of a leaderboard by name."""
    if not points:
        return {}
    title, boards = f"suite {suite}", fullest(boards_of(runs_of(points)))
    figures = {
        "leaderboard.png": draw_survival(boards, f"{title}: survival of the message, by attackers' tiers"),
        "attacks.png": draw_map(boards, title),
    }
    if several_payloads(points) and capacities(points):
        figures["capacity.png"] = draw_capacity(points, f"{title}: capacity under pruning")
    return figures
