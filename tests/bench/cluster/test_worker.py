"""A worker that its engine ends in the middle of a cell: the cell is lost, and no record says that it failed."""

import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest
import torch

from bench.attacks import ATTACKS
from bench.cli.options import chosen_suite
from bench.execution.cluster.task import Place, Request
from bench.execution.cluster.worker import work
from bench.suite.expand import cells
from bench.support.environment import prepare
from cwwm.schemes import SCHEMES
from tests.bench.cluster.synthetic import NAME, write
from tests.processes import until

pytestmark = pytest.mark.programs

SUITE = """
description: two cells, the second of which waits
untrained: [initial]
models: [test_vit]
seeds: 1
payloads: [64]
schemes: [{name: cwc, survive: 0.9}]
attacks: [{name: magnitude, strengths: [0.5]}, {name: halting, strengths: [0]}]
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_of_the_engine_is_no_failure(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 1, 1)
    (tmp_path / "waits.yaml").write_text(SUITE)
    monkeypatch.syspath_prepend(str(tmp_path))
    runtime = prepare(torch.device("cpu"), 1)
    todo = cells(chosen_suite(str(tmp_path / "waits.yaml"), None, None, None, None, plugins=[NAME]), runtime)
    for registry, name in ((SCHEMES, "unwilling"), (ATTACKS, "halting")):
        registry.pop(name)
    sys.modules.pop(NAME)
    place = Place(shared=str(tmp_path / "shared"), plugins=(NAME,), path=str(tmp_path))
    request = Request.of(place, todo, dict.fromkeys((cell.identity for cell in todo), None), 1.0)
    process = multiprocessing.get_context("forkserver").Process(target=work, args=(request.text(),))
    process.start()
    until((tmp_path / "in hand 0").exists)
    os.kill(process.pid or 0, number)
    process.join(60)
    assert process.exitcode == 1
    assert [path.stem for path in (tmp_path / "shared" / "cells").iterdir()] == [todo[0].identity]
