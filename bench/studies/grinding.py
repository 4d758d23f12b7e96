"""The grinding curve: the best p-value that a claimant finds by trying salts, and what the tries cost."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bench.leaderboard.pictures import COLOURS
from bench.metrics.false_positives import Floats
from cwwm.ownership.evidence import PROOF_RATE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TARGETS = (1e-2, 1e-4, 1e-6, 1e-9, PROOF_RATE)
LEAST_CLAIMANTS = 10  # of whom a median is taken
_UNITS = ((60.0, "s"), (3600.0, "min"), (86_400.0, "h"), (365.25 * 86_400, "days"))  # each up to so many seconds
_YEAR = 365.25 * 86_400


class Tries(Protocol):
    """The p-values of claims that were tried one after the other on one suspect."""

    @property
    def form(self) -> str:
        """Return what the marks are called."""
        ...

    @property
    def suspect(self) -> str:
        """Return the suspect's name."""
        ...

    @property
    def log10_p(self) -> Floats:
        """Return the p-values, in the order of the tries."""
        ...


def median_best(log10_p: Floats, tries: int) -> float | None:
    """Return the median over claimants of `tries` tries each of their lowest log10 p; None for too few."""
    claimants = len(log10_p) // tries
    if claimants < LEAST_CLAIMANTS:
        return None
    return float(np.median(log10_p[: claimants * tries].reshape(claimants, tries).min(axis=1)))


def grinding_rows(found: Sequence[Tries], stretch: float) -> list[tuple[object, ...]]:
    """Return a row for each target: tries and core time by law, and the best that as many tries really found."""
    rows: list[tuple[object, ...]] = []
    for target in TARGETS:
        tries = round(1 / target)
        measured = [median_best(one.log10_p, tries) for one in _on_the_base(found)]
        shown = ["-" if best is None else f"{best:.1f}" for best in measured]
        rows.append((f"{target:g}", f"{tries:,}", core_time(tries * stretch), *shown))
    return rows


def best_of(found: Sequence[Tries]) -> list[str]:
    """Return the headers of the measured columns."""
    return [f"best log10 p, {one.form}" for one in _on_the_base(found)]


def core_time(seconds: float) -> str:
    """Return seconds of one core in a unit that reads well."""
    scale = 1.0
    for limit, unit in _UNITS:
        if seconds < limit:
            return f"{seconds / scale:.3g} {unit}"
        scale = limit
    return f"{seconds / _YEAR:,.0f} years"


def draw_grinding(found: Sequence[Tries], stretch: float) -> "Figure":
    """Return the figure: lowest p against tries, with the law, the rate of a proof, and the core time above."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.6), layout="constrained")
    axis = figure.subplots()
    for number, one in enumerate(_on_the_base(found)):
        counts = [tries for tries in np.logspace(0, 12, 49).round().astype(int) if len(one.log10_p) >= 10 * tries]
        best = [median_best(one.log10_p, int(tries)) or 0.0 for tries in counts]
        axis.plot(counts, 10.0 ** np.array(best), color=COLOURS[number], marker=".", label=one.form)
    law = np.logspace(0, 13, 2)
    axis.plot(law, 1 / law, color="0.4", linestyle="--", label="by law: 1 / tries")
    axis.axhline(PROOF_RATE, color="black", linewidth=1)
    axis.annotate(f"a proof: {PROOF_RATE:g}", (1.5, PROOF_RATE), xytext=(0, 4), textcoords="offset points")
    axis.set(xscale="log", yscale="log", xlabel="salts tried", ylabel="lowest p-value found on a known base")
    above = axis.secondary_xaxis(
        "top", functions=(partial(np.multiply, stretch), partial(np.multiply, 1 / stretch))
    )
    marks = [60.0, 86_400.0, _YEAR, 1000 * _YEAR]
    above.set_xticks(marks, ["a minute", "a day", "a year", "1,000 years"])
    above.set_xlabel("time of one core")
    axis.legend()
    return figure


def _on_the_base(found: Sequence[Tries]) -> list[Tries]:
    return [one for one in found if one.suspect == "unmarked"]
