"""Suites on a Ray cluster, whose workers, nodes and drivers are killed: the records are those of one process."""

import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.attacks import ATTACKS
from bench.records.store import RecordStore
from bench.verification.comparison import reproducible
from bench.verification.submission import inspect
from cwwm.schemes import SCHEMES
from tests.bench.cluster.ray_nodes import Nodes
from tests.bench.cluster.synthetic import NAME, write
from tests.kills.stage import tables
from tests.processes import start, until, with_models_of
from tests.tiny_suite import SUITE

pytestmark = pytest.mark.programs
pytest.importorskip("ray")

Bench = Callable[..., int]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    found = Nodes()
    found.grow(1)
    yield found
    found.end()


@pytest.fixture
def place(tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder with a shared one that has the models of a finished run; plugins in it are found."""
    with_models_of(finished, tmp_path / "shared")
    monkeypatch.setenv("CWWM_NODE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write(tmp_path, 1, 1)
    yield tmp_path
    for registry, name in ((SCHEMES, "unwilling"), (ATTACKS, "halting")):
        registry.pop(name, None)
    sys.modules.pop(NAME, None)


def arguments(suite: Path, place: Path, nodes: Nodes, out: str = "out") -> list[object]:
    on = ("--engine", "ray", "--address", nodes.address, "--shared", place / "shared")
    return ["run", suite, "--out", place / out, "--device", "cpu", *on]


def begin(tiny: Path, place: Path, nodes: Nodes, suite: Path, out: str = "out") -> Callable[[], str]:
    """Begin a run with the plugin in a process of its own; return what waits for its end and gives what it said."""
    options = (*arguments(suite, place, nodes, out)[1:], "--plugin", NAME)
    said = place / f"said {out}"
    process = start(tiny, said, "cwwm-bench", "run", *options, first=functools.partial(os.chdir, place))

    def end() -> str:
        process.join(400)
        assert process.exitcode == 0, said.read_text()
        return said.read_text()

    end.pid = process.pid  # type: ignore[attr-defined]
    return end


def halting(place: Path, numbers: range) -> Path:
    """Write the tiny suite with an attack more for each number, which waits for an hour where it is run first."""
    lines = [f"  - {{name: halting, label: halting-{n}, strengths: [{n}]}}" for n in numbers]
    (place / "halting.yaml").write_text(SUITE + "\n".join(lines) + "\n")
    return place / "halting.yaml"


def in_hand(place: Path, number: int) -> int:
    """Wait until a worker has a cell of this number in hand, and return its process."""
    until((place / f"in hand {number}").exists)
    return int((place / f"in hand {number}").read_text())


def expect_records_of_one_process(out: Path, finished: Path, more: int = 0) -> None:
    """Say that a run with `more` cells of its own has the records of a finished one, and is sound."""
    alone = {record.identity: reproducible(record) for record in RecordStore(finished).records()}
    records = {record.identity: record for record in RecordStore(out).records()}
    assert len(records) == len(alone) + more
    assert {name: reproducible(records[name]) for name in alone} == alone
    assert {(record.status, len(record.attempts)) for record in records.values()} == {("ok", 0)}
    assert inspect(RecordStore(out)).faults == []


def test_one_node_records_what_one_process_does(
    tiny: Path, finished: Path, bench: Bench, nodes: Nodes, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(*arguments(tiny / "tiny.yaml", place, nodes)) == 0, capsys.readouterr().err
    expect_records_of_one_process(place / "out", finished)
    assert tables(place / "out") == tables(finished)
    assert bench(*arguments(tiny / "tiny.yaml", place, nodes, "again")) == 0
    assert "0 cells run, 16 taken" in capsys.readouterr().err
    assert tables(place / "again") == tables(finished)


def test_folders_that_are_not_shared_and_clusters_that_are_not_there_take_one_line(
    tiny: Path, bench: Bench, nodes: Nodes, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["run", tiny / "tiny.yaml", "--out", place / "out", "--device", "cpu", "--engine", "ray"]
    for more, said in (
        (("--address", nodes.address, "--shared", "memory://here"), "do not share memory://here"),
        (("--address", "127.0.0.1:1"), "nothing answers at 127.0.0.1:1"),
        (("--address", "here"), "--address is HOST:PORT"),
    ):
        assert bench(*asked, *more) == 2
        assert said in capsys.readouterr().err.splitlines()[-1]
    assert not RecordStore(place / "out").exists


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_more_nodes_record_the_same(
    tiny: Path, finished: Path, bench: Bench, nodes: Nodes, place: Path, count: int
) -> None:
    nodes.grow(count)
    assert bench(*arguments(tiny / "tiny.yaml", place, nodes)) == 0
    expect_records_of_one_process(place / "out", finished)
    assert tables(place / "out") == tables(finished)


@pytest.mark.slow
def test_a_worker_and_a_node_are_killed_in_the_middle_of_a_cell(
    tiny: Path, finished: Path, nodes: Nodes, place: Path
) -> None:
    """A cell is in hand each time; two marks of each of two hosts come to each of two cells that wait."""
    nodes.grow(3)
    end = begin(tiny, place, nodes, halting(place, range(2)))
    os.kill(in_hand(place, 0), signal.SIGKILL)
    nodes.remove_node_of(in_hand(place, 1))
    said = end()
    assert said.count("a worker was lost") >= 2, said
    expect_records_of_one_process(place / "out", finished, more=8)


@pytest.mark.slow
def test_a_driver_is_killed_and_the_next_one_goes_on_beside_another(
    tiny: Path, finished: Path, nodes: Nodes, place: Path
) -> None:
    nodes.grow(2)
    suite = halting(place, range(1))
    first = begin(tiny, place, nodes, suite)
    in_hand(place, 0)
    os.kill(first.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    ends = [begin(tiny, place, nodes, suite, out) for out in ("out", "beside")]
    for end, out in zip(ends, ("out", "beside"), strict=True):
        end()
        expect_records_of_one_process(place / out, finished, more=4)
    texts = [
        {path.name: path.read_bytes() for path in (place / out / "cells").iterdir()} for out in ("out", "beside")
    ]
    assert texts[0] == texts[1], "each cell has one record, whichever driver had it run"
