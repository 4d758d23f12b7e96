"""The driver of a run past one machine: it hands tasks over, takes their records, and keeps nothing of its own.

Killed and started again, it finds in the shared folder what was done, and hands over the rest.
"""

import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from bench.execution.cluster.artefacts import is_shared
from bench.execution.cluster.engine import Call, Ended, Engine
from bench.execution.cluster.laws import (
    Task,
    after_loss,
    gpu_share,
    longest_first,
    to_begin,
    with_more_memory,
    without,
)
from bench.execution.cluster.notes import kind_of, read_peak, read_seconds
from bench.execution.cluster.probing import Machine
from bench.execution.cluster.shared_folder import SharedFolder
from bench.execution.cluster.shared_records import SharedRecords, digest_of
from bench.execution.cluster.task import Answer, Place, Request
from bench.execution.cluster.worker import work
from bench.execution.executors.base import SILENT, Watch
from bench.execution.run_cell import head
from bench.records.record import Record, new_record, with_attempts
from bench.records.store import RecordStore
from bench.suite.cell import Cell
from bench.support.environment import environment
from cwwm.support.errors import BadInput, EnvironmentFault

_PATIENCE = 1.0  # seconds between two looks at the shared folder, where nothing ends
_REST = 2.0  # seconds before a mark is asked for again that somebody else is at


@dataclass(frozen=True)
class Cluster:
    """Machines that were tried and found to be of one kind, and to share a folder.

    Attributes:
        engine: calls functions there. shared: the folder. place: where and how workers work.
        machine: the kind of machine.
    """

    engine: Engine
    shared: SharedFolder
    place: Place
    machine: Machine

    def take_over(self, cells: Iterable[Cell], record_store: RecordStore) -> None:
        """Give the run and the shared folder the records of each other; a final one goes before one that failed."""
        records = SharedRecords(self.shared)
        there = records.identities()
        for cell in cells:
            own = record_store.read(cell.identity)
            other = records.read(cell.identity) if cell.identity in there else None
            if other is not None and digest_of(other) != digest_of(own):
                if own is None or other.is_final or not own.is_final:
                    record_store.write(other)
                else:
                    records.settle(own, other)
            elif other is None and own is not None:
                records.settle(own, None)

    def executor(self, record_store: RecordStore, cells: Sequence[Cell], *, stop: bool) -> "Remote":
        """Return what runs cells there; `cells` are all of the suite, which may `stop` where an attack decides."""
        return Remote(self, record_store, cells if stop else (), replace(self.place, stop=stop))


@dataclass(frozen=True)
class Remote:
    """Runs cells on a cluster; the records are taken from the shared folder into the run's own.

    Attributes:
        cluster: of machines. record_store: where records go. beside: cells of a suite that stops, those included
            that have a record: attacks are decided by them. place: where workers work.
    """

    cluster: Cluster
    record_store: RecordStore
    beside: Sequence[Cell]
    place: Place

    def run(self, cells: Iterable[Cell], watch: Watch = SILENT) -> Iterator[Record]:
        """Run cells; see `Executor.run`.

        Raises:
            EnvironmentFault: if a machine fails, or is of another kind than those tried.
        """
        self.cluster.shared.sweep()
        yield from _Drive(self, list(cells), watch).run()


class _Drive:
    """What waits, and what is in flight."""

    def __init__(self, remote: Remote, cells: Sequence[Cell], watch: Watch) -> None:
        cluster = remote.cluster
        self._engine, self._shared, self._machine = cluster.engine, cluster.shared, cluster.machine
        self._place, self._store, self._watch = remote.place, remote.record_store, watch
        self._records = SharedRecords(cluster.shared)
        self._cells = {cell.identity: cell for cell in cells}
        self._before = {cell.identity: digest_of(self._store.read(cell.identity)) for cell in cells}
        self._of_mark = _by_mark(remote.beside or cells)
        self._seconds: dict[str, float] = {}
        self._waiting = [self._task(own) for own in _by_mark(cells).values()]
        for kind in {task.kind for task in self._waiting}:
            self._learn(kind)
        self._in_flight: dict[Hashable, Task] = {}
        self._ready: set[str] = set()

    def run(self) -> Iterator[Record]:
        """Yield the record of every cell."""
        while self._waiting or self._in_flight:
            yield from self._begin()
            if not self._in_flight:
                time.sleep(_PATIENCE)
            for handle, ended in self._engine.wait(list(self._in_flight), _PATIENCE):
                yield from self._end(self._in_flight.pop(handle), ended)

    def _task(self, cells: Sequence[Cell]) -> Task:
        host = cells[0].host
        shared = "" if host.untrained else host.identity("control")
        names = tuple(cell.identity for cell in cells)
        kind, share = kind_of(cells[0].mark), self._share(host.model.name)
        return Task(cells[0].mark.identity, shared, host.model.name, names, kind, share)

    def _learn(self, kind: str) -> None:
        """Note how long a kind of task takes, and let the longest begin first."""
        seconds = read_seconds(kind, self._shared)
        if seconds is not None:
            self._seconds[kind] = seconds
            self._waiting = longest_first(self._waiting, self._seconds)

    def _share(self, model: str) -> float:
        """Return what a task on a model may claim."""
        if self._place.device == "cpu":
            return 1.0
        return gpu_share(read_peak(model, self._shared), self._machine.card_bytes)

    def _begin(self) -> Iterator[Record]:
        """Hand over what may begin; yield what others have done of it meanwhile."""
        self._look_for_hosts()
        chosen = to_begin(
            self._waiting, self._in_flight.values(), self._ready, self._engine.slots(), time.monotonic()
        )
        begun = set(chosen)
        self._waiting = [task for task in self._waiting if task not in begun]
        tasks = list[Task]()
        for task in chosen:
            left: Task | None = task
            if task.rests:
                found = self._new(task)
                yield from self._take(found)
                left = without(task, found)
            tasks += [left] if left else []
        handles = self._engine.submit([Call(work, self._request(task).text(), task.share) for task in tasks])
        self._in_flight.update(zip(handles, tasks, strict=True))

    def _look_for_hosts(self) -> None:
        """Note which hosts that some task is making are there now, or were there before."""
        hosts = {task.host for task in (*self._waiting, *self._in_flight.values()) if task.host}
        held = {task.host for task in self._in_flight.values()}
        self._ready |= {host for host in hosts & held - self._ready if is_shared(host, self._shared)}

    def _request(self, task: Task) -> Request:
        before = {cell: self._before[cell] for cell in task.cells}
        return Request.of(self._place, self._of_mark[task.mark], before, task.share)

    def _end(self, task: Task, ended: Ended) -> Iterator[Record]:
        """Yield the records of a task that has ended, and put back what is left of it."""
        if ended.lost:
            self._watch.say(f"a worker was lost ({ended.lost}); what is left of its cells is tried again")
            yield from self._lost(task, ended.lost)
            return
        if ended.result is None:
            raise EnvironmentFault(f"a worker of {self._engine.name} failed: {ended.raised}")
        answer = Answer.parse(ended.result)
        if answer.kind == "done":
            yield from self._done(task, answer)
        elif answer.kind == "busy":
            self._waiting.append(replace(task, rests=time.monotonic() + _REST))
        elif answer.kind == "differs":
            raise EnvironmentFault(
                f"a node that joined {self._engine.name} would give other cells: {answer.text}; its source, "
                "versions or processor are not those of the nodes tried first"
            )
        else:
            raise (EnvironmentFault if answer.kind == "fault" else BadInput)(answer.text)

    def _done(self, task: Task, answer: Answer) -> Iterator[Record]:
        told = {identity: digest for identity, _, digest in answer.ended}
        found = {cell: record for cell, record in self._new(task).items() if digest_of(record) == told.get(cell)}
        more = with_more_memory(task, {identity: status for identity, status, _ in answer.ended})
        if more is not None:
            self._watch.say(f"{task.share:g} of a GPU did not do for {task.model}; it is tried with {more.share:g}")
            self._before |= {cell: told[cell] for cell in more.cells}
            found = {cell: record for cell, record in found.items() if cell not in more.cells}
            self._waiting.append(more)
        yield from self._take(found)
        left = without(task, (*found, *(more.cells if more else ())))
        if left is not None:  # a file system may show a new file late
            yield from self._lost(replace(left, rests=time.monotonic() + _REST), "its records are not to be seen")
        self._learn(task.kind)
        self._claim_anew(task.model)

    def _claim_anew(self, model: str) -> None:
        """Let the tasks of a model claim what the last one took."""
        if self._place.device != "cpu":
            share = self._share(model)
            of_it = [task.model == model and not task.doubled for task in self._waiting]
            self._waiting = [
                replace(task, share=share) if own else task for task, own in zip(self._waiting, of_it, strict=True)
            ]

    def _lost(self, task: Task, how: str) -> Iterator[Record]:
        found = self._new(task)
        yield from self._take(found)
        left, given_up = after_loss(task, found)
        if left is not None:
            self._waiting.append(left)
        if given_up is not None:
            yield from self._take({given_up: self._lost_record(self._cells[given_up], how)})

    def _lost_record(self, cell: Cell, how: str) -> Record:
        """Return the record of a cell whose workers were lost too often, once it is in the shared folder."""
        machine = environment(torch.device("cpu")) | {
            "hardware": self._machine.hardware,
            "device": self._place.device,
            "threads": self._place.threads,
            "others_load": None,
        }
        reason = f"it ended its worker, or lost its node, each time it was tried ({how})"
        made = new_record(
            {**head(cell), "status": "failed", "reason": reason, "fatal": True, "environment": machine}
        )
        earlier = self._records.read(cell.identity)
        return self._records.settle(with_attempts(made, earlier), earlier)

    def _new(self, task: Task) -> Mapping[str, Record]:
        """Return the records of a task's cells that are not those from before."""
        found = {cell: self._records.read(cell) for cell in task.cells}
        return {c: r for c, r in found.items() if r is not None and digest_of(r) != self._before[c]}

    def _take(self, found: Mapping[str, Record]) -> Iterator[Record]:
        for record in found.values():
            self._store.write(record)
            yield record


def _by_mark(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.mark.identity, []).append(cell)
    return groups
