"""Leaderboards: derived from records and from nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.journal import Record
from bench.leaderboard.capacity import capacities, several_payloads
from bench.leaderboard.capacity_picture import draw_capacity
from bench.leaderboard.pictures import LINES, draw, save
from bench.leaderboard.points import Point, by_scheme, gather
from bench.leaderboard.survival_map import draw_map
from bench.leaderboard.tables import TIMING_COLUMNS, csv_text, markdown
from cwwm.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TIMING_COLUMNS", "texts", "write"]


def texts(suite: str, records: Sequence[Record]) -> dict[str, str]:
    """Return the text files of a leaderboard by name."""
    points = gather(records)
    return {"leaderboard.md": markdown(suite, records, points), "leaderboard.csv": csv_text(points)}


def write(folder: Path, suite: str, records: Sequence[Record]) -> list[Path]:
    """Write leaderboard.md, .csv and .png, and capacity.png if payloads can be compared; return their paths."""
    paths = []
    for name, text in texts(suite, records).items():
        paths.append(folder / name)
        write_atomic(paths[-1], text.encode())
    for name, figure in _figures(suite, gather(records)).items():
        paths.append(folder / name)
        save(figure, paths[-1])
    return paths


def _figures(suite: str, points: Sequence[Point]) -> dict[str, "Figure"]:
    """Return the pictures of a leaderboard by name: lines while a panel can hold them apart, else a map."""
    if not points:
        return {}
    few = len(by_scheme(points)) <= LINES
    figures = {"leaderboard.png": (draw if few else draw_map)(points, f"suite {suite}")}
    if several_payloads(points) and capacities(points):
        figures["capacity.png"] = draw_capacity(points, f"suite {suite}: capacity under pruning")
    return figures
