"""The picture of the study on readings: a grid of encodings and readers, coloured by what outlives attacks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

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


def draw_grid(readings: Mapping[str, Sequence[Cell]], tiers: Sequence[int]) -> "Figure":
    """Return the figure: a line an encoding, in the order given, a column a reader, S(1) in each field.

    A field without runs is grey.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _AROUND + _HIGH * len(readings)), layout="constrained")
    axis = figure.add_subplot()
    shares = np.array([[_share(own, reader, tiers) for reader in READERS] for own in readings.values()], float)
    colours = axis.imshow(np.ma.masked_invalid(shares), cmap="cividis", vmin=0, vmax=1, aspect="auto")
    axis.set_facecolor("0.85")
    _label(axis, list(readings), shares)
    figure.colorbar(colours, ax=axis, label=f"S(1), tiers {min(tiers)} to {max(tiers)}", pad=0.02)
    axis.set_title("runs whose message outlives every attack that costs 1 point at most", fontsize=11)
    return figure


def _share(readings: Sequence[Cell], reader: str, tiers: Sequence[int]) -> float:
    """Return S(1) of one field, NaN where nothing is counted."""
    for reading in readings:
        if reading.reader == reader:
            kept, counted = reading.survival(tiers)
            return kept / counted if counted else np.nan
    return np.nan


def _label(
    axis: "Axes", encodings: Sequence[str], shares: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> None:
    axis.set_xticks(range(len(READERS)), list(READERS), fontsize=11)
    axis.set_yticks(range(len(encodings)), [in_picture(name) for name in encodings], fontsize=11)
    axis.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    for (line, column), share in np.ndenumerate(shares):
        text, colour = ("-", "0.3") if np.isnan(share) else (f"{share:.2f}", "w" if share <= _DARK else "k")
        axis.text(column, line, text, ha="center", va="center", color=colour, fontsize=11)
