"""Leaderboards: derived from records and from nothing else."""

from collections.abc import Sequence
from pathlib import Path

from bench.journal import Record
from bench.leaderboard.pictures import draw, save
from bench.leaderboard.points import gather
from bench.leaderboard.tables import TIMING_COLUMNS, csv_text, markdown
from cwwm.files import write_atomic

__all__ = ["TIMING_COLUMNS", "texts", "write"]


def texts(suite: str, records: Sequence[Record]) -> dict[str, str]:
    """Return the text files of a leaderboard by name."""
    points = gather(records)
    return {"leaderboard.md": markdown(suite, records, points), "leaderboard.csv": csv_text(points)}


def write(folder: Path, suite: str, records: Sequence[Record]) -> list[Path]:
    """Write leaderboard.md, leaderboard.csv and leaderboard.png; return their paths."""
    paths = []
    for name, text in texts(suite, records).items():
        paths.append(folder / name)
        write_atomic(paths[-1], text.encode())
    if points := gather(records):
        paths.append(folder / "leaderboard.png")
        save(draw(points, f"suite {suite}"), paths[-1])
    return paths
