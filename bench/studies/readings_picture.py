"""The picture of the study on readings: a grid of encodings and readers, coloured by what outlives attacks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bench.leaderboard.attacker_tiers import FREE, SMALL, WEIGHTS
from bench.support.plain_text import in_picture
from cwwm.readers import READERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# all in inches
_WIDTH = 8.0  # 800 pixels at the resolution of pictures here
_HIGH, _AROUND = 0.32, 1.1  # a line, and what stands above and below
_DARK = 0.5  # share up to which the field is dark, and its number light


class Cell(Protocol):
    """What a field shows; see `bench.studies.readings.Reading`."""

    @property
    def reader(self) -> str:
        """How suspects are read."""
        ...

    def survival(self, tiers: Sequence[int]) -> tuple[int, int]:
        """Return how many runs outlive these tiers, and of how many."""
        ...


def draw_grid(readings: Mapping[str, Sequence[Cell]]) -> "Figure":
    """Return the figure: a line an encoding, in the order given, a column a reader, S(1) in each field.

    The left panel is of attackers of tiers 1 and 2, the right one of tiers 0 to 2, which has free moves, too.
    Fields without runs are grey.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _AROUND + _HIGH * len(readings)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axis, about, first in ((left, "without free moves", WEIGHTS), (right, "with free moves", FREE)):
        axis.set_title(f"tiers {first} to {SMALL}, {about}", fontsize=10)
        _panel(axis, readings, range(first, SMALL + 1))
    left.set_yticks(range(len(readings)), [in_picture(name) for name in readings], fontsize=10)
    figure.suptitle(
        "S(1): share of runs whose message outlives every attack that costs 1 point at most", fontsize=10
    )
    return figure


def _panel(axis: "Axes", readings: Mapping[str, Sequence[Cell]], tiers: Sequence[int]) -> None:
    shares = np.array([[_share(own, reader, tiers) for reader in READERS] for own in readings.values()], float)
    axis.imshow(np.ma.masked_invalid(shares), cmap="cividis", vmin=0, vmax=1, aspect="auto")
    axis.set_facecolor("0.85")
    axis.set_xticks(range(len(READERS)), list(READERS), fontsize=10)
    axis.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    for (line, column), share in np.ndenumerate(shares):
        text, colour = ("-", "0.3") if np.isnan(share) else (f"{share:.2f}", "w" if share <= _DARK else "k")
        axis.text(column, line, text, ha="center", va="center", color=colour, fontsize=10)


def _share(readings: Sequence[Cell], reader: str, tiers: Sequence[int]) -> float:
    """Return S(1) of one field, NaN where nothing is counted."""
    for reading in readings:
        if reading.reader == reader:
            kept, counted = reading.survival(tiers)
            return kept / counted if counted else np.nan
    return np.nan
