"""The picture of the study on reading against the original: SNR2 measured, against what its law says."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.leaderboard.pictures import COLOURS, MARKERS, save
from bench.support.plain_text import in_picture

_WIDTH, _HEIGHT = 8.0, 6.4
NEEDED = 500  # SNR2 from which on a message of 256 bits comes back
_LEAST = 1.0


def draw(readings: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw one point a suspect, filled where the message is recovered, and write the picture.

    Args:
        readings: fields of `bench.studies.informed.Reading`, with a law.
        path: PNG to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    axis = figure.subplots()
    groups = defaultdict[str, list[Mapping[str, Any]]](list)
    for one in readings:
        groups[str(one["attack"])].append(one)
    for number, (attack, points) in enumerate(groups.items()):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS) % len(MARKERS)]
        for one in points:
            face = colour if one["recovered"] else "none"
            at = max(_LEAST, one["law"]), max(_LEAST, one["informed"])
            axis.plot(*at, marker, color=colour, markerfacecolor=face, markersize=7, linestyle="none")
        axis.plot([], [], marker, color=colour, label=in_picture(attack), linestyle="none")
    ends = [_LEAST, max([NEEDED, *(max(one["law"], one["informed"]) for one in readings)]) * 2]
    axis.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
    axis.axhline(NEEDED, color="0.6", linewidth=1, linestyle=":", zorder=0)
    axis.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="SNR2 by law", ylabel="SNR2 measured")
    axis.set_title("Filled: message recovered; dotted: what 256 bits need; line: as the law says", fontsize=10)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    save(figure, path)
