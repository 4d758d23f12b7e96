"""Committed tables follow from the committed records beside them, by the code as it is."""

import csv
from pathlib import Path

import pytest

from bench.cli.app import app
from bench.published.entries import Entry, read_published
from bench.published.facts import ARCHIVED, facts_of
from bench.published.provenance import file_digest, read_provenance
from bench.published.readme import readme_text
from bench.records.store import RecordStore
from bench.studies.ranking_change import app as ranking_change
from bench.verification.rebuild import rebuilt
from cwwm.support.console import run_app

pytestmark = pytest.mark.results

RESULTS = Path(__file__).resolve().parent.parent / "results"
KINDS = ("*/cells", "*/records.jsonl.xz", "baseline/*/records.jsonl.xz")
PUBLISHED = read_published(RESULTS)
FOLDERS = sorted({path.parent for kind in KINDS for path in RESULTS.glob(kind)})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_committed_tables_follow_from_their_records(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, "cwwm-bench", ["check", str(folder), "--sample", "0", "--device", "cpu"]) == 0
    assert "all is well" in capsys.readouterr().out


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_results_are_called_archived_that_this_source_gives(folder: Path) -> None:
    """Of older source: for some record this source, on the machine and with the versions of its own, makes another.

    That a note is missing since the last edit of the source fails nothing: `cwwm-bench results --warn` says so.
    """
    record_store = RecordStore(folder)
    found = (rebuilt(record, {}) for record in record_store.records())
    if record_store.archived is not None:
        assert any(isinstance(one, str) or one.older for one in found), (
            "pack the new run, whose run.json has no note"
        )


def test_the_page_of_results_is_what_its_list_and_their_files_say() -> None:
    assert (RESULTS / "README.md").read_text() == readme_text(PUBLISHED), "cwwm-bench results --readme"


def test_everything_that_is_published_is_listed_and_there() -> None:
    listed = {RESULTS / entry.result for entry in PUBLISHED.entries}
    assert not [path for path in listed if not path.exists()]
    pages = {*RESULTS.glob("*.md"), *(path.with_suffix(".md") for path in RESULTS.glob("*.png"))}
    assert {*pages, *FOLDERS, RESULTS / "gpu"} - {RESULTS / "README.md"} <= listed
    text = (RESULTS / "README.md").read_text()
    assert all(f"({path.relative_to(RESULTS)})" in text for path in RESULTS.glob("*.png"))


@pytest.mark.parametrize("entry", [e for e in PUBLISHED.entries if e.study], ids=lambda entry: entry.result)
def test_every_page_has_a_provenance_that_is_of_it(entry: Entry) -> None:
    made = read_provenance(RESULTS, entry)
    assert made is not None
    assert made.page == file_digest(RESULTS / entry.result), (
        f"cwwm-bench results {entry.result} makes page and note"
    )


def test_every_study_has_its_page_and_each_option_that_keeps_measurements_is_known() -> None:
    studies = {entry.study: entry for entry in PUBLISHED.entries if entry.study}
    modules = {path.stem: path.read_text() for path in (RESULTS.parent / "bench" / "studies").glob("*.py")}
    assert {name for name, text in modules.items() if "def study(" in text} == studies.keys()
    for name, entry in studies.items():
        options = {f"--{option}" for option in ("kept", "cache") if f"    {option}: Annotated" in modules[name]}
        assert options == ({entry.keeps} if entry.keeps else set()), name


def test_archived_pages_say_so_at_their_head() -> None:
    """But one that is derived from archived records, which say it themselves."""
    pages = [entry for entry in PUBLISHED.entries if entry.result.endswith(".md")]
    archived = {entry.result for entry in pages if facts_of(entry, RESULTS).source == ARCHIVED}
    noted = {
        e.result for e in pages if (RESULTS / e.result).read_text().split("\n")[2].startswith("> Archived on ")
    }
    assert noted == archived - {"compression.md"}


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
