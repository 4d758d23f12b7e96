"""A suite as jobs of submitit, in processes of this machine; what Slurm is not given takes one line."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.attacks import ATTACKS
from bench.records.store import RecordStore
from bench.verification.comparison import reproducible
from cwwm.schemes import SCHEMES
from tests.bench.cluster.synthetic import NAME, write
from tests.kills.stage import tables
from tests.processes import with_models_of

pytestmark = pytest.mark.programs
pytest.importorskip("submitit")

Bench = Callable[..., int]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CWWM_NODE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for registry, name in ((SCHEMES, "unwilling"), (ATTACKS, "halting")):
        registry.pop(name, None)
    sys.modules.pop(NAME, None)


@pytest.mark.slow
def test_jobs_record_what_one_process_does(tiny: Path, finished: Path, bench: Bench, place: Path) -> None:
    with_models_of(finished, place / "shared")
    on = ("--engine", "slurm", "--slurm", "cluster=local", "--slots", 2, "--shared", place / "shared")
    assert bench("run", tiny / "tiny.yaml", "--out", place / "out", "--device", "cpu", *on) == 0
    found, alone = (RecordStore(folder).records() for folder in (place / "out", finished))
    assert [reproducible(record) for record in found] == [reproducible(record) for record in alone]
    assert tables(place / "out") == tables(finished)


def test_a_plugin_s_cells_are_run_as_jobs(bench: Bench, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = write(place, 2, 2)
    on = ("--engine", "slurm", "--slurm", "cluster=local", "--slots", 1, "--plugin", NAME)
    assert bench("run", suite, "--out", place / "out", "--device", "cpu", *on) == 0, capsys.readouterr().err
    assert [record.status for record in RecordStore(place / "out").records()] == ["refused"] * 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--engine", "slurm"), "there is no sbatch here"),
        (("--engine", "slurm", "--slurm", "cluster=local", "--slurm", "colour=red"), "slurm_colour"),
        (("--engine", "slurm", "--slurm", "partition"), "--slurm is KEY=VALUE"),
        (("--engine", "slurm", "--slurm", "cluster=local", "--shared", "memory://a"), "--shared is to be a path"),
        (("--engine", "slurm", "--jobs", "2"), "are for --engine inline"),
        (("--engine", "slurm", "--address", "a:1"), "--address is of a Ray cluster"),
        (("--engine", "ray", "--shared", "s3://a/b"), "s3fs"),
        (
            (
                "--engine",
                "inlin",
            ),
            "did you mean inline?",
        ),
        (("--shared", "a"), "add --engine ray or --engine slurm"),
    ],
)
def test_what_cannot_be_used_takes_one_line(
    bench: Bench, tiny: Path, place: Path, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("run", tiny / "tiny.yaml", "--out", place / "out", "--device", "cpu", *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
