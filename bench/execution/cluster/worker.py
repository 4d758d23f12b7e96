"""The work of one task, whichever engine calls it: it runs cells, and leaves their records in the shared folder."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from functools import cache
from statistics import mean
from typing import Any

import torch

from bench.execution.cluster.artefacts import SharedArtefacts, node_cache
from bench.execution.cluster.notes import kind_of, limit_memory, note_peak, note_seconds
from bench.execution.cluster.shared_folder import SharedFolder, open_shared
from bench.execution.cluster.shared_records import SharedRecords, digest_of
from bench.execution.cluster.task import Answer, Place, Request, cell_of
from bench.execution.model_factory import ModelFactory
from bench.execution.plugins import load_plugins
from bench.execution.run_cell import next_record
from bench.execution.skipping import Skip, SkipDecided, skip_none
from bench.records.record import Record
from bench.suite.cell import Cell
from bench.suite.stopping import Stopping
from bench.support.environment import prepare
from cwwm.support.errors import BadInput, EnvironmentFault


def work(text: str) -> str:
    """Run the cells of a `Request`, in order, and return the `Answer`, both as JSON.

    A cell whose record is no longer the one that the driver saw was run by somebody else: it is left alone.
    """
    request = Request.parse(text)
    try:
        return _answer(request).to_text()
    except EnvironmentFault as fault:
        return Answer("fault", text=str(fault)).to_text()
    except BadInput as error:
        return Answer("refused", text=str(error)).to_text()


def begin(place: Place) -> dict[str, Any]:
    """Prepare this process for work, and return the conditions that identities depend on.

    Raises:
        BadInput: for a plugin that is not here.
    """
    if place.path and os.path.isdir(place.path) and place.path not in sys.path:
        sys.path.append(place.path)
    load_plugins(place.plugins)
    return prepare(torch.device(place.device), place.threads)


def _answer(request: Request) -> Answer:
    runtime = begin(request.place)
    cells = [cell_of(request.mark, cell, runtime) for cell in request.cells]
    if [cell.identity for cell in cells] != [cell["identity"] for cell in request.cells]:
        return Answer("differs", text=_conditions(runtime))
    shared = open_shared(request.place.shared)
    with shared.if_free(f"tasks/{cells[0].mark.identity}.lock") as free:
        if not free:
            return Answer("busy")
        limit_memory(request.place.device, request.share)
        with _signals_end_it():
            ended = list(_run(cells, request.before, request.place, shared))
        taken = [seconds for _, seconds in ended if seconds is not None]
        if taken:
            note_seconds(kind_of(cells[0].mark), mean(taken), shared)
        note_peak(request.place.device, cells[0].host.model.name, shared)
    return Answer("done", tuple((r.identity, r.status, str(digest_of(r))) for r, _ in ended))


def _run(
    cells: list[Cell], before: Mapping[str, str | None], place: Place, shared: SharedFolder
) -> Iterator[tuple[Record, float | None]]:
    """Yield the record of each cell that is to be run, once it is in the shared folder, and the seconds it took.

    These are None where somebody else has run it.
    """
    records, factory = SharedRecords(shared), _factory(place.shared, place.device, place.cache_bytes)
    skip: Skip = skip_none
    if place.stop:
        skip = SkipDecided(Stopping.of(cells, records), factory.device)
    for cell in cells:
        if cell.identity not in before:
            continue
        now = records.read(cell.identity)
        if now is not None and digest_of(now) != before[cell.identity]:
            yield now, None
            continue
        began = time.monotonic()
        record = records.settle(skip(cell) or next_record(cell, now, factory), now)
        yield record, time.monotonic() - began


@contextlib.contextmanager
def _signals_end_it() -> Iterator[None]:
    """Let the signals by which engines end a worker do so at once: a cell in hand is lost, and has not failed.

    Engines would raise SystemExit in the middle of the cell, and the record of that would be a failure.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = {number: signal.signal(number, lambda *_: os._exit(1)) for number in (signal.SIGTERM, signal.SIGUSR2)}
    try:
        yield
    finally:
        for number, handler in own.items():
            signal.signal(number, handler)


@cache
def _factory(shared: str, device: str, cache_bytes: int) -> ModelFactory:
    """Return the models of this process: the last of each kind stay in memory from task to task."""
    store = SharedArtefacts(node_cache(), open_shared(shared), limit_bytes=cache_bytes)
    return ModelFactory(store, torch.device(device))


def _conditions(runtime: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(runtime.items()))
