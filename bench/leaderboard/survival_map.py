"""The map of survival: which share of a scheme's runs keeps the message under each attack alone, tier by tier."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.leaderboard.boards import Board
from bench.leaderboard.ranking import Standing, rank
from bench.leaderboard.ranking_tables import Column, columns_of, keeps, met
from bench.support.plain_text import in_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = "cividis"
# all in inches
_WIDTH = 8.0  # 800 pixels at the resolution of pictures here
_WIDEST = 0.5  # a field
_HIGH = 0.19
_LETTER = 0.068  # a character of a scheme's name
_NAMED = 0.061  # a character of a board's name, which ends before the fields begin
_UPRIGHT, _MOST = 0.058, 44  # a character of an attack's name, and how many of them are shown
_BELOW, _HEAD = 0.25, 0.6  # between boards, and for the title and the key of the colours


def draw_map(boards: Sequence[Board], title: str) -> "Figure":
    """Return the figure: a panel a board of one payload, best ranked first; attacks in order of their tiers."""
    from matplotlib.figure import Figure

    ranked = [(board, rank(board), columns_of(board.runs)) for board in boards]
    names = 0.2 + _LETTER * max(len(_name(s)) for _, standings, _ in ranked for s in standings)
    left = max(names, 0.1 + _NAMED * max(len(_about(board)) for board in boards))
    longest = max(len(column.title) for _, _, columns in ranked for column in columns)
    above = 0.3 + _UPRIGHT * min(_MOST, longest)
    height = _HEAD + sum(above + _HIGH * len(standings) + _BELOW for _, standings, _ in ranked)
    figure, top = Figure(figsize=(_WIDTH, height)), height - _HEAD
    for board, standings, columns in ranked:
        panel = _HIGH * len(standings)
        wide = min(_WIDEST, (_WIDTH - left - 0.6) / len(columns)) * len(columns)
        box = (left / _WIDTH, (top - above - panel) / height, wide / _WIDTH, panel / height)
        _panel(figure.add_axes(box), standings, columns)
        figure.text(0.1 / _WIDTH, (top - above + 0.08) / height, _about(board), fontsize=8)
        top -= above + panel + _BELOW
    text = f"{in_picture(title)}: runs that keep the message if the attacker may lose 1 point, by tier and attack"
    figure.text(0.1 / _WIDTH, 1 - 0.3 * _HEAD / height, text, fontsize=8.5, va="center")
    _key(figure, 1 - 0.75 * _HEAD / height, height)
    return figure


def _key(figure: "Figure", middle: float, height: float) -> None:
    """Draw what the colours mean, in one line around `middle`, a share of the figure's height in inches."""
    axis = figure.add_axes((0.95 / _WIDTH, middle - 0.06 / height, 0.8 / _WIDTH, 0.12 / height))
    axis.imshow(np.linspace(0, 1, 64)[None], cmap=_COLOURS, vmin=0, vmax=1, aspect="auto")
    axis.set_axis_off()
    for at, text in ((0.1, "no run keeps it"), (1.8, "all do; white: no run met the attack; lines part the tiers")):
        figure.text(at / _WIDTH, middle, text, fontsize=7, va="center")


def _about(board: Board) -> str:
    return f"board {board.name}, {board.payloads[0]} bits"


def _name(standing: Standing) -> str:
    return f"{standing.place} {standing.scheme}"


def _shortened(name: str) -> str:
    return name if len(name) <= _MOST else f"{name[: _MOST - 1]}…"


def _panel(axis: Any, standings: Sequence[Standing], columns: Sequence[Column]) -> None:  # noqa: ANN401
    axis.imshow(_shares(standings, columns), cmap=_COLOURS, vmin=0, vmax=1, aspect="auto")
    axis.set_yticks(range(len(standings)), [in_picture(_name(s)) for s in standings], fontsize=7)
    names = [_shortened(in_picture(column.title)) for column in columns]
    axis.set_xticks(range(len(columns)), names, fontsize=7, rotation=90)
    axis.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axis.set_xticks(np.arange(0.5, len(columns) - 1), minor=True)
    axis.set_yticks(np.arange(0.5, len(standings) - 1), minor=True)
    axis.grid(which="minor", color="white", linewidth=0.6)
    axis.tick_params(which="minor", length=0)
    for index in range(1, len(columns)):
        if columns[index].tier != columns[index - 1].tier:
            axis.axvline(index - 0.5, color="#D55E00", linewidth=1.5)


def _shares(standings: Sequence[Standing], columns: Sequence[Column]) -> np.ndarray[Any, Any]:
    """Return the shares of runs that keep the message, float64 (standings, columns), masked where none met it."""
    found = [[met(s.runs, column) for column in columns] for s in standings]
    kept = [[np.mean([keeps(rows) for rows in runs]) if runs else np.nan for runs in line] for line in found]
    return np.ma.masked_invalid(np.array(kept, float))
