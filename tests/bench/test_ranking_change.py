"""The former ranking beside the board's, on invented records whose former figures are known."""

from itertools import product
from pathlib import Path

import pytest

from bench.leaderboard.boards import boards_of
from bench.leaderboard.points import gather
from bench.leaderboard.runs import runs_of
from bench.studies.ranking_change import app, change_table, former_ranking
from cwwm.support.console import run_app
from tests.bench.invented import Outcome, attacked, record_store_of, typed

HOSTS = list(product(("m", "n"), (0, 1)))
TWO_HUMPED = [(-0.5, False), (0.3, False), (60.0, False), (80.0, True)]  # lost, recovered


def records() -> list[dict[str, object]]:
    made = [
        attacked("two-humped", "magnitude", Outcome(1, back, lost), model=m, seed=s)
        for (m, s), (lost, back) in zip(HOSTS, TWO_HUMPED, strict=True)
    ]
    made += [attacked("steady", "magnitude", Outcome(1, False, 2.0), model=m, seed=s) for m, s in HOSTS]
    return made + [
        attacked("fails", "magnitude", Outcome(1, s == 0, 0.5), embedded=s == 0, model=m, seed=s) for m, s in HOSTS
    ]


def test_a_mean_of_two_humps_was_first_and_is_not() -> None:
    points = gather(typed(records()))
    former = former_ranking(points)
    assert [former[name, 256].place for name in ("two-humped", "steady", "fails")] == [1, 2, 3]
    assert former["two-humped", 256].text == "> 35.1"  # of 0, 0.3, 60 and more than 80
    (board,) = boards_of(runs_of(points))
    rows = {str(row[1]): row for row in change_table(board, points)[1]}
    assert list(rows) == ["steady", "two-humped", "fails"]
    assert "the price was a mean of 0.0 to 80.0 points" in str(rows["two-humped"][-1])
    assert rows["fails"][-1] == "not ranked: one seed"


OUTCOMES = {
    "stands": [Outcome(1, True, 80.0)],
    "dear": [Outcome(1, False, 0.9)],
    "long": [Outcome(1, True, 0.0), Outcome(3, False, 0.5)],
    "falls": [Outcome(1, False, 0.1)],
    "unlike": [Outcome(1, True, 90.0)],
}


@pytest.mark.parametrize(
    ("scheme", "moved", "reason"),
    [
        ("stands", "same", "keeps every message at one point by both; of 4 runs that nothing removed"),
        (
            "long",
            "up 1",
            "the cheapest removal of 4 runs takes tier 3, which the headline leaves out; its place is",
        ),
        ("long", "up 1", "; passed dear"),
        ("dear", "down 1", "; passed by long"),
        ("falls", "same", "removed for at most one point by both"),
        ("unlike", "-", "not ranked: one host"),
    ],
)
def test_every_scheme_is_told_why_it_moved_or_did_not(scheme: str, moved: str, reason: str) -> None:
    hosts = dict.fromkeys(OUTCOMES, HOSTS) | {"unlike": HOSTS[:2]}
    made = [
        attacked(name, "magnitude", *outcomes, model=m, seed=s)
        for name, outcomes in OUTCOMES.items()
        for m, s in hosts[name]
    ]
    points = gather(typed(made))
    (board,) = boards_of(runs_of(points))
    rows = {str(row[1]): row for row in change_table(board, points)[1]}
    assert rows[scheme][4] == moved
    assert reason in str(rows[scheme][-1])


def test_the_study_writes_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record_store_of(tmp_path / "mine", "mine", records())
    assert run_app(app, "study", [str(tmp_path / "mine"), "-o", str(tmp_path / "change.md")]) == 0
    said = (tmp_path / "change.md").read_text()
    assert capsys.readouterr().out == said + "\n"
    assert "## Board encodings, 256 bits" in said
    assert "> 35.1" in said


def test_a_folder_without_results_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record_store_of(tmp_path / "none", "none", [])
    assert run_app(app, "study", [str(tmp_path / "none"), "-o", str(tmp_path / "change.md")]) == 2
    assert "nothing is ranked" in capsys.readouterr().err
