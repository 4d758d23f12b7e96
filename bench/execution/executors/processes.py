"""The executor of several processes, each with all cells of one marked model; a lost worker costs one try."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import connection

import torch

from bench.execution.executors.base import SILENT, Watch
from bench.execution.executors.worker import Place, Worker
from bench.execution.run_cell import head
from bench.execution.skipping import Skip, skip_none
from bench.records.record import Record, new_record, with_attempts
from bench.records.store import RecordStore
from bench.suite.cell import Cell
from bench.support.environment import environment
from cwwm.support.errors import EnvironmentFault

_FALSE_STARTS = 3  # workers in a row that end before they are ready
_ENDING = 5.0  # seconds that a process which closed its pipe has to say how it ends


@dataclass(frozen=True)
class Processes:
    """Runs cells in several processes, in the order of their ends.

    Each worker takes a marked model with all its cells, so that it is made once; a host is trained by one of them,
    and the others wait for it.

    A worker that ends is replaced, and the cell that it had in hand is tried once more after all others. A cell
    that has ended its process twice has failed for good.

    Attributes:
        record_store: where records go; only this process writes them.
        place: where workers work.
        jobs: processes, at least 1; no more are started than there are marked models.
        cell_timeout: seconds after which a cell has failed, or None.
        skip: gives the record of a cell that need not be run; asked when a worker would take it.
        begin: gives what is told the seconds of a cell that a worker takes, once it is done; a wait for a model
            that another worker makes counts.
        may_begin: says whether there is time for a cell; from the first that has none on, no more are begun. A cell
            that has ended its process once then has failed without a second try.
        deadline: of `time.monotonic`; a cell that is in hand then has failed.
    """

    record_store: RecordStore
    place: Place
    jobs: int
    cell_timeout: float | None = None
    skip: Skip = skip_none
    begin: Callable[[Cell], Callable[[float], None]] = lambda cell: lambda seconds: None
    may_begin: Callable[[Cell], bool] = lambda cell: True
    deadline: float = float("inf")

    def run(self, cells: Iterable[Cell], watch: Watch = SILENT) -> Iterator[Record]:
        """Run cells; see `Executor.run`."""
        pool = _Pool(self, cells, watch)
        try:
            yield from pool.run(self.jobs)
        finally:
            pool.end()


def lost_record(cell: Cell, place: Place, reason: str, *, fatal: bool) -> Record:
    """Return the record of a cell whose process is gone; `fatal` if it was the cell that had it in hand."""
    machine = {**environment(torch.device(place.device)), "threads": place.threads, "others_load": None}
    ended = {"fatal": True} if fatal else {}
    return new_record({**head(cell), "status": "failed", "reason": reason, **ended, "environment": machine})


class _Pool:
    """Workers, what waits for them, and what is tried again."""

    def __init__(self, executor: Processes, cells: Iterable[Cell], watch: Watch) -> None:
        self._place, self._record_store, self._timeout = (
            executor.place,
            executor.record_store,
            executor.cell_timeout,
        )
        self._watch, self._alone, self._skip = watch, executor.jobs == 1, executor.skip
        self._begin, self._ended = executor.begin, dict[Worker, Callable[[float], None]]()
        self._may_begin, self._deadline, self._over = executor.may_begin, executor.deadline, False
        self._groups = deque(_by_mark(cells))
        self._again: deque[Cell] = deque()
        self._workers: dict[Worker, deque[Cell]] = {}
        self._false_starts = 0

    def run(self, jobs: int) -> Iterator[Record]:
        """Yield the record of every cell."""
        for _ in range(min(jobs, len(self._groups))):
            self._start(deque())
        while self._workers:
            ready = connection.wait([worker.pipe for worker in self._workers], self._patience())
            for worker in [worker for worker in self._workers if worker.pipe in ready]:
                yield from self._hear(worker)
            for worker in [worker for worker in self._workers if self._is_late(worker)]:
                yield from self._late(worker)
        yield from self._untried()

    def end(self) -> None:
        """End all workers."""
        while self._workers:
            self._workers.popitem()[0].end()

    def _start(self, group: deque[Cell]) -> None:
        """Start a worker for a group, or for what waits; none if nothing does, or there is no time."""
        if not self._over and (group or self._groups or self._again):
            self._workers[Worker(self._place)] = group

    def _hear(self, worker: Worker) -> Iterator[Record]:
        kind, content = worker.news()
        if kind == "said":
            self._watch.say(content)
        elif kind == "gone":
            yield from self._lost(worker)
        else:
            self._false_starts = 0
            if kind == "record" and worker.cell is not None:
                self._record_store.write(content)
                self._ended[worker](worker.seconds)
                yield content
            yield from self._hand_out(worker)

    def _hand_out(self, worker: Worker) -> Iterator[Record]:
        """Give a worker its next cell, and yield the records of those before it that need not be run.

        Without a cell it ends.
        """
        while (cell := self._next(self._workers[worker])) is not None:
            if (record := self._skip(cell)) is None:
                if not self._may_begin(cell):
                    self._over = True
                    break
                self._ended[worker] = self._begin(cell)
                worker.take(cell, self._record_store.read(cell.identity))
                if self._alone:  # else no cell is the one in hand
                    self._watch.started(cell)
                return
            self._record_store.write(record)
            yield record
        del self._workers[worker]
        worker.end()

    def _next(self, group: deque[Cell]) -> Cell | None:
        """Take the next cell of a worker's group, of another one, or of what is tried again.

        None if there is none, or no time for more.
        """
        if self._over:
            return None
        if not group and self._groups:
            group.extend(self._groups.popleft())
        if not group and self._again:
            group.append(self._again.popleft())
        return group.popleft() if group else None

    def _lost(self, worker: Worker) -> Iterator[Record]:
        """Replace a worker that is gone; yield the record of its cell if that has failed for good."""
        group, cell, how = self._workers.pop(worker), worker.cell, worker.end(_ENDING)
        if cell is None:
            self._false_starts += 1
            if self._false_starts >= _FALSE_STARTS:
                raise EnvironmentFault(f"no worker process can start ({how}); see the lines above, or use --jobs 1")
        else:
            record = self._keep(lost_record(cell, self._place, f"it ended its process ({how})", fatal=True))
            if record.is_given_up:
                yield record
            else:
                then = "there is no time to try its cell again" if self._over else "its cell is tried once more"
                self._watch.say(f"a worker was lost ({how}); {then}")
                self._again.append(cell)
        self._start(group)

    def _late(self, worker: Worker) -> Iterator[Record]:
        """End a worker whose cell takes too long, and yield that cell's record."""
        group, cell = self._workers.pop(worker), worker.cell
        worker.end()
        if cell is not None:
            limit = "the budget allowed" if self._timeout is None else f"{self._timeout:g} seconds"
            yield self._keep(lost_record(cell, self._place, f"it took longer than {limit}", fatal=False))
        self._start(group)

    def _untried(self) -> Iterator[Record]:
        """Yield the records of cells that ended their process, where no time is left to try them once more."""
        for cell in self._again:
            if (record := self._record_store.read(cell.identity)) is not None:
                yield record

    def _keep(self, record: Record) -> Record:
        kept = with_attempts(record, self._record_store.read(record.identity))
        self._record_store.write(kept)
        return kept

    def _left(self, worker: Worker) -> float:
        """Return the seconds that a worker's cell may still take."""
        limit = float("inf") if self._timeout is None else self._timeout - worker.seconds
        return min(limit, self._deadline - time.monotonic())

    def _is_late(self, worker: Worker) -> bool:
        return worker.cell is not None and self._left(worker) < 0

    def _patience(self) -> float | None:
        """Return the seconds until the first cell in hand takes too long; None where nothing limits them."""
        left = min((self._left(worker) for worker in self._workers if worker.cell), default=float("inf"))
        return None if left == float("inf") else max(0.0, left) + 0.01


def _by_mark(cells: Iterable[Cell]) -> list[list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.mark.identity, []).append(cell)
    return list(groups.values())
