"""Published results: which are of this source, what runs them, in which order, and what is left."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.app import app
from bench.models.registry import ZOO_VARIABLE
from bench.published.entries import LIST, Entry, Published, read_published
from bench.published.facts import facts_of
from bench.published.provenance import provenance_path, told_arguments
from bench.published.readme import BEGIN, END, command, readme_text
from bench.published.state import FRESH, state_of
from bench.records.record import changed
from bench.records.store import RecordStore
from bench.suite.expand import cells
from cwwm.support.console import BAD_INPUT, DONE, FAILED, run_app
from cwwm.support.errors import BadInput
from cwwm.support.files import write_json

Bench = Callable[..., int]

DURATIONS = {
    "hardware": "a machine",
    "cells": [["m", "cwc", 64, "prune", "host", 3.0], ["m", "cwc", 64, "prune", "nothing", 1.0]],
}
STUDY = {
    "result": "scaling.md",
    "study": "scaling",
    "arguments": "results/durations.json",
    "reads": ["results/durations.json"],
}
SUITE = {"models": ["tiny"], "schemes": ["cwc"], "attacks": ["random"], "seeds": 1}


@pytest.fixture
def place(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of results, empty but for its page, in the working directory, with the tiny zoo."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ZOO_VARIABLE, str(tiny / "models.yaml"))
    folder = Path("results")
    folder.mkdir()
    (folder / "README.md").write_text(f"# Results\n\n{BEGIN}\n{END}\n\nThe end.\n")
    write_json(folder / "durations.json", DURATIONS)
    return folder


def published(folder: Path, *entries: dict[str, object]) -> Published:
    write_json(folder / LIST, {"results": list(entries)})  # JSON is YAML
    return read_published(folder)


def results(*arguments: object) -> int:
    return run_app(app, "cwwm-bench", ["results", *map(str, arguments)])


def suite(tiny: Path, result: str = "tiny", **more: object) -> dict[str, object]:
    return {"result": result, "suite": str(tiny / "tiny.yaml"), **SUITE, **more}


@pytest.fixture
def packed(place: Path, finished: Path) -> RecordStore:
    """Return the records of a whole run of the tiny suite, published."""
    return RecordStore(finished).pack(place / "tiny")


@pytest.mark.programs
def test_a_result_is_fresh_if_and_only_if_all_its_cells_have_records_of_this_source(
    place: Path, tiny: Path, packed: RecordStore
) -> None:
    whole = published(place, {"result": "tiny", "suite": str(tiny / "tiny.yaml")})
    assert state_of(whole.entries[0], whole).fresh
    more = published(place, {"result": "tiny", "suite": str(tiny / "tiny.yaml"), "seeds": 3})
    assert len(state_of(more.entries[0], more).left) == 8
    older = next(iter(packed.records()))
    packed.write(changed(older, beside={**older.to_json()["beside"], "detection": "0" * 32}))
    state = state_of(whole.entries[0], whole)
    assert not state.fresh
    assert [cell.identity for cell in state.left] == [older.identity]
    packed.note_archived("2026-01-31", "why")
    assert "1 of 16 cells" in state_of(whole.entries[0], whole).told
    assert facts_of(whole.entries[0], place).source == "archived"


@pytest.mark.programs
def test_only_what_is_left_is_run_and_records_of_another_machine_stay(
    place: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--model", "tiny", "--scheme", "cwc", "--seeds", "1", "--attack", "random", "--numerics", "portable")
    run = [sys.executable, "-m", "bench", "run", str(tiny / "tiny.yaml"), *options, "--out", "elsewhere"]
    subprocess.run(run, check=True, capture_output=True)
    (first,) = RecordStore(Path("elsewhere")).pack(place / "tiny").records()
    known = published(place, suite(tiny, attacks=["random", "magnitude"]))
    assert results() == DONE
    assert "1 of 2 cells are of older source or were never run" in capsys.readouterr().err
    (ran,) = Path("results/runs/tiny/cells").iterdir()
    both = {record.identity: record for record in RecordStore(place / "tiny").records()}
    assert both.keys() == {first.identity, ran.stem}
    assert both[first.identity] == first
    assert state_of(known.entries[0], known).told == FRESH


def test_an_entry_is_cut_to_the_parts_that_its_cells_have(place: Path, tiny: Path) -> None:
    whole = Entry.model_validate({"result": "tiny", "suite": str(tiny / "tiny.yaml")})
    cells_ = cells(whole.narrowed(), {})
    assert whole.only(cells_) == whole
    for kind, of in (
        ("schemes", lambda cell: cell.mark.scheme.label),
        ("attacks", lambda cell: cell.attack.label),
        ("models", lambda cell: cell.host.model.name),
    ):
        some = [cell for cell in cells_ if of(cell) == of(cells_[-1])]
        part = whole.only(some)
        assert getattr(part, kind) in ([of(cells_[-1])], [])  # all of them if it is the only one
        assert {cell.identity for cell in some} <= {cell.identity for cell in cells(part.narrowed(), {})}


@pytest.mark.programs
def test_what_ran_is_not_run_again_and_what_is_of_this_source_is_taken_over(
    place: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(place, suite(tiny), STUDY)
    assert results() == DONE
    listed = (place / "README.md").read_text()
    first = RecordStore(place / "tiny").records()
    assert [record.status for record in first] == ["ok"]
    assert (place / "tiny" / "leaderboard.md").exists()
    assert (place / "scaling.md").exists()
    assert listed == readme_text(read_published(place))
    assert listed.endswith("The end.\n")
    times = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    assert results() == DONE
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()} == times
    shutil.rmtree(place / "runs")  # as on a fresh clone
    published(place, suite(tiny, seeds=2), STUDY)
    page = (place / "scaling.md").stat().st_mtime_ns
    capsys.readouterr()
    assert results("--jobs", 2) == DONE
    assert "1 of 2 cells" in capsys.readouterr().err
    both = RecordStore(place / "tiny").records()
    assert len(both) == 2
    assert [
        record for record in both if record.identity == first[0].identity
    ] == first  # its date and times as well
    assert (place / "scaling.md").stat().st_mtime_ns == page
    assert results("--warn") == DONE
    assert "warning" not in capsys.readouterr().out


@pytest.mark.programs
def test_a_page_that_is_written_by_hand_or_derived_from_other_files_is_known(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = published(place, STUDY)
    (entry,) = known.entries
    assert state_of(entry, known).told == "never run"
    by_hand = command(entry, place).replace("python", sys.executable, 1).split()
    subprocess.run(by_hand, check=True, capture_output=True)
    assert state_of(entry, known).fresh
    noted = json.loads(provenance_path(place, entry).read_text())
    assert noted["arguments"] == ["results/durations.json"]
    write_json(place / "durations.json", {**DURATIONS, "hardware": "another machine"})
    assert "has changed: results/durations.json" in state_of(entry, known).told
    assert results("--warn") == DONE
    assert "warning: results/scaling.md: what it is derived from" in capsys.readouterr().out
    assert results("scaling") == DONE
    assert "another machine" in (place / "scaling.md").read_text()
    assert state_of(entry, known).fresh
    noted = json.loads(provenance_path(place, entry).read_text())
    for part, other, told in (
        ("source", "0" * 32, "of older source"),
        ("source", None, "of older or unknown source"),
        ("arguments", ["--gather", "x"], "made with other arguments"),
    ):
        write_json(provenance_path(place, entry), {**noted, part: other})
        assert state_of(entry, known).told == told
    write_json(provenance_path(place, entry), noted)
    (place / "scaling.md").write_text("edited")
    assert "another than the one" in state_of(entry, known).told


@pytest.mark.programs
def test_what_fails_or_lacks_calibration_is_told_and_holds_up_nothing(
    place: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (tiny / "tiny.yaml").read_text().replace("strengths: [0.02, 0.3]", "strengths: [0.02, 0.3], lost: [1]")
    Path("levels.yaml").write_text(text)
    broken = {"result": "none.md", "study": "scaling", "arguments": "results/none.json"}
    published(place, suite(tiny, "levels", suite="levels.yaml"), broken, STUDY)
    assert results() == FAILED
    said = capsys.readouterr().out
    assert "run first: cwwm-bench calibrate levels.yaml" in " ".join(said.split())
    assert "exit code 2; see results/runs/none.md/log.txt" in " ".join(said.split())
    assert (place / "scaling.md").exists()
    assert "never run" in (place / "README.md").read_text()


def test_without_time_nothing_is_begun_and_all_is_left(
    place: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(place, suite(tiny), STUDY)
    before = sorted(place.rglob("*"))
    assert results("--budget", "0.000001s") == DONE
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("left") == 2
    assert "1 of 1 cells are of older source or were never run; the budget is used up" in said
    assert sorted(place.rglob("*")) == before


def test_what_is_run_by_name_is_listed_and_otherwise_left_alone(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(place, {**STUDY, "by_name": "it takes a quiet machine"}, {"result": "x.md", "made": "`make x`"})
    assert results() == DONE
    assert not (place / "scaling.md").exists()
    assert results("--list") == DONE
    said = capsys.readouterr().out
    assert "only where it is named: it takes a quiet machine" in said
    assert "x.md: by hand: `make x`" in said


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([{"result": "a"}], "'a' takes one of suite, study, made, not none"),
        ([{"result": "a.md", "suite": "smoke", "study": "hosts"}], "not suite and study"),
        ([{"result": "a.md", "study": "hosts", "seeds": 3}], "made by a study: drop 'seeds'"),
        ([{"result": "a", "study": "hosts"}], "a Markdown page"),
        ([{"result": "a", "suite": "smoke", "seed": 3}], "unknown field 'seed'; did you mean seeds"),
        ([{"result": "a", "made": "x"}, {"result": "a", "made": "y"}], "'a' has two entries"),
    ],
)
def test_a_list_of_another_form_is_refused(entries: list[dict[str, object]], told: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=told.replace("'", ".")):
        published(tmp_path, *entries)


def test_a_name_that_is_not_published_tells_the_nearest(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published(place, STUDY)
    assert results("scalling") == BAD_INPUT
    assert "did you mean scaling.md" in capsys.readouterr().err
    assert results("--jobs", 2, "--engine", "ray") == BAD_INPUT


def test_the_file_of_finished_measurements_is_no_argument_of_the_page() -> None:
    entry = Entry(result="a.md", study="informed", keeps="--kept")
    given = ["--seed", "1", "-o", "x/a.md", "--kept", "build/k.json"]
    assert told_arguments(given, entry) == (["--seed", "1"], "build/k.json")
    assert told_arguments(["--kept=k", "--output=a.md"], entry) == ([], "k")


def test_a_command_is_whole_but_for_an_option_with_many_values() -> None:
    entry = Entry(result="a", suite="smoke", models=["b c"], attacks=list("abcde"), seeds=2, numerics="portable")
    assert command(entry, Path("results")) == (
        'cwwm-bench run smoke --model "b c" --attack ... --seeds 2 --numerics portable'
    )
