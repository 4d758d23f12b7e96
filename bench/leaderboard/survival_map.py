"""The map of survival: exact-match rate of many schemes at every attack and strength, a line a scheme."""

import textwrap
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.leaderboard.points import Point
from bench.leaderboard.ranking import RANKED_AT, rank
from bench.support.plain_text import in_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Mark = tuple[str, int]

# all in inches
_WIDE, _HIGH = 0.30, 0.17  # a cell
_LETTER = 0.075  # a character of a scheme's name
_ABOVE, _BELOW = 0.62, 0.45  # room of a panel for the attack's name and the accuracies, and for the strengths
_HEAD = 0.45
_MARGIN = 0.15
_WIDEST = 45  # columns of a band of panels
_NARROWEST = 4  # columns that the name of an attack needs
_TITLE = 4.6  # characters of that name in the width of a column


def draw_map(points: Sequence[Point], title: str) -> "Figure":
    """Return the figure: for each payload best ranked first, all models and seeds taken together.

    Above each column stands the mean accuracy after the attack in percent, grey where it costs more than the
    ranking's 3 points or the task is another.
    """
    from matplotlib.figure import Figure

    marks = [(s.scheme, s.payload) for s in sorted(rank(points), key=lambda s: s.payload)]
    bands = _bands(points)
    left = _LETTER * max(len(_name(mark)) for mark in marks) + _MARGIN
    width = left + _WIDE * max(map(_columns, bands))
    panel = _HIGH * len(marks)
    height = _HEAD + len(bands) * (_ABOVE + panel + _BELOW)
    figure = Figure(figsize=(width, height))
    for number, band in enumerate(bands):
        x, y = left, height - _HEAD - number * (_ABOVE + panel + _BELOW) - _ABOVE - panel
        for attack, strengths in band.items():
            box = (x / width, y / height, _WIDE * len(strengths) / width, panel / height)
            own = [point for point in points if point.attack == attack]
            _panel(figure.add_axes(box), own, marks, strengths, attack, named=x == left)
            x += _WIDE * _room(strengths)
    title = in_picture(title)
    text = f"{title}: recovered in every run yellow, in none dark blue, not run white; accuracy after above, %"
    figure.text(_MARGIN / width, 1 - 0.5 * _HEAD / height, text, fontsize=9, va="center")
    return figure


def _bands(points: Sequence[Point]) -> list[dict[str, list[float]]]:
    """Return the attacks with their strengths, in bands of as many as fit beside one another."""
    bands: list[dict[str, list[float]]] = [{}]
    for attack in sorted({point.attack for point in points}):
        strengths = sorted({point.strength for point in points if point.attack == attack})
        if bands[-1] and _columns({**bands[-1], attack: strengths}) > _WIDEST:
            bands.append({})
        bands[-1][attack] = strengths
    return bands


def _room(strengths: Sequence[float]) -> int:
    return max(_NARROWEST, len(strengths)) + 1


def _columns(band: dict[str, list[float]]) -> int:
    return sum(map(_room, band.values()))


def _name(mark: Mark) -> str:
    return f"{mark[0]}, {mark[1]} bits"


def _panel(
    axis: Any,  # noqa: ANN401 (matplotlib's axes)
    points: Sequence[Point],
    marks: Sequence[Mark],
    strengths: Sequence[float],
    attack: str,
    *,
    named: bool,
) -> None:
    axis.imshow(_rates(points, marks, strengths), cmap="cividis", vmin=0, vmax=1, aspect="auto")
    axis.set_xticks(range(len(strengths)), [f"{s:g}" for s in strengths], fontsize=6.5, rotation=90)
    names = [in_picture(_name(mark)) if named else "" for mark in marks]
    axis.set_yticks(range(len(marks)), names, fontsize=7)
    axis.tick_params(length=0)
    axis.set_xticks(np.arange(0.5, len(strengths) - 1), minor=True)
    axis.set_yticks(np.arange(0.5, len(marks) - 1), minor=True)
    axis.grid(which="minor", color="white", linewidth=0.6)
    axis.tick_params(which="minor", length=0)
    for index, strength in enumerate(strengths):
        at = [point for point in points if point.strength == strength]
        mean = fmean(run.row.accuracy.percent for point in at for run in point.runs)
        lost = [point.lost for point in at if point.lost is not None]
        colour = "black" if lost and fmean(lost) <= RANKED_AT else "0.6"
        axis.text(index, -0.65, f"{mean:.0f}", fontsize=6.5, ha="center", va="bottom", color=colour)
    for index in range(1, len(marks)):
        if marks[index][1] != marks[index - 1][1]:
            axis.axhline(index - 0.5, color="black", linewidth=1)
    name = textwrap.fill(in_picture(attack), int(_TITLE * (_room(strengths) - 0.5)))
    axis.annotate(name, (0, 1), (0, 14), xycoords="axes fraction", textcoords="offset points", fontsize=8)


def _rates(points: Sequence[Point], marks: Sequence[Mark], strengths: Sequence[float]) -> np.ndarray[Any, Any]:
    """Return the exact-match rates, float64 (marks, strengths), masked where nothing was run."""
    hits, totals = np.zeros((2, len(marks), len(strengths)))
    for point in points:
        place = marks.index((point.scheme, point.payload)), strengths.index(point.strength)
        hits[place] += point.exact[0]
        totals[place] += point.exact[1]
    return np.ma.masked_array(hits / np.maximum(totals, 1), totals == 0)
