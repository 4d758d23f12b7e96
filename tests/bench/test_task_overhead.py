"""What a task costs beside its cells: seconds of processes that live and that have ended are counted once."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.cli.options import chosen_suite
from bench.execution.cluster.opening import INLINE
from bench.studies.task_overhead import MODEL, WARM, Took, measured, processor_seconds, report
from bench.suite.expand import cells
from bench.support.environment import prepare

SPENT = 0.3
WORKS = f"""
import sys, time
while time.process_time() < {SPENT}:
    pass
print("done", flush=True)
sys.stdin.read()
"""


@pytest.mark.programs
def test_seconds_of_a_process_count_while_it_lives_and_once_it_has_ended() -> None:
    before = processor_seconds()
    with subprocess.Popen([sys.executable, "-c", WORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        alive = processor_seconds() - before
    ended = processor_seconds() - before
    assert alive >= SPENT - 0.02  # a tick of each of its two clocks
    assert ended > alive - 0.005  # half a tick: they are differences of floats


def test_the_page_takes_what_cells_took_here_from_what_they_took_elsewhere(tmp_path: Path) -> None:
    todo = cells(chosen_suite("zoo", [MODEL], None, None, WARM + 1), prepare(torch.device("cpu"), 1))
    inline = measured(INLINE, todo[: WARM + 1], tmp_path)
    assert (inline.engine, inline.tasks) == (INLINE, 1)
    assert inline.processor > 0
    page = report([Took(INLINE, 9, 0.5, 0.25, 0.1), Took("ray", 9, 0.75, 0.5, 0.2)])
    row = [cell.strip() for cell in page.splitlines()[-1].split("|")[1:-1]]
    assert row == ["ray", "9", "0.75", "0.50", "0.25", "0.25", "20"]
