"""The picture of capacity: payload against the strength survived, a panel an attack, a line a scheme.

Schemes that carry the same payload would hide one another, so each keeps a track of its own within the band of a
payload, and its name stands where its line ends.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bench.leaderboard.capacity import Capacity, capacities
from bench.leaderboard.pictures import COLOURS, MARKERS
from bench.leaderboard.points import Point
from bench.support.plain_text import in_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_READABLE = COLOURS[:-1]  # yellow is too faint for print
_STYLES = ("-", "--", "-.", ":")
_FULL = 0.85  # share of the distance of two payloads, in logarithms, that the tracks between them fill
_SPREAD = 0.5  # share of the distance of two strengths that the drops at one of them spread over
_TRACK = 0.125  # inches between tracks: what a name in small print needs
_AREAS = (8.0, 60.0)  # of a marker in points squared, at the least and the greatest energy


@dataclass(frozen=True)
class _Layout:
    """Where things stand: `band` and `step` are decades of payload, a band's and a track's."""

    payloads: Sequence[int]
    tracks: int
    energies: Sequence[float]

    @property
    def band(self) -> float:
        return _FULL * min(math.log10(b / a) for a, b in pairwise(self.payloads))

    @property
    def step(self) -> float:
        return self.band / self.tracks

    def shift(self, track: int) -> float:
        """Return how far a track lies from the middle of its band, in [-1/2, 1/2]."""
        return (track + 0.5) / self.tracks - 0.5

    def below(self, row: int) -> float:
        """Return the payload at which the name of a scheme that carried nothing stands."""
        return float(self.payloads[0] * 10 ** (-0.6 * self.band - (row + 1) * self.step))

    def area(self, energy: float | None) -> float:
        """Return a marker's area: it grows with the logarithm of the energy."""
        low, high = _AREAS
        if not energy or min(self.energies) == max(self.energies):
            return low
        least, most = math.log(min(self.energies)), math.log(max(self.energies))
        return low + (math.log(energy) - least) / (most - least) * (high - low)


def draw_capacity(points: Sequence[Point], title: str) -> "Figure":
    """Return the figure; at least two payloads are needed. A marker's area grows with the energy of its marks."""
    from matplotlib.figure import Figure

    found = capacities(points)
    attacks, schemes = sorted({c.attack for c in found}), sorted({c.scheme for c in found})
    energies = [c.energy for c in found if c.energy]
    layout = _Layout(sorted({point.payload for point in points}), len(schemes), energies)
    rows = math.log10(layout.payloads[-1] / layout.payloads[0]) / layout.step + 1.5 * len(schemes)
    figure = Figure(figsize=(8.0 * len(attacks), 1.6 + max(3.0, _TRACK * rows)), layout="constrained")
    axes = figure.subplots(1, len(attacks), squeeze=False)[0]
    for axis, attack in zip(axes, attacks, strict=True):
        _panel(axis, [c for c in found if c.attack == attack], schemes, layout)
        axis.set_title(in_picture(attack))
    axes[0].set_ylabel("largest payload recovered in every run, bits (a track a scheme in each band)")
    _energy_legend(figure, layout)
    figure.suptitle(in_picture(title))
    return figure


def _panel(axis: Any, found: Sequence[Capacity], schemes: Sequence[str], layout: _Layout) -> None:  # noqa: ANN401
    strengths = sorted({c.strength for c in found})
    kept = {s: [c for c in found if c.scheme == s and c.payload] for s in schemes}
    for bits in layout.payloads:
        axis.axhspan(bits * 10 ** (-layout.band / 2), bits * 10 ** (layout.band / 2), color="0.96", zorder=0)
    row = 0
    for track, scheme in enumerate(sorted(schemes, key=lambda s: (_lasting(kept[s]), s))):
        if kept[scheme]:
            _line(axis, kept[scheme], strengths, track, schemes.index(scheme), layout)
        else:
            axis.text(-0.4, layout.below(row), in_picture(scheme), color="0.3", fontsize=6.5, va="center")
            row += 1
    axis.set_yscale("log")
    axis.set_ylim(layout.below(row), layout.payloads[-1] * 10 ** (0.6 * layout.band))
    none = [(layout.below(0), "none")] if row else []
    places, names = zip(*none, *((bits, str(bits)) for bits in layout.payloads), strict=True)
    axis.set_yticks(places, names)
    axis.minorticks_off()
    axis.set_xticks(range(len(strengths)), [f"{strength:g}" for strength in strengths], fontsize=7)
    axis.set_xlim(-0.5, len(strengths) * 1.25)
    axis.set_xlabel("strength of the attack (evenly spaced)")
    axis.grid(axis="x", alpha=0.3)


def _lasting(kept: Sequence[Capacity]) -> tuple[float, int]:
    """Return the highest strength at which anything came back, and the sum of all that did: orders the tracks."""
    return max((c.strength for c in kept), default=-1.0), sum(c.payload for c in kept)


def _line(
    axis: Any,  # noqa: ANN401
    kept: Sequence[Capacity],
    strengths: Sequence[float],
    track: int,
    number: int,
    layout: _Layout,
) -> None:
    """Draw one scheme: steps to the last strength it survived, a marker where its payload drops, its name."""
    shift = layout.shift(track)
    x = [strengths.index(c.strength) + _SPREAD * shift for c in kept]
    y = [c.payload * 10 ** (shift * layout.band) for c in kept]
    colour, dashes = _READABLE[number % len(_READABLE)], _STYLES[number // len(_READABLE) % len(_STYLES)]
    axis.step(x, y, where="post", color=colour, linestyle=dashes, linewidth=1.1)
    last = [i for i, c in enumerate(kept) if i + 1 == len(kept) or kept[i + 1].payload != c.payload]
    areas = [layout.area(kept[i].energy) for i in last]
    marker = MARKERS[number % len(MARKERS)]
    axis.scatter([x[i] for i in last], [y[i] for i in last], s=areas, color=colour, marker=marker, zorder=3)
    paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.4}
    style = {"color": colour, "fontsize": 6.5, "va": "center", "zorder": 4, "bbox": paper}
    axis.text(x[-1] + 0.15, y[-1], in_picture(kept[0].scheme), **style)


def _energy_legend(figure: "Figure", layout: _Layout) -> None:
    from matplotlib.lines import Line2D

    if not layout.energies:
        return
    least, most = min(layout.energies), max(layout.energies)
    handles = [
        Line2D(
            [], [], linestyle="", marker="o", color="0.4", markersize=math.sqrt(layout.area(e)), label=f"{e:.1e}"
        )
        for e in sorted({least, math.sqrt(least * most), most})
    ]
    figure.legend(handles=handles, title="energy", loc="outside lower center", ncols=len(handles), frameon=False)
