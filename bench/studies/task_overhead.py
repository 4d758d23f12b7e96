"""What a task of an engine costs beside its cells, in seconds of a slot and of processors, on this machine.

Run it with ``python -m bench.studies.task_overhead -o results/task-overhead.md``. Each task is one cell of suite
zoo, an untrained network that is marked and pruned, and the same cells are run in this process as well.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from tabulate import tabulate

from bench.cli.options import chosen_suite, say
from bench.execution.cluster.opening import INLINE, RAY, SLURM, Wanted, opened
from bench.execution.executors import Executor, Sequential
from bench.execution.executors.base import SILENT
from bench.execution.model_factory import ModelFactory
from bench.records.store import RecordStore
from bench.studies.output import Output, measured_on, publish
from bench.suite.cell import Cell
from bench.suite.expand import cells
from bench.support.artifact_store import ArtefactStore
from bench.support.environment import OthersLoad, prepare
from cwwm.support.console import DONE, run_app

SLOTS, WARM = 2, 4  # tasks at once; tasks before the clock starts
MODEL = "test_vit"


@dataclass(frozen=True)
class Took:
    """What tasks took.

    Attributes:
        engine: its name. tasks: how many. slot, processor: seconds of a task. others: share of the machine that
            other work took meanwhile.
    """

    engine: str
    tasks: int
    slot: float
    processor: float
    others: float


def processor_seconds() -> float:
    """Return the processor seconds of this process, of those below it, and of those below that have ended."""
    stats = dict(_stats())
    mine, found = {os.getpid()}, set[int]()
    while mine:
        found |= mine
        mine = {pid for pid, (parent, _) in stats.items() if parent in mine}
    return sum(stats[pid][1] for pid in found if pid in stats)


def _stats() -> Iterator[tuple[int, tuple[int, float]]]:
    """Yield each process of this machine with its parent and its processor seconds."""
    hertz = os.sysconf("SC_CLK_TCK")
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            fields = path.read_text().rpartition(")")[2].split()
            yield int(path.parent.name), (int(fields[1]), sum(map(int, fields[11:15])) / hertz)


def took(engine: str, executor: Executor, todo: Sequence[Cell], slots: int) -> Took:
    """Run cells, each of them a task, and return what they took once as many as `WARM` were run before."""
    list(executor.run(todo[:WARM], SILENT))
    load, began, spent, waited = OthersLoad(), time.monotonic(), processor_seconds(), _waited()
    done = len(list(executor.run(todo[WARM:], SILENT)))
    wall, processor = time.monotonic() - began, processor_seconds() - spent
    below = processor - (_waited() - waited)  # of processes below this one that live on, which are no others
    others = (load.share() or 0.0) - below / (wall * (os.cpu_count() or 1))
    return Took(engine, done, slots * wall / done, processor / done, max(0.0, others))


def _waited() -> float:
    """Return the processor seconds of this process, and of those that it waited for."""
    return sum(os.times()[:4])


def measured(engine: str, todo: Sequence[Cell], folder: Path) -> Took:
    """Return what cells take on an engine of this machine that works in a folder."""
    record_store = RecordStore(folder / "out")
    if engine == INLINE:
        factory = ModelFactory(ArtefactStore(folder / "artefacts"), torch.device("cpu"))
        return took(engine, Sequential(record_store, factory), todo, 1)
    parameters = {"cluster": "local"} if engine == SLURM else {}
    wanted = Wanted(engine, str(folder / "shared"), slots=SLOTS, parameters=parameters)
    with opened(wanted, "cpu", threads=1, plugins=(), cache_bytes=1 << 30, say=say) as cluster:
        assert cluster is not None
        slots = SLOTS if engine == SLURM else round(cluster.engine.slots())
        return took(engine, cluster.executor(record_store, todo, stop=False), todo, slots)


def report(found: Sequence[Took]) -> str:
    """Return the page; the first of the engines is this process."""
    inline = found[0]
    rows = [
        (
            one.engine, one.tasks, f"{one.slot:.2f}", f"{one.processor:.2f}", f"{one.slot - inline.slot:.2f}",
            f"{one.processor - inline.processor:.2f}", f"{100 * one.others:.0f}",
        )
        for one in found
    ]  # fmt: skip
    head = (
        "engine", "tasks", "slot, s a task", "processors, s a task", "slot beside the cell, s",
        "processors beside the cell, s", "of the machine taken by others, %",
    )  # fmt: skip
    about = (
        f"A task here is one cell: an untrained {MODEL} is marked and pruned. It is run in this process "
        "(`inline`), on a Ray that is started on this machine, and as jobs of submitit in processes of this "
        "machine (`cluster=local`), driver included. The first tasks, with which Ray's workers begin, are not "
        "counted; of submitit's jobs each is a new process, which imports torch. Seconds of a slot depend on what "
        f"else the machine did, those of processors less so. {measured_on(torch.device('cpu'))}."
    )
    table = tabulate(rows, head, "github", disable_numparse=True)
    return f"# What a task costs beside its cells\n\n{about}\n\n{table}\n"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    tasks: Annotated[int, typer.Option(min=1, help="Tasks of each engine but Slurm's.")] = 60,
    jobs: Annotated[int, typer.Option(min=1, help="Tasks of submitit's jobs.")] = 12,
) -> int:
    """Print what a task costs beside its cells."""
    os.environ.setdefault("RAY_worker_niceness", "0")  # else its workers, and only they, yield to all others
    todo = cells(chosen_suite("zoo", [MODEL], None, None, tasks + WARM), prepare(torch.device("cpu"), 1))
    found = []
    for engine, count in ((INLINE, tasks), (RAY, tasks), (SLURM, jobs)):
        with tempfile.TemporaryDirectory() as folder:
            found.append(measured(engine, todo[: count + WARM], Path(folder)))
            say(str(found[-1]))
    publish(report(found), output)
    return DONE


if __name__ == "__main__":
    raise SystemExit(run_app(app, "task-overhead"))
