"""Several processes: the records of one, whichever of them made what; and the loss of a worker is said."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.engines.parallel import WorkerLostError, _listen
from bench.journal import Journal
from bench.running import reproducible

Bench = Callable[..., int]


def test_several_processes_record_what_one_does(
    tiny: Path, finished: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert bench("run", tiny / "tiny.yaml", "--out", out, "--device", "cpu", "--jobs", 2) == 0
    assert "[16/16" in capsys.readouterr().err
    alone, together = (list(Journal(folder).records()) for folder in (finished, out))
    assert [reproducible(record) for record in together] == [reproducible(record) for record in alone]
    assert bench("run", tiny / "tiny.yaml", "--out", out, "--device", "cpu", "--jobs", 9) == 0
    assert "0 cells run, 16 taken" in capsys.readouterr().err


def test_a_worker_that_dies_ends_the_run() -> None:
    context = multiprocessing.get_context("spawn")
    worker = context.Process(target=os._exit, args=(9,))
    worker.start()
    with pytest.raises(WorkerLostError, match=r"exit code 9.*run again to go on"):
        list(_listen(context.Queue(), [worker], 1, lambda text: None))
