"""Workers that are lost, drivers that are stopped, two at one folder: the records are those of one process."""

import sys
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from bench.attacks import ATTACKS
from bench.execution.cluster.driver import Cluster, Remote
from bench.execution.cluster.engine import Call
from bench.execution.cluster.probing import probe
from bench.execution.cluster.shared_folder import PathFolder
from bench.execution.cluster.shared_records import SharedRecords
from bench.execution.cluster.task import Place
from bench.execution.executors import Sequential
from bench.execution.model_factory import ModelFactory
from bench.records.record import Record
from bench.records.store import RecordStore
from bench.suite.cell import Cell
from bench.suite.expand import pending
from bench.support.artifact_store import ArtefactStore
from bench.support.environment import prepare
from bench.verification.comparison import reproducible
from cwwm.schemes import SCHEMES
from cwwm.support.errors import BadInput, EnvironmentFault
from tests.bench.cluster.here import Here
from tests.bench.cluster.synthetic import NAME, cells_of, write

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Cell]]:
    folder = tmp_path_factory.mktemp("synthetic")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield cells_of(write(folder, 6, 4), prepare(CPU, 1))
    for registry, name in ((SCHEMES, "unwilling"), (ATTACKS, "halting")):
        registry.pop(name, None)
    sys.modules.pop(NAME, None)


@pytest.fixture(scope="module")
def alone(cells: list[Cell], tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Return what one process records, by identity."""
    out = tmp_path_factory.mktemp("alone")
    factory = ModelFactory(ArtefactStore(out / "artefacts"), CPU)
    return by_identity(Sequential(RecordStore(out), factory).run(cells))


def by_identity(records: Iterator[Record] | list[Record]) -> dict[str, object]:
    return {record.identity: reproducible(record) for record in records}


def opened(folder: Path, engine: Here) -> Cluster:
    shared = PathFolder(folder / "shared")
    place = Place(shared=shared.url, plugins=(NAME,))
    return Cluster(engine, shared, place, probe(engine, shared, place, lambda text: None))


def executor(cluster: Cluster, out: Path, cells: list[Cell]) -> tuple[Remote, list[Cell]]:
    """Return what a run into `out` begins with: records that are there are taken over, the rest is to be run."""
    store = RecordStore(out)
    cluster.take_over(cells, store)
    return cluster.executor(store, cells, stop=False), pending(cells, store)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CWWM_NODE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("seed", range(3))
def test_lost_workers_change_no_record(
    cells: list[Cell], alone: dict[str, object], tmp_path: Path, seed: int
) -> None:
    engine = Here(seed, lost=0.4)
    remote, todo = executor(opened(tmp_path, engine), tmp_path / "out", cells)
    assert by_identity(remote.run(todo)) == alone
    assert by_identity(RecordStore(tmp_path / "out").records()) == alone
    assert SharedRecords(PathFolder(tmp_path / "shared")).identities() == alone.keys()
    assert engine.most <= 4
    assert not list(tmp_path.rglob("*.part"))
    assert not list((tmp_path / "shared" / "probe").iterdir())


def test_a_driver_that_is_stopped_loses_nothing_and_the_next_one_runs_the_rest(
    cells: list[Cell], alone: dict[str, object], tmp_path: Path
) -> None:
    first, todo = executor(opened(tmp_path, Here(1)), tmp_path / "out", cells)
    stopped = first.run(todo)
    assert len(list(islice(stopped, 5))) == 5  # in the middle of a task's records
    stopped.close()  # type: ignore[attr-defined]
    engine = Here(2)
    second, rest = executor(opened(tmp_path, engine), tmp_path / "another", cells)
    assert len(rest) == 16
    assert len(by_identity(second.run(rest))) == 16
    assert by_identity(RecordStore(tmp_path / "another").records()) == alone
    assert engine.count == 1 + 4, "the probe, and a task for each mark that was left"
    third, none = executor(opened(tmp_path, Here(3)), tmp_path / "out", cells)
    assert (none, list(third.run(none))) == ([], [])
    assert by_identity(RecordStore(tmp_path / "out").records()) == alone


def test_two_drivers_at_one_folder_end_with_the_same_records(
    cells: list[Cell], alone: dict[str, object], tmp_path: Path
) -> None:
    remotes = [executor(opened(tmp_path, Here(n, lost=0.2)), tmp_path / f"out {n}", cells) for n in range(2)]
    runs = [remote.run(todo) for remote, todo in remotes]
    found: list[list[Record]] = [[], []]
    for pair in zip(*runs, strict=False):
        for records, record in zip(found, pair, strict=True):
            records.append(record)
    for records, run in zip(found, runs, strict=True):
        records += run
    assert [by_identity(records) for records in found] == [alone, alone]
    texts = [sorted((r.identity, str(r.to_json()["digest"])) for r in records) for records in found]
    assert texts[0] == texts[1], "each cell has one record, whoever ran it"


def test_a_cell_that_always_loses_its_worker_is_given_up_and_the_others_go_on(
    cells: list[Cell], alone: dict[str, object], tmp_path: Path
) -> None:
    remote, todo = executor(opened(tmp_path, Here(0, lost=1.0, far=False)), tmp_path / "out", cells[:4])
    records = list(remote.run(todo))
    assert [(r.status, r.fatal) for r in records] == [("failed", True)] * 4
    assert "each time it was tried (by chance)" in str(records[0].reason)
    again, todo = executor(opened(tmp_path, Here(0)), tmp_path / "out", cells[:4])
    assert len(todo) == 4
    assert [(r.status, len(r.attempts)) for r in again.run(todo)] == [("refused", 1)] * 4


def test_a_mark_that_somebody_else_is_at_is_waited_for(
    cells: list[Cell], alone: dict[str, object], tmp_path: Path
) -> None:
    remote, todo = executor(opened(tmp_path, Here(0)), tmp_path / "out", cells[:8])
    held = todo[0].mark.identity
    with remote.cluster.shared.if_free(f"tasks/{held}.lock") as free:
        assert free
        records = remote.run(todo)
        found = list(islice(records, 4))
        assert {record.identity for record in found} == {
            cell.identity for cell in todo if cell.mark.identity != held
        }
    found += records
    assert by_identity(found) == {cell.identity: alone[cell.identity] for cell in todo}


def test_records_of_the_run_and_of_the_folder_are_given_to_each_other(
    cells: list[Cell], alone: dict[str, object], tmp_path: Path
) -> None:
    store, engine = RecordStore(tmp_path / "out"), Here(0)
    factory = ModelFactory(ArtefactStore(tmp_path / "artefacts"), CPU)
    list(Sequential(store, factory).run(cells[:8]))
    remote, todo = executor(opened(tmp_path, engine), tmp_path / "out", cells)
    assert len(todo) == len(cells) - 8
    list(remote.run(todo))
    assert by_identity(store.records()) == alone
    assert SharedRecords(PathFolder(tmp_path / "shared")).identities() == alone.keys()


class Elsewhere(Here):
    """Its worker is on a machine that has another folder of this name."""

    def __init__(self, other: Path) -> None:
        super().__init__(0)
        self._other = other

    def submit(self, calls: Sequence[Call]) -> Sequence[Hashable]:
        return super().submit([replace(c, argument=c.argument.replace("/shared", "/other")) for c in calls])


def test_a_folder_that_is_not_shared_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"do not share .*give --shared"):
        opened(tmp_path, Elsewhere(tmp_path))
    assert not (tmp_path / "other").exists()


def test_a_machine_that_would_give_other_cells_is_refused(cells: list[Cell], tmp_path: Path) -> None:
    remote, todo = executor(opened(tmp_path, Here(0)), tmp_path / "out", cells)
    foreign = [replace(c, mark=replace(c.mark, host=replace(c.host, runtime={"torch": "0"}))) for c in todo]
    with pytest.raises(EnvironmentFault, match="would give other cells"):
        list(remote.run(foreign))


def test_a_plugin_that_a_node_lacks_is_named(tmp_path: Path) -> None:
    shared = PathFolder(tmp_path)
    place = Place(shared=shared.url, plugins=("no_such_plugin",))
    with pytest.raises(BadInput, match="cannot begin: plugin no_such_plugin cannot be imported"):
        probe(Here(0), shared, place, lambda text: None)
