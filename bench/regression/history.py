"""The history of the nights: a line each in a file, the trend as a table and a small picture."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.leaderboard.pictures import COLOURS, MARKERS
from bench.leaderboard.points import by_scheme, gather, percent
from bench.leaderboard.tables import table_text
from bench.records.fields import Amount, Count, Log10, Name, Record, Share
from bench.support.plain_text import in_picture
from bench.support.schema import plain_faults
from bench.support.untrusted_io import parse_object, read_bounded
from cwwm.support.errors import BadInput
from cwwm.support.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NIGHTS = 14  # that the trend shows
_PANELS = {
    "exact": "messages whole, share",
    "log10_p": "log10 p, mean",
    "accuracy": "marked accuracy, %",
    "extract_ms": "extraction, ms (not judged)",
}

_HISTORY_BYTES = 64 << 20  # a night takes a few thousand

Night = dict[str, Any]


class _Means(BaseModel):
    """What `scheme_facts` says of a scheme."""

    model_config = ConfigDict(strict=True)

    exact: Share
    log10_p: Log10
    accuracy: Amount
    extract_ms: Amount


class _NightLine(BaseModel):
    """A line of the history: what the trend shows of a night."""

    model_config = ConfigDict(strict=True)

    date: Name
    commit: Name
    verdict: Name
    cells: Count
    cut: Count
    failed: Count
    schemes: dict[Annotated[str, Field(max_length=400)], _Means]


def scheme_facts(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Return the means over all models, attacks and seeds of each (scheme, payload), for the trend."""
    facts = {}
    for (scheme, payload), points in by_scheme(gather(records)).items():
        runs = [run for point in points for run in point.runs]
        facts[f"{scheme}, {payload} bits"] = {
            "exact": fmean(run.row["exact"] for run in runs),
            "log10_p": fmean(run.row["log10_p"] for run in runs),
            "accuracy": fmean(percent(run.record["marked"]["accuracy"]) for run in runs),
            "extract_ms": median(run.record["timing"]["extract_ms"] for run in runs),
        }
    return facts


def read_history(path: Path) -> list[Night]:
    """Return the nights of a history file, the oldest first; none where there is no file."""
    if not path.exists():
        return []
    lines = read_bounded(path, "history", _HISTORY_BYTES).splitlines()
    return [_night(line, f"line {number} of history {path}") for number, line in enumerate(lines, 1)]


def _night(line: bytes, where: str) -> Night:
    night = parse_object(line, where)
    try:
        _NightLine.model_validate(night)
    except ValidationError as error:
        raise BadInput(f"{where} is damaged: {plain_faults(error, night)[0]}; mend or remove it") from error
    return night


def append_night(path: Path, night: Night) -> list[Night]:
    """Add a night to a history file, and return all of them."""
    nights = [*read_history(path), night]
    write_atomic(path, "".join(json.dumps(n, allow_nan=False) + "\n" for n in nights).encode())
    return nights


def trend_table(nights: Sequence[Night]) -> str:
    """Return the last nights as a Markdown table, the latest first."""
    schemes = sorted({scheme for night in nights[-NIGHTS:] for scheme in night["schemes"]})
    rows: list[list[object]] = [
        [
            night["date"],
            night["commit"][:10],
            *(night[fact] for fact in ("verdict", "cells", "cut", "failed")),
            *(_exact(night["schemes"], scheme) for scheme in schemes),
        ]
        for night in reversed(nights[-NIGHTS:])
    ]
    columns = ["night", "commit", "verdict", "cells", "cut", "failed", *(f"whole: {s}" for s in schemes)]
    return table_text((columns, rows))


def _exact(facts: Mapping[str, Mapping[str, float]], scheme: str) -> str:
    return f"{facts[scheme]['exact']:.3f}" if scheme in facts else ""


def draw_trend(nights: Sequence[Night]) -> "Figure":
    """Return the picture of the last nights: a panel a number, a line a scheme."""
    from matplotlib.figure import Figure

    shown = nights[-NIGHTS:]
    figure = Figure(figsize=(3.2 * len(_PANELS), 2.8), layout="constrained")
    for axis, (fact, title) in zip(figure.subplots(1, len(_PANELS)), _PANELS.items(), strict=True):
        for number, scheme in enumerate(sorted({s for night in shown for s in night["schemes"]})):
            own = [(i, n["schemes"][scheme][fact]) for i, n in enumerate(shown) if scheme in n["schemes"]]
            style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
            axis.plot(*zip(*own, strict=True), label=in_picture(scheme), markersize=4, linewidth=1.3, **style)
        axis.set_title(title, fontsize=9)
        days = [in_picture(night["date"][5:10]) for night in shown]
        axis.set_xticks(range(len(shown)), days, rotation=60, fontsize=7)
        axis.tick_params(axis="y", labelsize=7)
        axis.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=max(1, len(labels)), fontsize=8)
    return figure
