"""The history of the nightly runs: a line each in a file, the trend as a table and a small picture."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.leaderboard.pictures import COLOURS, MARKERS
from bench.leaderboard.points import by_scheme, gather
from bench.leaderboard.table_text import table_text
from bench.records.fields import Amount, Count, Log10, Name, Share
from bench.records.record import Record
from bench.support.plain_text import in_picture
from bench.support.schema import plain_faults
from bench.support.untrusted_io import parse_object, read_bounded
from cwwm.support.errors import BadInput
from cwwm.support.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 14  # that the trend shows
_PANELS = {
    "exact": "messages recovered, share",
    "log10_p": "log10 p, mean",
    "accuracy": "marked accuracy, %",
    "extract_ms": "extraction, ms (not judged)",
}

_HISTORY_BYTES = 64 << 20  # a nightly run takes a few thousand

NightlyRun = dict[str, Any]


class _Means(BaseModel):
    """What `scheme_facts` says of a scheme."""

    model_config = ConfigDict(strict=True)

    exact: Share
    log10_p: Log10
    accuracy: Amount
    extract_ms: Amount


class _HistoryLine(BaseModel):
    """A line of the history: what the trend shows of a nightly run."""

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
            "exact": fmean(run.row.recovered for run in runs),
            "log10_p": fmean(run.row.log10_p for run in runs),
            "accuracy": fmean(run.record.marked.accuracy.percent for run in runs),
            "extract_ms": median(run.record.timing.extract_ms for run in runs),
        }
    return facts


def read_history(path: Path) -> list[NightlyRun]:
    """Return the nightly runs of a history file, the oldest first; none where there is no file."""
    if not path.exists():
        return []
    lines = read_bounded(path, "history", _HISTORY_BYTES).splitlines()
    return [_night(line, f"line {number} of history {path}") for number, line in enumerate(lines, 1)]


def _night(line: bytes, where: str) -> NightlyRun:
    nightly_run = parse_object(line, where)
    try:
        _HistoryLine.model_validate(nightly_run)
    except ValidationError as error:
        raise BadInput(f"{where} is damaged: {plain_faults(error, nightly_run)[0]}; mend or remove it") from error
    return nightly_run


def append_nightly(path: Path, nightly_run: NightlyRun) -> list[NightlyRun]:
    """Add a nightly run to a history file, and return all of them."""
    nightly_runs = [*read_history(path), nightly_run]
    write_atomic(path, "".join(json.dumps(n, allow_nan=False) + "\n" for n in nightly_runs).encode())
    return nightly_runs


def trend_table(nightly_runs: Sequence[NightlyRun]) -> str:
    """Return the last nightly runs as a Markdown table, the latest first."""
    schemes = sorted({scheme for nightly_run in nightly_runs[-SHOWN:] for scheme in nightly_run["schemes"]})
    rows: list[list[object]] = [
        [
            nightly_run["date"],
            nightly_run["commit"][:10],
            *(nightly_run[fact] for fact in ("verdict", "cells", "cut", "failed")),
            *(_exact(nightly_run["schemes"], scheme) for scheme in schemes),
        ]
        for nightly_run in reversed(nightly_runs[-SHOWN:])
    ]
    columns = ["nightly run", "commit", "verdict", "cells", "cut", "failed", *(f"recovered: {s}" for s in schemes)]
    return table_text((columns, rows))


def _exact(facts: Mapping[str, Mapping[str, float]], scheme: str) -> str:
    return f"{facts[scheme]['exact']:.3f}" if scheme in facts else ""


def draw_trend(nightly_runs: Sequence[NightlyRun]) -> "Figure":
    """Return the picture of the last nightly runs: a panel a number, a line a scheme."""
    from matplotlib.figure import Figure

    shown = nightly_runs[-SHOWN:]
    figure = Figure(figsize=(3.2 * len(_PANELS), 2.8), layout="constrained")
    for axis, (fact, title) in zip(figure.subplots(1, len(_PANELS)), _PANELS.items(), strict=True):
        for number, scheme in enumerate(sorted({s for nightly_run in shown for s in nightly_run["schemes"]})):
            own = [(i, n["schemes"][scheme][fact]) for i, n in enumerate(shown) if scheme in n["schemes"]]
            style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
            axis.plot(*zip(*own, strict=True), label=in_picture(scheme), markersize=4, linewidth=1.3, **style)
        axis.set_title(title, fontsize=9)
        days = [in_picture(nightly_run["date"][5:10]) for nightly_run in shown]
        axis.set_xticks(range(len(shown)), days, rotation=60, fontsize=7)
        axis.tick_params(axis="y", labelsize=7)
        axis.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=max(1, len(labels)), fontsize=8)
    return figure
