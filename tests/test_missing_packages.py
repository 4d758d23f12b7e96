"""Hosts without all packages: what works there works, and the rest says in one line which package it needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cwwm.support.packages import missing_package

pytestmark = pytest.mark.programs

ROOT = Path(__file__).resolve().parent.parent
#: what a host lacks that has torch, torchvision, timm, matplotlib, tabulate, PyYAML and pydantic, but no registry
ABSENT = ("sklearn", "skimage", "gmpy2", "reedsolo", "torch_pruning", "torchao", "onnx", "onnxscript")
COMMAND = "from cwwm.support.console import run_app\nfrom {} import app\nsys.exit(run_app(app, {!r}, sys.argv[1:]))"
PLAN = """
from pathlib import Path
from bench.cli.listing import CATALOGUE, catalogue
from bench.support.environment import choose_device, prepare
from bench.records.store import RecordStore
from bench.cli.options import chosen_suite
from bench.suite.expand import cells, pending
assert all(catalogue(name)[1] for name in CATALOGUE)
for name in ("smoke", "zoo"):
    todo = cells(chosen_suite(name, None, None, None, 1), prepare(choose_device("cpu"), 1))
    assert len(pending(todo, RecordStore(Path(sys.argv[1])))) == len(todo) > 0
"""


def without(absent: tuple[str, ...], script: str, *arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run a script in an interpreter that finds none of these modules."""
    block = f"import sys\nsys.modules.update(dict.fromkeys({absent!r}))\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", block + script, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_lists_and_plans_take_no_scikit_learn(tmp_path: Path) -> None:
    done = without(ABSENT, PLAN, str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "package", "arguments"),
    [
        ("sklearn", "scikit-learn", ("run", "smoke")),
        ("sklearn", "scikit-learn", ("nightly", "smoke")),
        ("pydantic", "pydantic", ("schema",)),
        ("pydantic", "pydantic", ("plan", "smoke")),
        ("yaml", "pyyaml", ("plan", "smoke")),
        ("tabulate", "tabulate", ("leaderboard", str(ROOT / "results" / "smoke"))),
        ("timm", "timm", ("plan", "smoke")),
        ("pyarrow", "pyarrow", ("export", str(ROOT / "results" / "smoke"), "--to", "parquet", "--folder", "out")),
        ("ray", "ray", ("run", "smoke", "--engine", "ray")),
        ("submitit", "submitit", ("run", "smoke", "--engine", "slurm")),
    ],
)
def test_a_command_names_the_package_that_it_misses(
    module: str, package: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    done = without((module,), COMMAND.format("bench.cli.app", "cwwm-bench"), *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("compared with")]
    assert line.startswith(f"cwwm-bench: this needs the package {package}, which is not installed: pip install ")
    assert line.endswith((package, *(f"'cwwm[{extra}]'" for extra in ("bench", "parquet", "ray", "slurm")))), line


def test_the_owner_s_commands_take_no_package_of_an_extra(tmp_path: Path) -> None:
    extras = (*ABSENT[1:], "yaml", "tabulate", "matplotlib", "timm", "torchvision")
    script = COMMAND.format("cwwm.cli.app", "cwwm")
    assert without(extras, script, "keygen", "-o", "owner.key", cwd=tmp_path).returncode == 0
    done = without(("scipy",), script, "inspect", "none.safetensors", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_an_onnx_file_names_the_extra_that_reads_it(tmp_path: Path) -> None:
    suspect = ROOT / "tests" / "fuzz" / "corpus" / "exported.onnx"
    done = without(("onnx",), COMMAND.format("cwwm.cli.app", "cwwm"), "inspect", str(suspect), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("cwwm: this needs the package onnx, which is not installed: pip install ")
    assert line.endswith(("onnx", "'cwwm[onnx]'"))


@pytest.mark.parametrize("module", ["cwwm.nothing", "bench.nothing", "torch.nothing", None])
def test_a_fault_of_a_program_is_no_missing_package(module: str | None) -> None:
    assert missing_package(ModuleNotFoundError("no such module", name=module)) is None


def test_a_package_of_no_extra_is_named_alone() -> None:
    said = missing_package(ModuleNotFoundError("no such module", name="no_such_package.part"))
    assert said == "this needs the package no_such_package, which is not installed: pip install no_such_package"
