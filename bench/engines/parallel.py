"""The engine for a CPU with cores to spare: several processes, each with all cells of one marked model."""

import multiprocessing
import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from bench.artefacts import ArtefactStore
from bench.cell import Cell
from bench.conditions import prepare
from bench.engines.inline import run_inline
from bench.journal import Journal, Record
from bench.plugins import load_plugins
from bench.workshop import Workshop, marked_identity

_PATIENCE = 2.0  # seconds without news after which the workers are looked at


@dataclass(frozen=True)
class Place:
    """Where workers work, told to each of them.

    Attributes:
        folder: of the run. cache_bytes: bound on its stored models. threads: of torch, in each worker.
        plugins: modules whose schemes and attacks they must know.
    """

    folder: Path
    cache_bytes: int
    threads: int
    plugins: tuple[str, ...] = ()

    def workshop(self, say: Callable[[str], None]) -> Workshop:
        """Return a workshop of this process on the folder's store."""
        store = ArtefactStore(self.folder / "artefacts", limit_bytes=self.cache_bytes)
        return Workshop(store, torch.device("cpu"), say)


class WorkerLostError(RuntimeError):
    """A worker process ended without a word; what is recorded stays."""


def run_parallel(
    cells: Sequence[Cell], place: Place, jobs: int, *, say: Callable[[str], None] = lambda text: None
) -> Iterator[Record]:
    """Run cells in `jobs` processes and yield each record once it is on disk, in the order of their ends.

    Each worker takes a marked model with all its cells, so that it is made once; a host may be trained by
    several at the same time, with the same result. Records are those of the engine for one process, but for
    their timings.

    Args:
        cells: what to run; see `pending`.
        place: where.
        jobs: processes, at least 1; no more are started than there are marked models.
        say: told what is being made.

    Raises:
        WorkerLostError: if a worker dies, for want of memory, say.
    """
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    waiting, news = context.Queue(), context.Queue()
    groups = _by_mark(cells)
    for group in groups:
        waiting.put(group)
    workers = [
        context.Process(target=_work, args=(place, waiting, news), daemon=True)
        for _ in range(min(jobs, len(groups)))
    ]
    try:
        for worker in workers:
            waiting.put(None)
            worker.start()
        yield from _listen(news, workers, len(cells), say)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _by_mark(cells: Sequence[Cell]) -> list[list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(marked_identity(cell), []).append(cell)
    return list(groups.values())


def _listen(
    news: Any,  # noqa: ANN401 (a queue of the spawn context)
    workers: Sequence[SpawnProcess],
    expected: int,
    say: Callable[[str], None],
) -> Iterator[Record]:
    """Yield as many records as are expected, and pass on what workers say."""
    while expected:
        try:
            item = news.get(timeout=_PATIENCE)
        except queue.Empty:
            codes = [worker.exitcode for worker in workers]
            if any(codes) or None not in codes:
                code = next((code for code in codes if code), 0)
                raise WorkerLostError(f"a worker ended early (exit code {code}); run again to go on") from None
            continue
        if isinstance(item, str):
            say(item)
        else:
            expected -= 1
            yield item


def _work(place: Place, waiting: Any, news: Any) -> None:  # noqa: ANN401
    """Run groups of cells until there are no more; in a process of its own."""
    prepare(torch.device("cpu"), place.threads)
    load_plugins(place.plugins)
    workshop, journal = place.workshop(news.put), Journal(place.folder)
    while (group := waiting.get()) is not None:
        for record in run_inline(group, journal, workshop):
            news.put(record)
    news.close()
    news.join_thread()
