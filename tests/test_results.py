"""Committed tables follow from the committed records beside them, by the code as it is."""

import csv
import re
import warnings
from pathlib import Path

import pytest

from bench.cli.app import app
from bench.records.store import RecordStore
from bench.studies.ranking_change import app as ranking_change
from bench.verification.rebuild import rebuilt
from cwwm.support.console import run_app

pytestmark = pytest.mark.results

RESULTS = Path(__file__).resolve().parent.parent / "results"
KINDS = ("*/cells", "*/records.jsonl.xz", "baseline/*/records.jsonl.xz")
FOLDERS = sorted({path.parent for kind in KINDS for path in RESULTS.glob(kind)})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_committed_tables_follow_from_their_records(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, "cwwm-bench", ["check", str(folder), "--sample", "0", "--device", "cpu"]) == 0
    assert "all is well" in capsys.readouterr().out


def labels() -> dict[Path, str]:
    """Return the last cell of each line of results/README.md, by the folders that it links to."""
    lines = [line for line in (RESULTS / "README.md").read_text().splitlines() if line.startswith("| [")]
    return {
        RESULTS / folder: line.strip(" |").rpartition("|")[2].strip()
        for line in lines
        for folder in re.findall(r"\]\((\S+)/leaderboard\.md\)", line)
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_results_are_called_archived_where_they_are_of_older_source(folder: Path) -> None:
    """Older: for some record this source, on the machine and with the versions of its own, would make another.

    A note that is not true fails; a note that is missing since the last edit of the source is a warning.
    """
    record_store = RecordStore(folder)
    found = (rebuilt(record, {}) for record in record_store.records())
    older = any(isinstance(one, str) or one.older for one in found)
    assert older or record_store.archived is None, "pack the new run, whose run.json has no note"
    word = "present" if record_store.archived is None else "archived"
    assert labels()[folder] == word, f"in results/README.md write '{word}' in its line"
    if older and record_store.archived is None:
        warnings.warn(f"{folder} is of older source: cwwm-bench archive {folder} --reason TEXT", stacklevel=1)


def test_archived_pages_say_so_at_their_head() -> None:
    lines = (RESULTS / "README.md").read_text().splitlines()
    pages = {m[1]: m[2] for line in lines if (m := re.match(r"\| \[\S+\]\((\S+\.md)\).*\| ([a-z ]+) \|$", line))}
    studies = {name: label for name, label in pages.items() if "/" not in name}
    pages_here = {path.name for path in RESULTS.glob("*.md")} - {"README.md"}
    assert studies.keys() == pages_here, "give each page a line in results/README.md"
    noted = {name for name in studies if (RESULTS / name).read_text().split("\n")[2].startswith("> Archived on ")}
    assert noted == {name for name, label in studies.items() if label == "archived"} - {"compression.md"}


@pytest.mark.parametrize(
    ("pilot", "page"), [("encodings-pilot", "ranking-change"), ("systems-pilot", "ranking-change-systems")]
)
def test_the_ranking_by_both_metrics_follows_from_the_records(pilot: str, page: str, tmp_path: Path) -> None:
    made = tmp_path / "page.md"
    assert run_app(ranking_change, "study", [str(RESULTS / pilot), "-o", str(made)]) == 0
    assert made.read_text() == (RESULTS / f"{page}.md").read_text()


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
