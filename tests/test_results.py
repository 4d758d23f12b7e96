"""Committed tables follow from the committed records beside them, by the code as it is."""

import csv
from pathlib import Path

import pytest

from bench.cli import app
from cwwm.console import run_app

RESULTS = Path(__file__).resolve().parent.parent / "results"
KINDS = ("*/cells", "*/records.jsonl.xz", "baseline/*/records.jsonl.xz")
FOLDERS = sorted({path.parent for kind in KINDS for path in RESULTS.glob(kind)})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_committed_tables_follow_from_their_records(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, "cwwm-bench", ["check", str(folder), "--sample", "0", "--device", "cpu"]) == 0
    assert "all is well" in capsys.readouterr().out


def test_there_are_committed_results() -> None:
    assert "smoke" in {folder.name for folder in FOLDERS}


def test_a_hundred_architectures_of_many_families_are_marked_on_the_cpu() -> None:
    with (RESULTS / "zoo" / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    small = {row["model"]: row["family"] for row in rows if row["works"] == "1" and int(row["model_weights"]) < 1e8}
    assert len(small) >= 100
    assert len(set(small.values())) >= 25
    assert all(row["works"] == "1" or row["reason"] for row in rows)
    assert {row["weights"] for row in rows} == {"initial", "perturbed"}
