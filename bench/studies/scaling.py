"""A model of 10,000 cells on 64 GPUs, from what cells took here: how busy they are, the tail, what bounds it.

Run it with ``python -m bench.studies.scaling results/scaling/durations.json -o results/scaling.md``. The file says
what cells took in runs on one machine (``durations.json`` of a run, several of them together with ``--gather``).
Another machine that is faster by one factor for all of them changes every time, and no share.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from tabulate import tabulate

from bench.execution.cluster.schedule import Job, Schedule, as_driven, longest_first, simulate
from bench.studies.output import Output, publish
from cwwm.support.console import DONE, run_app
from cwwm.support.errors import BadInput
from cwwm.support.files import read_json, write_atomic

CELLS = 10_000
SLOTS = (1, 8, 64, 128, 512)
OVERHEAD = 1.0  # seconds a task
_Kind = tuple[str, str, int, str, str]


@dataclass(frozen=True)
class Mark:
    """A marked model of the workload: its network, and the seconds of it and of all its cells."""

    model: str
    kind: str
    seconds: float
    cells: int


@dataclass(frozen=True)
class Workload:
    """What is run: marked models with all their cells, for every seed anew.

    Attributes:
        marks: of one seed. making: seconds of a network's unmarked models, by its name.
    """

    marks: Sequence[Mark]
    making: dict[str, float]

    def jobs(self, cells: int) -> list[Job]:
        """Return so many seeds of it that there are at least so many cells."""
        jobs, there = list[Job](), 0
        for seed in count():
            for mark in self.marks:
                jobs.append(Job(f"{mark.model} #{seed}", self.making[mark.model], mark.seconds, mark.kind))
                there += mark.cells
            if there >= cells:
                return jobs
        raise AssertionError


def workload(seconds: dict[_Kind, float]) -> Workload:
    """Return the workload of measured kinds of cells.

    The first cell of a mark makes it, and the first of a network makes that: what the latter took beyond the
    median of cells of the same attack that made a mark only is the making of the network.
    """
    making = _making(seconds)
    marks: dict[tuple[str, str, int], dict[str, float]] = defaultdict(dict)
    for what in ("nothing", "mark", "host"):  # a later one goes before: it holds what is made
        for (model, scheme, payload, attack, made), taken in seconds.items():
            if made == what:
                own = taken if made != "host" else max(0.0, taken - making[model])
                marks[model, scheme, payload][attack] = own
    return Workload(
        [Mark(key[0], str(key), sum(own.values()), len(own)) for key, own in sorted(marks.items())], making
    )


def _making(seconds: dict[_Kind, float]) -> dict[str, float]:
    found: dict[str, list[float]] = {model: [] for model, *_ in seconds}
    for (model, _, _, attack, made), taken in seconds.items():
        if made == "host":
            like = [s for (m, _, _, a, what), s in seconds.items() if (m, a, what) == (model, attack, "mark")]
            found[model].append(max(0.0, taken - median(like or [0.0])))
    return {model: median(own or [0.0]) for model, own in found.items()}


def gathered(paths: Iterable[Path]) -> tuple[str, dict[_Kind, float]]:
    """Return the hardware of files of durations, and the median seconds of each kind of cell.

    Raises:
        BadInput: if they are of more than one kind of hardware.
    """
    found: dict[_Kind, list[float]] = defaultdict(list)
    hardware = set()
    for path in paths:
        value = read_json(path, "file of durations")
        hardware.add(value["hardware"])
        for model, scheme, payload, attack, made, taken in value["cells"]:
            found[model, scheme, payload, attack, made].append(taken)
    if len(hardware) != 1:
        raise BadInput("the files of durations are of several kinds of hardware: " + ", ".join(sorted(hardware)))
    return hardware.pop(), {kind: round(median(taken), 3) for kind, taken in sorted(found.items())}


def report(hardware: str, load: Workload) -> str:
    """Return the page."""
    jobs = load.jobs(CELLS)
    cells = sum(mark.cells for mark in load.marks) * len(jobs) // len(load.marks)
    own = sorted(job.own for job in jobs)
    rows = [
        (name, slots, *_row(simulate(order, slots, OVERHEAD)))
        for name, order in (
            ("as listed", jobs),
            ("driver's", as_driven(jobs)),
            ("longest first", longest_first(jobs)),
        )
        for slots in SLOTS
    ]
    head = (
        "order", "slots", "wall time, h", "slots at work, %", "tail, min", "longest way, min", "bound by",
    )  # fmt: skip
    return "\n".join(
        (
            "# A model of 10,000 cells on many GPUs",
            "",
            f"{cells:,} cells in {len(jobs)} tasks, a marked model each, with {len({j.host for j in jobs})} "
            f"networks ({', '.join(sorted(load.making))}). A task takes {median(own) / 60:.1f} minutes in the "
            f"median and {own[-1] / 60:.1f} at most, and {OVERHEAD:g} second beside; a network "
            f"{min(load.making.values()):.0f} to {max(load.making.values()):.0f} seconds. All of it as cells took "
            f"on {hardware}, beside other work: no time here is that of a GPU. Shares and the bound hold where "
            "another machine is faster by one factor for every cell.",
            "",
            "A slot runs one task; a GPU has as many as tasks fit into its memory. The tail begins when the first "
            "slot has nothing more to do. The longest way is a network and the longest task on it: no number of "
            "slots shortens it. The driver's order is one task of each kind (network, scheme, payload), then the "
            "longest first; before these are measured it knows nothing of them.",
            "",
            tabulate(rows, head, "github", disable_numparse=True),
            "",
        )
    )


def _row(found: Schedule) -> tuple[str, ...]:
    return (
        f"{found.makespan / 3600:.2f}",
        f"{100 * found.utilisation:.0f}",
        f"{found.tail / 60:.0f}",
        f"{found.longest / 60:.0f}",
        found.bound,
    )


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    durations: Annotated[list[Path], typer.Argument(help="Files of what cells took.")],
    output: Output,
    gather: Annotated[
        Path | None, typer.Option("--gather", help="Also write them to this file, the median of each kind.")
    ] = None,
) -> int:
    """Print a model of 10,000 cells on many GPUs."""
    hardware, seconds = gathered(durations)
    if gather:
        lines = ",\n".join(json.dumps([*kind, taken]) for kind, taken in seconds.items())
        write_atomic(gather, f'{{"hardware": {json.dumps(hardware)}, "cells": [\n{lines}\n]}}\n'.encode())
    publish(report(hardware, workload(seconds)), output)
    return DONE


if __name__ == "__main__":
    raise SystemExit(run_app(app, "scaling"))
