"""The picture of the study on compression: points of accuracy lost against the ratio, a panel a model."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from matplotlib.ticker import FixedLocator, NullLocator

from bench.leaderboard.pictures import COLOURS, MARKERS
from bench.leaderboard.points import Point, RunRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = Mapping[tuple[str, str], Sequence[Point]]

_DEAREST = 20.0  # points lost, above which nobody wants the model
_BEST = -3.0  # points gained
_TICKS = (1, 1.5, 2, 3, 4, 5, 8, 16, 32, 64, 128, 256)


def lost(run: RunRow) -> float:
    """Return the points of accuracy that an attack cost, negative if the model gained."""
    return run.record.host.accuracy.percent - run.row.accuracy.percent


def draw_reach(curves: Curves, levels: Sequence[float]) -> "Figure":
    """Return the figure: means over seeds, with bands from the least to the most of a seed.

    Args:
        curves: the points of each (model, attack), in the order of strength.
        levels: points lost, drawn as grey lines.
    """
    from matplotlib.figure import Figure

    models = sorted({model for model, _ in curves})
    attacks = sorted({attack for _, attack in curves})
    figure = Figure(figsize=(5.4 * len(models), 4.8), layout="constrained")
    for axis, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        for level in levels:
            axis.axhline(level, color="0.8", linewidth=1, zorder=0)
        for number, attack in enumerate(attacks):
            if (model, attack) in curves:
                _line(axis, curves[model, attack], attack, number)
        _dress(axis, model)
    handles = {label: h for axis in figure.axes for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=2 * len(models),
        frameon=False,
        fontsize=8,
    )
    return figure


def _line(axis: "Axes", points: Sequence[Point], attack: str, number: int) -> None:
    ratios = [fmean(run.row.achieved.compression for run in point.runs) for point in points]
    losses = [[lost(run) for run in point.runs] for point in points]
    colour = COLOURS[number % len(COLOURS)]
    marker = MARKERS[number % len(MARKERS)]
    axis.plot(
        ratios, list(map(fmean, losses)), color=colour, marker=marker, markersize=4, linewidth=1.4, label=attack
    )
    axis.fill_between(ratios, list(map(min, losses)), list(map(max, losses)), color=colour, alpha=0.12, linewidth=0)


def _dress(axis: "Axes", model: str) -> None:
    axis.set_title(model, fontsize=10)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(FixedLocator(_TICKS))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_ylim(_DEAREST, _BEST)
    axis.set_xlabel("weights before over weights after", fontsize=9)
    axis.set_ylabel("points of accuracy lost, mean and range of seeds", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)
