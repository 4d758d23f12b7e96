"""The store of models: what is damaged is made anew, what cannot be stored is no result."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from bench.execution.outcome import outcome_of, told
from bench.records.store import RecordStore
from bench.support.artifact_store import Artefact, ArtefactStore
from bench.verification.comparison import reproducible
from cwwm.support.errors import BadInput, EnvironmentFault

Bench = Callable[..., int]
Damage = Callable[[Path], object]


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, Damage] = {
    "tensors cut short": lambda p: p.write_bytes(p.read_bytes()[:-7]),
    "tensors cut to nothing": lambda p: p.write_bytes(b""),
    "a bit of a tensor": lambda p: flip(p, -1),
    "a bit of the header": lambda p: flip(p, 20),
    "tensors gone": lambda p: p.unlink(),
    "facts cut short": lambda p: (f := p.with_suffix(".json")).write_text(f.read_text()[:-9]),
    "facts edited": lambda p: (f := p.with_suffix(".json")).write_text(f.read_text().replace("0.5", "0.6")),
    "facts of no digest": lambda p: p.with_suffix(".json").write_text('{"accuracy": 0.5}'),
    "facts that are a list": lambda p: p.with_suffix(".json").write_text("[]"),
    "facts that are no text": lambda p: p.with_suffix(".json").write_bytes(b"\xff\xfe"),
    "a folder in its place": lambda p: (p.unlink(), p.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_artefact_is_made_anew(tmp_path: Path, damage: Damage) -> None:
    store, made = ArtefactStore(tmp_path), []

    def make() -> Artefact:
        made.append(1)
        return Artefact({"w": torch.arange(100.0)}, {"accuracy": 0.5})

    first = store.get("a", make)
    assert (store.get("a", make).facts, len(made)) == (first.facts, 1)
    damage(store.path("a"))
    if store.path("a").is_dir():
        with pytest.raises(EnvironmentFault, match="cannot"):
            store.get("a", make)
        return
    again = store.get("a", make)
    assert len(made) == 2
    assert again.facts == first.facts
    assert torch.equal(store.get("a", make).tensors["w"], first.tensors["w"])
    assert len(made) == 2


def test_what_cannot_be_stored_is_a_fault_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "artefacts").write_text("a file where the folder belongs")
    store = ArtefactStore(tmp_path / "artefacts")
    with pytest.raises(EnvironmentFault, match="artefacts"):
        store.get("a", lambda: Artefact({"w": torch.zeros(1)}))


def failing(error: BaseException) -> dict[str, object]:
    def work() -> dict[str, object]:
        raise error

    return outcome_of(work, told)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (BadInput("too few weights"), "refused", "too few weights"),
        (EnvironmentFault("cannot write x: disk full"), "failed", "cannot write x: disk full"),
        (OSError(28, "No space left on device"), "failed", "No space left"),
        (MemoryError(), "out-of-memory", "MemoryError"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out-of-memory", "allocate"),
        (RuntimeError("shapes differ"), "failed", "shapes differ"),
        (SystemExit(0), "failed", "SystemExit(0)"),
        (RecursionError(), "failed", "RecursionError"),
    ],
)
def test_only_bad_input_is_final(error: BaseException, status: str, reason: str) -> None:
    found = failing(error)
    assert found["status"] == status
    assert reason in str(found["reason"])


def test_an_interrupt_is_no_result() -> None:
    with pytest.raises(KeyboardInterrupt):
        failing(KeyboardInterrupt())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, torch.zeros(1), b"x", "x" * (1 << 20)])
def test_what_no_record_can_hold_fails_the_cell(value: object) -> None:
    found = outcome_of(lambda: {"rows": [{"overlap": value}]}, told)
    assert found["status"] == "failed"
    assert outcome_of(lambda: {"rows": []}, told) == {"status": "ok", "rows": []}


def test_a_run_makes_damaged_models_again(tiny: Path, finished: Path, bench: Bench, tmp_path: Path) -> None:
    """Every stored file is cut short, and the cells of one marked model are run again: the same records come."""
    shutil.copytree(finished, tmp_path / "out")
    before = {record.identity: reproducible(record) for record in RecordStore(finished).records()}
    for path in (tmp_path / "out" / "artefacts").iterdir():
        path.write_bytes(path.read_bytes()[:-5])
    for path in (tmp_path / "out" / "cells").iterdir():
        key = json.loads(path.read_text())["key"]
        if (key["seed"], key["scheme"]) == (0, "cwc"):
            path.unlink()
    assert bench("run", tiny / "tiny.yaml", "--out", tmp_path / "out", "--device", "cpu") == 0
    assert {r.identity: reproducible(r) for r in RecordStore(tmp_path / "out").records()} == before


def test_a_store_that_cannot_be_written_is_one_line_before_anything_is_run(
    tiny: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "artefacts").write_text("")
    assert bench("run", tiny / "tiny.yaml", "--out", tmp_path, "--device", "cpu") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "artefacts" in line
    assert not list(tmp_path.glob("cells/*"))


def test_of_several_that_need_one_artefact_one_makes_it(tmp_path: Path) -> None:
    """Threads stand for workers: each opens the file of the lock for itself, as a process does."""
    made: list[int] = []
    together = threading.Barrier(4)

    def make() -> Artefact:
        made.append(1)
        time.sleep(0.2)
        return Artefact({"w": torch.ones(3)}, {"accuracy": 0.5})

    def work() -> Artefact:
        store = ArtefactStore(tmp_path / "artefacts")
        together.wait()
        return store.get("0" * 32, make)

    with ThreadPoolExecutor(4) as pool:
        found = [future.result() for future in [pool.submit(work) for _ in range(4)]]
    assert len(made) == 1
    assert all(torch.equal(one.tensors["w"], torch.ones(3)) for one in found)
    assert sorted(path.suffix for path in (tmp_path / "artefacts").iterdir()) == [".json", ".safetensors"]


def test_a_maker_that_fails_leaves_the_work_to_the_next(tmp_path: Path) -> None:
    def fail() -> Artefact:
        raise ValueError("out of luck")

    store = ArtefactStore(tmp_path)
    with pytest.raises(ValueError, match="out of luck"):
        store.get("0" * 32, fail)
    assert store.get("0" * 32, lambda: Artefact({"w": torch.ones(1)})).facts == {}


def test_a_pipe_in_the_place_of_a_model_is_no_wait(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path)
    store.get("0" * 32, lambda: Artefact({"w": torch.ones(1)}))
    store.path("0" * 32).unlink()
    os.mkfifo(store.path("0" * 32))
    assert torch.equal(store.get("0" * 32, lambda: Artefact({"w": torch.zeros(1)})).tensors["w"], torch.zeros(1))
