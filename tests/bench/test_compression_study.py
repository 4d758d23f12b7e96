"""The page on compression is derived from records: ratios as measured, levels by mean loss over seeds."""

from pathlib import Path
from statistics import fmean

import pytest

from bench.leaderboard.points import Point, gather
from bench.records.schema import Achieved
from bench.records.store import RecordStore
from bench.studies.compression import LEVELS, app, curves, page, reach_table
from bench.studies.compression_picture import lost
from cwwm.support.console import run_app


@pytest.fixture
def points(finished: Path) -> list[Point]:
    wanted = ("magnitude", "random")
    found = gather(RecordStore(finished).records())
    return [p for p in found if p.scheme == "cwc" and p.attack in wanted]


def test_a_loss_is_signed_and_against_the_control(points: list[Point]) -> None:
    for point in points:
        for run in point.runs:
            before = run.record.host.accuracy.percent
            assert lost(run) == before - run.row.accuracy.percent


def test_each_level_has_the_hardest_ratio_within_it(points: list[Point]) -> None:
    rows = reach_table(points).splitlines()[2:]
    assert len(rows) == len(curves(points)) == 2
    for row, ((model, attack), curve) in zip(rows, sorted(curves(points).items()), strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[:2] == [model, attack]
        for shown, level in zip(cells[2:], LEVELS, strict=False):
            within = [p for p in curve if fmean(lost(run) for run in p.runs) <= level]
            expected = "-"
            if within:
                sparsity = fmean(run.row.achieved.sparsity or 0.0 for run in within[-1].runs)
                expected = f"{1 / (1 - sparsity):.1f}"
            assert shown == expected
        assert cells[-1] == "; ".join(sorted({run.record.environment.hardware for p in curve for run in p.runs}))


@pytest.mark.parametrize(
    ("achieved", "ratio"),
    [
        ({"weight_ratio": 4.0, "sparsity": 0.5}, 4.0),
        ({"ratio": 3.0, "sparsity": 0.1}, 3.0),
        ({"parameters_before": 100, "parameters": 20}, 5.0),
        ({"sparsity": 0.9}, 10.0),
    ],
)
def test_a_ratio_is_what_the_attack_measured(achieved: dict[str, float], ratio: float) -> None:
    assert Achieved.model_validate(achieved).compression == pytest.approx(ratio)


def test_the_page_names_attacks_papers_and_hardware(points: list[Point]) -> None:
    text = page(points, points, "some machine", "curves.png")
    for part in (
        "some machine",
        "magnitude",
        "random",
        "arXiv 1811.01907",
        "theirs and not measured here",
        "(curves.png)",
    ):
        assert part in text


def test_without_records_it_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["-o", str(tmp_path / "x.md"), "--anchors", str(tmp_path), "--reach", str(tmp_path)]
    assert run_app(app, "study", arguments) == 2
    assert "cwwm-bench run compression-anchors" in capsys.readouterr().err
    assert not (tmp_path / "x.md").exists()
