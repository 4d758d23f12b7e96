"""The picture of survival: S(x) by attackers' tiers, a line a scheme, all schemes drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bench.leaderboard.attacker_tiers import LASTS
from bench.leaderboard.boards import Board
from bench.leaderboard.pictures import COLOURS
from bench.leaderboard.ranking import Standing, rank
from bench.leaderboard.runs import Entry
from bench.leaderboard.survival import GRID, Curve, curves
from bench.support.plain_text import in_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 8.0  # inches: 800 pixels at the resolution of pictures here
_PANEL = 2.7  # inches a board
_LINE = 0.15  # inches a line of the legend
_COLUMNS = 3  # of the legend
_NAMED = COLOURS[:-1]  # yellow is too faint for print
_Style = Literal["-", "--", "-.", ":"]
_STYLES: tuple[_Style, ...] = ("-", "--", "-.", ":")
_SPREAD, _LIFT = 0.05, 0.008  # all of a panel, and at most between two lines, which would hide one another
_BANDS = 6  # curves that leave room for bands in a panel
_TICKS = (-1, 0, 1, 3, 5, 10, 20)  # points of accuracy


@dataclass(frozen=True)
class _Look:
    colour: str
    style: _Style

    @classmethod
    def of(cls, number: int) -> "_Look":
        return cls(_NAMED[number % len(_NAMED)], _STYLES[number // len(_NAMED) % len(_STYLES)])


def draw_survival(boards: Sequence[Board], title: str) -> "Figure":
    """Return the figure: a row a board of one payload, a column for attackers up to tier 1, 2 and 3.

    Bands are 95 % intervals, for schemes with five runs or more, where a panel has six curves at most.
    """
    from matplotlib.figure import Figure

    ranked = [(board, rank(board)) for board in boards]
    looks = _looks([standing for _, standings in ranked for standing in standings])
    lines = -(-len(looks) // _COLUMNS)
    figure = Figure(figsize=(_WIDTH, 0.9 + _PANEL * len(boards) + _LINE * lines), layout="constrained")
    axes = figure.subplots(len(boards), len(LASTS), squeeze=False, sharex=True, sharey=True)
    for row, (board, standings) in zip(axes, ranked, strict=True):
        for axis, last in zip(row, LASTS, strict=True):
            _panel(axis, board, last, [(s.scheme, s.payload) for s in standings], looks)
        row[0].set_ylabel(f"board {board.name}\nshare of runs that keep it", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("test accuracy lost, points", fontsize=8)
    _legend(figure, looks)
    figure.suptitle(in_picture(title), fontsize=10)
    return figure


def _looks(standings: Sequence[Standing]) -> dict[Entry, _Look]:
    """Return the look of each entry that has a curve, the best ranked of the first board first."""
    entries = dict.fromkeys((s.scheme, s.payload) for s in standings if s.embedded)
    return {entry: _Look.of(number) for number, entry in enumerate(entries)}


def _panel(axis: Any, board: Board, last: int, order: Sequence[Entry], looks: dict[Entry, _Look]) -> None:  # noqa: ANN401
    found = {curve.entry: curve for curve in curves(board, last)}
    shown = [found[entry] for entry in order if entry in found and entry in looks]
    lift = min(_LIFT, _SPREAD / max(1, len(shown)))
    for number, curve in enumerate(shown):
        band = curve.has_band and len(shown) <= _BANDS
        _line(axis, curve, looks[curve.entry], lift * ((len(shown) - 1) / 2 - number), band=band)
    tried = any(row.tier == last for run in board.runs for row in run.rows)
    tiers = f"tier {last}" if board.first == last else f"tiers {board.first} to {last}"
    axis.set_title(f"{tiers}{'' if tried else f' (nothing tried at {last})'}", fontsize=8)
    axis.axvline(1.0, color="0.6", linewidth=0.8, zorder=0)
    axis.set_xscale("symlog", linthresh=3.0, linscale=1.6)
    axis.set_xlim(GRID[0], GRID[-1])
    axis.set_ylim(-0.06, 1.06)
    axis.set_xticks(_TICKS, [str(tick) for tick in _TICKS])
    axis.minorticks_off()
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.25)


def _line(axis: Any, curve: Curve, look: _Look, lift: float, *, band: bool) -> None:  # noqa: ANN401
    style = {"color": look.colour, "linestyle": look.style, "linewidth": 1.3}
    axis.step(GRID, curve.share + lift, where="post", **style)
    if band:
        axis.fill_between(GRID, curve.low, curve.high, step="post", color=look.colour, alpha=0.1, linewidth=0)


def _legend(figure: "Figure", looks: dict[Entry, _Look]) -> None:
    from matplotlib.lines import Line2D

    several = len({bits for _, bits in looks}) > 1
    handles = [
        Line2D(
            [],
            [],
            color=look.colour,
            linestyle=look.style,
            label=in_picture(f"{scheme}, {bits} bits" if several else scheme),
        )
        for (scheme, bits), look in looks.items()
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=_COLUMNS, fontsize=7, frameon=False)
