"""A process that runs the cells it is handed, one at a time; it ends when its parent does, however that ends."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any, Literal

import torch

from bench.execution.model_factory import ModelFactory
from bench.execution.plugins import load_plugins
from bench.execution.run_cell import next_record
from bench.records.record import Record
from bench.suite.cell import Cell
from bench.support.artifact_store import ArtefactStore
from bench.support.environment import prepare

# A worker is forked from a process that has imported everything and has no threads of torch, which would not
# survive a fork: it begins at once, and not after the seconds that imports take.
_FORKED, _SPAWNED = multiprocessing.get_context("forkserver"), multiprocessing.get_context("spawn")
_FORKED.set_forkserver_preload(["bench.execution.executors.preload"])

#: what a worker tells: that it can begin, what it makes, the record of its cell; and that it is gone
News = tuple[Literal["ready", "said", "record", "gone"], Any]


@dataclass(frozen=True)
class Place:
    """Where workers work, told to each of them.

    Attributes:
        folder: of the run. cache_bytes: bound on its stored models. threads: of torch, in each worker.
        plugins: modules whose schemes and attacks they must know. device: cpu or cuda.
    """

    folder: Path
    cache_bytes: int
    threads: int
    plugins: tuple[str, ...] = ()
    device: str = "cpu"

    def factory(self, say: Callable[[str], None]) -> ModelFactory:
        """Return a factory of this process on the folder's store."""
        store = ArtefactStore(self.folder / "artefacts", limit_bytes=self.cache_bytes)
        return ModelFactory(store, torch.device(self.device), say)


class Worker:
    """The parent's side of one worker.

    It has a pipe of its own, so that its death, at any moment, leaves nobody else with half a message or a lock.

    Attributes:
        cell: in hand, or None. pipe: to wait on; there is news, or the worker is gone, when it can be read.
    """

    def __init__(self, place: Place) -> None:
        """Start the process; it tells when it is ready for a cell."""
        context = _FORKED if place.device == "cpu" else _SPAWNED  # an import may bar forks from a GPU
        self.pipe, theirs = context.Pipe()
        arguments = (place, theirs, dict(os.environ))
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()  # else its end would not be seen
        self.cell: Cell | None = None
        self._began = 0.0

    @property
    def pid(self) -> int | None:
        """Return the number of the process."""
        return self._process.pid

    @property
    def seconds(self) -> float:
        """Return how long the cell has been in hand."""
        return time.monotonic() - self._began

    def take(self, cell: Cell, earlier: Record | None) -> None:
        """Hand over a cell with its earlier record; if the worker is gone, the next news says so."""
        self.cell, self._began = cell, time.monotonic()
        try:
            self.pipe.send((cell, earlier))
        except OSError:
            return

    def news(self) -> News:
        """Return the next news, once `pipe` can be read."""
        try:
            found: News = self.pipe.recv()
        except (EOFError, OSError):
            return "gone", None
        return found

    def end(self, patience: float = 0.0) -> str:
        """End the process, if it has not ended within `patience` seconds, and return how it ended, in words."""
        self._process.join(patience)
        self._process.kill()
        self._process.join()
        self.pipe.close()
        return ending(self._process.exitcode)


def ending(code: int | None) -> str:
    """Return in words what an exit code of a process says; below zero it is a signal."""
    if code is None or code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"{name}: killed, for want of memory, say" if -code == signal.SIGKILL else name


def _serve(place: Place, pipe: "connection.Connection", environment: Mapping[str, str]) -> None:
    """Run cells until there are no more; in a process of its own.

    The fork server has the environment of its own start; the worker gets its parent's.
    """
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    device = torch.device(place.device)
    prepare(device, place.threads)
    load_plugins(place.plugins)
    factory = place.factory(lambda text: pipe.send(("said", text)))
    pipe.send(("ready", None))
    while True:
        try:
            cell, earlier = pipe.recv()
        except EOFError:
            return
        pipe.send(("record", next_record(cell, earlier, factory)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
