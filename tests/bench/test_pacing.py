"""Budgets: what they are, what comes first, that nothing is begun which would end too late, and what was cut."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.execution.time_budget import Durations, Kind, TimeBudget, by_importance, cut_rows, parse_budget
from bench.records.store import RecordStore
from bench.suite import Suite, load_suite
from bench.suite.cell import Cell
from bench.suite.expand import cells
from bench.support.artifact_store import ArtefactStore
from cwwm.support.errors import BadInput

Bench = Callable[..., int]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("60m", 3600), ("1h", 3600), ("1.5h", 5400)])
def test_budgets_have_units(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "60", "m", "-5m", "0s", "60 minutes", "nanm", "infh"])
def test_other_budgets_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--budget"):
        parse_budget(text)


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite("smoke")


@pytest.fixture(scope="module")
def planned(suite: Suite) -> list[Cell]:
    return cells(suite, {"device": "cpu"})


def test_all_is_covered_at_one_seed_before_the_next_and_schemes_keep_their_order(
    suite: Suite, planned: list[Cell]
) -> None:
    ordered = by_importance(planned, suite)
    assert sorted(cell.identity for cell in ordered) == sorted(cell.identity for cell in planned)
    assert [cell.host.seed for cell in ordered] == sorted(cell.host.seed for cell in planned)
    first = [cell for cell in ordered if cell.host.seed == 0]
    labels = [entry.label for entry in suite.schemes]
    assert [labels.index(cell.mark.scheme.label) for cell in first] == sorted(
        labels.index(c.mark.scheme.label) for c in first
    )


@settings(max_examples=15, deadline=None)
@given(budget=st.floats(1, 200), costs=st.lists(st.floats(0.1, 20), min_size=6, max_size=6))
def test_no_cell_is_begun_that_would_end_too_late(
    suite: Suite, planned: list[Cell], budget: float, costs: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With durations that repeat exactly, only cells of a kind never seen may end after the deadline."""
    folder, planned = tmp_path_factory.mktemp("paced"), planned[::8]
    now, seen, store = 0.0, set(), ArtefactStore(folder)
    durations = Durations(folder / "durations.json", "a machine")
    budgeted = TimeBudget(
        by_importance(planned, suite), deadline=budget, durations=durations, store=store, clock=lambda: now
    )
    begun = 0
    for cell in budgeted:
        begun += 1
        kind = Kind.of(cell, store)
        now += costs[hash(kind.attack) % len(costs)]
        assert now <= budget or kind not in seen
        seen.add(kind)
    assert begun >= 1
    ordered = by_importance(planned, suite)
    assert begun == len(planned) or not budgeted.may_begin(ordered[begun])


def test_durations_last_on_one_machine_only(tmp_path: Path) -> None:
    kind = Kind("a", "b", 64, "c", "mark")
    Durations(tmp_path / "durations.json", "this machine").add(kind, 7.0)
    again = Durations(tmp_path / "durations.json", "this machine")
    assert again.expected(kind) == 7.0
    assert again.expected(kind._replace(scheme="other")) == 7.0, "the most alike that was measured stands in"
    assert Durations(tmp_path / "durations.json", "another").expected(kind) == 0.0


def test_what_was_cut_is_told_by_seed_scheme_and_model(planned: list[Cell]) -> None:
    rows = cut_rows([cell for cell in planned if cell.host.seed == 1])
    assert len(rows) == 2 * 3
    assert {row["seed"] for row in rows} == {1}
    assert sum(len(row["attacks"]) for row in rows) == len(planned) // 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_stops_at_its_budget_says_what_it_cut_and_goes_on_later(
    jobs: int, tiny: Path, finished: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    waiting = [r for r in RecordStore(out).records() if r.key.attack == "magnitude" and r.key.seed == 1]
    for record in waiting:
        (out / "cells" / f"{record.identity}.json").unlink()
    arguments = ("run", tiny / "tiny.yaml", "--out", out, "--device", "cpu")
    assert bench(*arguments, "--budget", "0.001s", "--jobs", jobs) == 0
    assert "2 cells cut by the budget" in capsys.readouterr().out
    cut = json.loads((out / "cut.json").read_text())["cells"]
    assert [(row["seed"], row["scheme"], row["attacks"]) for row in cut] == [
        (1, "cwc", ["magnitude"]),
        (1, "sign-repetition", ["magnitude"]),
    ]
    assert bench(*arguments, "--budget", "10m", "--jobs", jobs) == 0
    assert len(list(RecordStore(out).records())) == 16
    assert json.loads((out / "cut.json").read_text())["cells"] == []
