"""How far each compression attack goes on unmarked models: derived from the records of two suites.

Run ``cwwm-bench run compression-anchors`` and ``cwwm-bench run compression-reach`` (an hour or two, and three to
four, of one core; a later run goes on where one stopped), then
``python -m bench.studies.compression -o results/compression.md``.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer
from tabulate import tabulate

from bench.calibration.attack_levels import chosen
from bench.leaderboard.pictures import save
from bench.leaderboard.points import Point, gather
from bench.records.store import RecordStore
from bench.studies.compression_picture import draw_reach, lost
from bench.studies.output import Output, publish
from cwwm.support.console import DONE, run_program
from cwwm.support.errors import BadInput

LEVELS = (0.0, 1.0, 3.0)  # points of accuracy lost
#: the papers' own figures on MNIST, which are no measurement of ours
PAPERS = (
    ("LeNet-5 71.2x", "ADMM, no loss from 99.2 %", "arXiv 1804.03294, Table 2"),
    ("LeNet-5 167x, 5/3/2/3 bits", "0.1 (clusters) and 0.2 (levels) points lost, data 1910x, with index 623x",
     "arXiv 1811.01907, Table 1"),
    ("LeNet-5 167x, pruned only", "99.0 from 99.2 %", "arXiv 1810.07378"),
    ("LeNet-5 17.69x and 105.52x, crossbars, 6 bits", "0.1 and 0.2 points lost by the bits", "arXiv 1908.11691"),
    ("LeNet-300-100 22.9x", "ADMM, no loss from 98.4 %", "arXiv 1804.03294, Table 1"),
    ("ResNet-18, CIFAR-10, 11.75x and 20.88x, crossbars", "0.5 and 0.6 points lost", "arXiv 1908.11691"),
)  # fmt: skip


def curves(points: Iterable[Point]) -> dict[tuple[str, str], list[Point]]:
    """Return the points of each (model, attack), in the order of strength."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        groups.setdefault((point.model, point.attack), []).append(point)
    return {key: sorted(group, key=lambda point: point.strength) for key, group in groups.items()}


def anchors_table(points: Sequence[Point]) -> str:
    """Return what each setting of the papers comes to here: means over seeds, with their range."""
    rows = [_anchor(point) for point in points]
    return _table(
        rows,
        ("attack", "ratio", "hard %", "pruned %", "final %", "points lost", "data ratio", "with index", "seconds"),
    )


def _anchor(point: Point) -> list[str]:
    ratio = point.mean(lambda run: run.row.achieved.compression)
    losses = [lost(run) for run in point.runs]
    stages = [point.mean(lambda run, key=key: getattr(run.row.achieved, key)) for key in _STAGES]  # type: ignore[misc]
    final = fmean(run.row.accuracy.percent for run in point.runs)
    data = [point.mean(lambda run, key=key: getattr(run.row.achieved, key)) for key in _DATA]  # type: ignore[misc]
    seconds = point.median(lambda run: run.row.timing.attack_s)
    spread = f"{fmean(losses):.2f} [{min(losses):.2f}, {max(losses):.2f}]"
    return [
        point.attack,
        f"{ratio:.1f}",
        *(_number(stage, 2) for stage in stages),
        f"{final:.2f}",
        spread,
        *(_number(ratio, 0) for ratio in data),
        f"{seconds:.0f}",
    ]


_STAGES = ("hard_accuracy", "pruned_accuracy")
_DATA = ("data_ratio", "ratio_with_index")


def reach_table(points: Sequence[Point]) -> str:
    """Return the hardest ratio of each attack whose mean loss over the seeds is at most each level."""
    rows = []
    for (model, attack), curve in sorted(curves(points).items()):
        levels = chosen({p.strength: fmean(lost(run) for run in p.runs) for p in curve}, LEVELS)
        by_strength = {p.strength: p for p in curve}
        reached = [_reached(None if strength is None else by_strength[strength]) for strength in levels.values()]
        steps = max(point.median(lambda run: run.row.cost.steps) for point in curve)
        seconds = max(point.median(lambda run: run.row.timing.attack_s) for point in curve)
        rows.append([model, attack, *reached, f"{steps:.0f}", f"{seconds:.0f}", _hardware(curve)])
    headers = ("model", "attack", *(f"at {level:g} points lost" for level in LEVELS), "steps", "seconds", "on")
    return _table(rows, headers)


def _reached(point: Point | None) -> str:
    """Return the measured weight ratio of a point, with the data ratio if values are shared."""
    if point is None:
        return "-"
    ratio = point.mean(lambda run: run.row.achieved.compression)
    data = point.mean(lambda run: run.row.achieved.data_ratio)
    return f"{ratio:.1f}" if data is None else f"{ratio:.1f} (data {data:.0f})"


def _hardware(points: Iterable[Point]) -> str:
    return "; ".join(sorted({run.record.environment.hardware for point in points for run in point.runs}))


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _table(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def page(anchors: Sequence[Point], reach: Sequence[Point], environment: str, picture: str) -> str:
    """Return the study as Markdown; `picture` is the name of the file with the curves."""
    seeds = max(len(point.runs) for point in (*anchors, *reach))
    papers = _table(PAPERS, ("setting", "result on the papers' data", "source"))
    return f"""\
# Compression as an attack: how far it goes on unmarked models

Means over {seeds} seeds; points lost are those of the unmarked control, in brackets the least and the most of a
seed; negative is a gain. "hard" is the accuracy after zeroing, before any retraining; "pruned" after retraining;
"final" after levels, clusters or devices. Data ratios count values only, as the papers do; "with index" adds
gap-coded positions at the cheapest width of each layer, filler values included.

Measured on: {environment}.

## The papers' own settings, LeNet-5 on digits

{anchors_table(anchors)}

The papers' figures, on MNIST and CIFAR-10, theirs and not measured here:

{papers}

## The ratio reached at 0, 1 and 3 points of lost accuracy

The hardest ratio tried whose mean loss stays within the level; "-" where the mildest loses more. The attacks
train for 15 to 25 epochs; their optimiser steps, the seconds of the longest run, and what it ran on are in the last
columns. Seconds compare on equal hardware only, and unmarked models that were trained elsewhere are others.

{reach_table(reach)}

![Points of accuracy lost against the ratio]({picture})
"""


def _points(folder: Path, suite: str) -> list[Point]:
    points = gather(RecordStore(folder).records()) if RecordStore(folder).exists else []
    if not points:
        raise BadInput(f"{folder} holds no records; run first: cwwm-bench run {suite} --out {folder}")
    return points


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    anchors: Annotated[Path, typer.Option(help="Records of suite compression-anchors.")] = Path(
        "results/compression-anchors"
    ),
    reach: Annotated[Path, typer.Option(help="Records of suite compression-reach.")] = Path(
        "results/compression-reach"
    ),
) -> int:
    """Derive the tables from the records of both suites, print and write them."""
    found = _points(anchors, "compression-anchors"), _points(reach, "compression-reach")
    picture = output.with_suffix(".png")
    text = page(*found, _hardware([*found[0], *found[1]]), picture.name)
    save(draw_reach(curves(found[1]), LEVELS), picture)
    publish(text, output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.compression")
