"""The twin of a hardware run on the CPU: every step, on small networks, to the folder that it leaves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.hardware_run.plan import LIMIT, plan
from bench.support.git import ROOT


@pytest.mark.slow
def test_every_step_is_done_on_the_cpu(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("--device", "cpu", "--profile", "tiny", "--out", str(out))
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-m", "bench.hardware_run", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    page = (out / "README.md").read_text()
    assert done.returncode == 0, page
    assert "all steps done" in page
    assert "FAILED" not in page
    steps = plan("tiny", "cpu", out, tmp_path)
    assert all((out / name).stat().st_size for step in steps for name in step.leaves)
    noted = json.loads((out / "steps.json").read_text())
    assert [step["exit_code"] for step in noted] == [0] * len(steps)
    assert sum(step["seconds"] for step in noted) < LIMIT
    assert json.loads((out / "hardware.json").read_text())["device"] == "cpu"
    timed = [json.loads((out / f"speed-{name}.json").read_text())["benchmarks"] for name in ("weights", "networks")]
    assert all(row["extra_info"] for rows in timed for row in rows)
    for said in (
        "informed",
        "a copy of all weights",
        "training steps of test_resnet, uchida",
        "curve of",
        "0 failures, 0 errors",
    ):
        assert said in page, said
