"""What all pictures share: colours, markers, and how a figure becomes a file."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from cwwm.support.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers can tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = "osD^vPX*"
_DPI = 100
_LONGEST, _LARGEST = 30_000, 100_000_000  # pixels of a picture's side, and of all of it


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG, without a date in it, so that equal results give equal files."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_dpi(figure), metadata={"Software": None})


def _dpi(figure: "Figure") -> float:
    """Return the dots per inch of a picture: fewer where very many schemes or attacks would make it too large."""
    width, height = figure.get_size_inches()
    return float(min(_DPI, _LONGEST / max(width, height), math.sqrt(_LARGEST / (width * height))))
