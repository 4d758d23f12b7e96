"""One run of a suite into a folder: what is recorded is taken over, the rest is run, inside a budget if any."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch

from bench.execution.cluster.driver import Cluster
from bench.execution.executors import Executor, Place, Processes, Sequential
from bench.execution.model_factory import ModelFactory
from bench.execution.preflight import preflight
from bench.execution.progress import STOPPED, RunProgress, read_progress
from bench.execution.skipping import Skip, SkipDecided, skip_none
from bench.execution.time_budget import DURATIONS, Durations, TimeBudget, by_importance, write_cut
from bench.records.store import RecordStore
from bench.suite import Suite
from bench.suite.cell import Cell
from bench.suite.expand import pending
from bench.suite.stopping import Stopping
from bench.support.artifact_store import ArtefactStore
from bench.support.environment import hardware
from cwwm.support.errors import BadInput


@dataclass(frozen=True)
class Means:
    """What a run may use.

    Attributes:
        device: where. threads: of torch. jobs: processes; several share the device, and its timings.
        cache_bytes: bound on stored models.
        deadline: of `time.monotonic`, or None.
        durations: file of what cells took, kept between runs; None keeps it in the run's folder.
        plugins: modules that other processes must load as well.
        cell_timeout: seconds after which a cell has failed, or None; it takes another process, and no deadline.
        cluster: machines that run all cells; None for this one.
    """

    device: torch.device
    threads: int = 1
    jobs: int = 1
    cache_bytes: int = 20 << 30
    deadline: float | None = None
    durations: Path | None = None
    plugins: tuple[str, ...] = ()
    cell_timeout: float | None = None
    cluster: Cluster | None = None

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        if self.cell_timeout is not None and self.deadline is not None:
            raise BadInput("--cell-timeout and --budget do not go together: drop one of the two")


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        run, taken: cells run, and taken over. failed: of all, those given up before included.
        cut: by the budget. unneeded: not run, since an earlier attack had decided their run.
    """

    run: int
    taken: int
    failed: int
    cut: Sequence[Cell]
    unneeded: int = 0


@dataclass(frozen=True)
class Executors:
    """What runs the cells of a suite: here, one after the other, or apart, in processes whose end is not the run's.

    Attributes:
        record_store: where records go. means: what may be used. skip: says which cells need not be run.
    """

    record_store: RecordStore
    means: Means
    skip: Skip

    @property
    def all_apart(self) -> bool:
        """Say whether no cell is to be run here."""
        return self.means.jobs > 1 or self.means.cell_timeout is not None

    def apart(self) -> Processes:
        """Return what runs cells in processes of their own."""
        means = self.means
        place = Place(self.record_store.folder, means.cache_bytes, means.threads, means.plugins, means.device.type)
        return Processes(
            self.record_store,
            place,
            means.jobs,
            cell_timeout=means.cell_timeout,
            skip=self.skip,
            begin=partial(self.durations.begin, store=self._store),
            may_begin=self.budget(()).may_begin,
            deadline=float("inf") if self.all_apart else self._deadline,  # it ends suspects, which may never end
        )

    def here(self, progress: RunProgress) -> Sequential:
        """Return what runs cells in this process."""
        factory = ModelFactory(self._store, self.means.device, progress.say)
        return Sequential(self.record_store, factory, self.skip)

    def budget(self, cells: Sequence[Cell]) -> TimeBudget:
        """Return what hands cells out while there is time."""
        known, store = self.durations, self._store
        return TimeBudget(cells, deadline=self._deadline, durations=known, store=store, skip=self.skip)

    @cached_property
    def durations(self) -> Durations:
        """Return what cells took, to which is added."""
        path = self.means.durations or self.record_store.folder / DURATIONS
        return Durations(path, hardware(self.means.device))

    @property
    def _deadline(self) -> float:
        return float("inf") if self.means.deadline is None else self.means.deadline

    @property
    def _store(self) -> ArtefactStore:
        return ArtefactStore(self.record_store.folder / "artefacts", limit_bytes=self.means.cache_bytes)


def run_suite(suite: Suite, cells: Sequence[Cell], record_store: RecordStore, means: Means) -> Outcome:
    """Run the cells of a suite that have no final record, and note what was cut in cut.json.

    Raises:
        BadInput: if a model or data set is missing.
        EnvironmentFault: if the folder cannot be written, is full, or goes away meanwhile.
    """
    if means.deadline is not None:
        cells = by_importance(cells, suite)
    if means.cluster:
        means.cluster.take_over(cells, record_store)
    waiting = pending(cells, record_store, stop=suite.stop)
    skip = SkipDecided(Stopping.of(cells, record_store), means.device) if suite.stop else skip_none
    suspects = _suspects(waiting, record_store)
    preflight(suite, record_store.folder, needed=bool(waiting))
    record_store.plan(suite.name, [cell.identity for cell in cells], suite.levels)
    taken, given_up = len(cells) - len(waiting), _given_up(cells, record_store)
    cut: Sequence[Cell] = []
    with RunProgress(record_store.folder, suite.name, total=len(cells), taken=taken) as progress:
        if means.cluster:
            _run_on(means.cluster.executor(record_store, cells, stop=suite.stop), waiting, progress)
        else:
            cut = _run(waiting, suspects, Executors(record_store, means, skip), progress)
    record_store.ensure_in_place()
    write_cut(record_store.folder, cut)
    run = len(waiting) - len(cut) - progress.unneeded
    return Outcome(run, taken, progress.failed + given_up, cut, progress.unneeded)


def _given_up(cells: Sequence[Cell], record_store: RecordStore) -> int:
    """Return how many cells are not run again though they failed."""
    records = [record_store.read(cell.identity) for cell in cells]
    return sum(record is not None and record.is_given_up for record in records)


def _suspects(waiting: Sequence[Cell], record_store: RecordStore) -> list[Cell]:
    """Return the cell that a run of one process had in hand when it was killed: the cell may have done it."""
    try:
        last = read_progress(record_store.folder)
    except BadInput:
        return []
    return [cell for cell in waiting if last and last.state == STOPPED and cell.identity == last.cell]


def _run_on(executor: Executor, cells: Iterable[Cell], progress: RunProgress) -> set[str]:
    """Run cells with one executor, show each record, and return whose there are."""
    done = set()
    for record in executor.run(cells, progress):
        progress.finished(record)
        done.add(record.identity)
    return done


def _run(
    waiting: Sequence[Cell], suspects: Sequence[Cell], executors: Executors, progress: RunProgress
) -> Sequence[Cell]:
    """Run cells, and return those that were cut. Suspects come first, each in a process of its own."""
    apart = waiting if executors.all_apart else suspects
    done = _run_on(executors.apart(), apart, progress)
    rest = [] if apart is waiting else [cell for cell in waiting if cell not in suspects]
    done |= _run_on(executors.here(progress), executors.budget(rest), progress)
    return [cell for cell in waiting if cell.identity not in done]
