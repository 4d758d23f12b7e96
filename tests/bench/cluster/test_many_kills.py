"""Ten thousand cells on Ray, with workers and drivers killed at random: each has one record, the right one."""

import functools
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench.execution.cluster.engine import Call
from bench.execution.cluster.ray_engine import RayEngine
from bench.execution.cluster.shared_folder import PathFolder
from bench.execution.cluster.shared_records import SharedRecords, digest_of
from bench.execution.cluster.task import Place, Request
from bench.execution.cluster.worker import work
from bench.execution.executors import Sequential
from bench.execution.model_factory import ModelFactory
from bench.models.registry import ZOO_VARIABLE
from bench.records.store import RecordStore
from bench.suite.cell import Cell
from bench.support.artifact_store import ArtefactStore
from bench.support.environment import prepare
from bench.verification.comparison import reproducible
from tests.bench.cluster.ray_nodes import Nodes
from tests.bench.cluster.synthetic import NAME, cells_of, write
from tests.processes import start

pytestmark = pytest.mark.slow
pytest.importorskip("ray")

CELLS, OF_MARK, KILLS = int(os.environ.get("CELLS", "10000")), 20, int(os.environ.get("KILLS", "25"))
OF_DRIVERS = 5  # every so many kills it is a driver
MINUTES = 60


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    found = Nodes()
    found.grow(2)
    yield found
    found.end()


def test_nothing_is_lost(
    nodes: Nodes, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CWWM_NODE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(ZOO_VARIABLE, str(tiny / "models.yaml"))
    monkeypatch.syspath_prepend(str(tmp_path))
    suite = write(tmp_path, CELLS // OF_MARK, OF_MARK)
    on = ("--engine", "ray", "--address", nodes.address, "--shared", tmp_path / "shared", "--plugin", NAME)
    moments, kills, began = random.Random(20261126), 0, time.monotonic()
    while True:
        driver = start(
            tiny, tmp_path / "said", "cwwm-bench", "run", suite, "--out", tmp_path / "out", "--device", "cpu", *on,
            first=functools.partial(os.chdir, tmp_path),
        )  # fmt: skip
        while driver.is_alive():
            assert time.monotonic() - began < 60 * MINUTES
            driver.join(moments.uniform(1, 6))
            at_work = nodes.at_work()
            if kills >= KILLS or not at_work or not driver.is_alive():
                continue
            kills += 1
            if kills % OF_DRIVERS == 0:
                os.kill(driver.pid or 0, signal.SIGKILL)
                driver.join()
                break
            os.kill(moments.choice(at_work), signal.SIGKILL)
        if driver.exitcode != -signal.SIGKILL:
            break
    assert driver.exitcode == 0, (tmp_path / "said").read_text()
    assert kills == KILLS, "the cells were done before all kills"
    seconds = time.monotonic() - began
    todo = cells_of(suite, prepare(torch.device("cpu"), 1))
    records = {record.identity: record for record in RecordStore(tmp_path / "out").records()}
    assert records.keys() == {cell.identity for cell in todo}
    assert SharedRecords(PathFolder(tmp_path / "shared")).identities() == records.keys()
    assert {(record.status, len(record.attempts)) for record in records.values()} == {("refused", 0)}
    assert not list((tmp_path / "out").rglob("*.part"))
    sample = moments.sample(todo, 40)
    factory = ModelFactory(ArtefactStore(tmp_path / "artefacts"), torch.device("cpu"))
    for record in Sequential(RecordStore(tmp_path / "alone"), factory).run(sample):
        assert reproducible(records[record.identity]) == reproducible(record)
    overhead = _overhead(nodes, tmp_path, todo)
    with capsys.disabled():
        print(f"\n{len(todo)} cells, {kills} kills: {seconds:.0f} s; a task of {OF_MARK} cells that are done takes "
              f"{1000 * overhead:.0f} ms on one of two workers")  # fmt: skip


def _overhead(nodes: Nodes, folder: Path, todo: list[Cell]) -> float:
    """Return the seconds that a task takes in which nothing is to be done: its way, and what it reads."""
    engine = RayEngine(nodes.address)
    engine.use("cpu", 1)
    records = SharedRecords(PathFolder(folder / "shared"))
    place = Place(shared=str(folder / "shared"), plugins=(NAME,), path=str(folder))
    groups = [todo[i : i + OF_MARK] for i in range(0, len(todo), OF_MARK)][:60]
    texts = [Request.of(place, own, dict.fromkeys((c.identity for c in own), "none"), 1.0).text() for own in groups]
    for _ in range(2):  # the first time workers begin
        began = time.monotonic()
        left = set(engine.submit([Call(work, text) for text in texts]))
        while left:
            for handle, ended in engine.wait(left, 1.0):
                assert ended.result is not None, ended
                left.discard(handle)
        seconds = 2 * (time.monotonic() - began) / len(texts)
    assert digest_of(records.read(todo[0].identity)) is not None
    engine.close()
    return seconds
