"""The picture of few schemes: exact match and accuracy against strength, a column an attack, a line a scheme."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.leaderboard.points import Point, pooled
from bench.support.plain_text import in_picture
from cwwm.support.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers can tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = "osD^vPX*"
LINES = len(COLOURS)  # that a panel can hold apart
PANELS = 60  # attacks that one picture of lines can hold
_DPI = 110
_LONGEST, _LARGEST = 30_000, 100_000_000  # pixels of a picture's side, and of all of it
_ENOUGH = 3  # runs at a strength from which on a band says something


def draw(points: Sequence[Point], title: str) -> "Figure":
    """Return the figure: models and seeds together, bands 95 % intervals (from 3 runs on), dashed lines the law."""
    from matplotlib.figure import Figure

    attacks = sorted({point.attack for point in points})
    schemes = sorted({(point.scheme, point.payload) for point in points})
    columns = min(5, max(1, len(attacks)))
    bands = -(-len(attacks) // columns)
    figure = Figure(figsize=(3.4 * columns, 4.6 * bands), layout="constrained")
    axes = figure.subplots(2 * bands, columns, squeeze=False)
    for index in range(bands * columns):
        upper, lower = (
            axes[2 * (index // columns)][index % columns],
            axes[2 * (index // columns) + 1][index % columns],
        )
        if index >= len(attacks):
            upper.set_axis_off()
            lower.set_axis_off()
            continue
        for number, scheme in enumerate(schemes):
            own = [p for p in points if p.attack == attacks[index] and (p.scheme, p.payload) == scheme]
            if own:
                _lines(upper, lower, own, number)
        _dress(upper, lower, attacks[index], first=index % columns == 0)
    _legend(figure, schemes)
    figure.suptitle(in_picture(title))
    return figure


def _lines(upper: Any, lower: Any, points: Sequence[Point], number: int) -> None:  # noqa: ANN401 (axes)
    along = pooled(points)
    strengths, counts = [point.strength for point in along], [point.exact for point in along]
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    style = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.4}
    upper.plot(strengths, [hits / total for hits, total in counts], **style)
    if min(total for _, total in counts) >= _ENOUGH:
        upper.fill_between(
            strengths,
            *zip(*(point.exact_interval for point in along), strict=True),
            color=colour,
            alpha=0.12,
            linewidth=0,
        )
    if along[0].law is not None:
        upper.plot(strengths, [point.law for point in along], color=colour, linestyle="--", linewidth=1)
    accuracies = [point.mean(lambda run: run.row.accuracy.percent) for point in along]
    lower.plot(strengths, accuracies, **style)


def _dress(upper: Any, lower: Any, attack: str, *, first: bool) -> None:  # noqa: ANN401 (axes)
    upper.set_title(in_picture(attack), fontsize=9)
    upper.set_ylim(-0.05, 1.05)
    lower.set_ylim(0, 102)
    lower.set_xlabel("strength", fontsize=8)
    if first:
        upper.set_ylabel("exact match", fontsize=8)
        lower.set_ylabel("accuracy, %", fontsize=8)
    for axis in (upper, lower):
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)


def _legend(figure: "Figure", schemes: Sequence[tuple[str, int]]) -> None:
    from matplotlib.lines import Line2D

    names = [in_picture(f"{scheme}, {bits} bits") for scheme, bits in schemes]
    handles = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], label=name)
        for i, name in enumerate(names)
    ]
    handles.append(Line2D([], [], color="grey", linestyle="--", label="law"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(5, len(handles)), fontsize=8, frameon=False
    )


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG, without a date in it, so that equal results give equal files."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_dpi(figure), metadata={"Software": None})


def _dpi(figure: "Figure") -> float:
    """Return the dots per inch of a picture: fewer where very many schemes or attacks would make it too large."""
    width, height = figure.get_size_inches()
    return float(min(_DPI, _LONGEST / max(width, height), math.sqrt(_LARGEST / (width * height))))
