"""The page as a file: its size, what it leaves out to stay small, its policy, and the command that writes it."""

import hashlib
import re
from collections.abc import Callable
from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest

from bench import leaderboard
from bench.cli.app import app
from bench.leaderboard.page import LIMIT, page, write_page
from bench.leaderboard.page.archive import Archive
from bench.leaderboard.page.board_content import witness
from bench.leaderboard.page.document import LIBRARIES
from bench.leaderboard.pareto import frontier
from bench.leaderboard.points import gather, pooled
from bench.leaderboard.runs import runs_of
from bench.leaderboard.survival import removal_loss
from bench.records.store import RecordStore
from cwwm.support.console import run_app
from cwwm.support.errors import BadInput
from tests.bench.invented import record, record_store_of, typed
from tests.bench.page.conftest import RESULTS

VENDOR = files("bench.leaderboard.page") / "vendor"


def test_equal_records_give_an_equal_page_within_the_limit(smoke: RecordStore, smoke_page: Path) -> None:
    assert page(smoke) == smoke_page.read_text()
    assert smoke_page.stat().st_size < LIMIT


def test_nothing_in_the_page_names_another_place(smoke_page: Path) -> None:
    text = smoke_page.read_text()
    assert "default-src 'none'" in text
    assert re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=", text) == []
    assert "sourceMappingURL" not in text


def test_libraries_are_those_of_the_list_beside_them() -> None:
    listed = re.findall(
        r"^\| (\S+\.(?:js|css)) \| .*`([0-9a-f]{64})` \|$", (VENDOR / "README.md").read_text(), re.M
    )
    assert {name for name, _ in listed} >= set(LIBRARIES)
    assert {name for name, _ in listed} == {f.name for f in VENDOR.iterdir() if f.name.endswith((".js", ".css"))}
    for name, digest in listed:
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest


def test_records_are_cut_down_only_where_the_page_would_be_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smoke: RecordStore
) -> None:
    whole = len(page(smoke))
    monkeypatch.setattr(leaderboard.page, "LIMIT", whole - 1)
    assert len(page(smoke)) < whole - 1
    monkeypatch.setattr(leaderboard.page, "LIMIT", 100_000)
    with pytest.raises(BadInput, match=r"would have .* MB"):
        write_page(smoke, tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_out_is_gone_and_all_else_stays(smoke: RecordStore) -> None:
    archive = Archive(smoke.records())
    whole, cut = archive.to_json(), archive.to_json(["layers", "lowest"])
    assert whole["left_out"] == []
    assert cut["left_out"] == ["layers", "lowest"]
    assert "layers" in str(whole["shapes"])
    assert "layers" not in str(cut["shapes"])
    assert "lowest" in str(whole["shared"])
    assert "lowest" not in str(cut["shared"])
    kept = [b for a, b in zip(whole["columns"], cut["columns"], strict=True) if b or not a]
    assert all(values in whole["columns"] for values in kept)
    assert sum(map(len, kept)) < sum(map(len, whole["columns"]))


def test_the_rows_behind_a_loss_are_those_that_fix_it(smoke: RecordStore) -> None:
    runs = [run for run in runs_of(gather(smoke.records())) if run.scheme == "sign-repetition"]
    for run, tiers in product(runs, (range(1, 3), range(1, 4))):
        (row,) = witness(run, tiers)
        loss = removal_loss(run, tiers)
        assert row.lost == loss if row.removed else loss == float("inf")


def test_no_attack_off_the_frontier_is_better_for_the_attacker(smoke: RecordStore) -> None:
    points = [p for p in pooled(gather(smoke.records())) if p.scheme == "cwc"]
    best = frontier(points)
    assert [p.lost for p in best] == sorted(p.lost or 0.0 for p in best)
    for point in points:
        if point.lost is not None and point not in best:
            assert any((b.lost or 0.0) <= point.lost and b.evidence >= point.evidence for b in best)


def test_pooled_points_hold_the_runs_of_all_models() -> None:
    made = [
        record("a", 64, "magnitude", dies, model=m, seed=s) for m, dies in (("m", 0.9), ("n", 0.6)) for s in (0, 1)
    ]
    (at_seven,) = [p for p in pooled(gather(typed(made))) if p.strength == 0.7]
    assert at_seven.exact == (2, 4)
    assert {run.record.key.model for run in at_seven.runs} == {"m", "n"}


def test_the_command_writes_the_page_when_asked(tmp_path: Path) -> None:
    record_store_of(tmp_path / "out", "mine", [record("a", 64, "magnitude", 0.9)])

    def call(*arguments: str) -> int:
        return run_app(app, "cwwm-bench", ["leaderboard", str(tmp_path / "out"), *arguments])

    assert call() == 0
    assert not (tmp_path / "out" / "leaderboard.html").exists()
    assert call("--to", str(tmp_path / "page.html")) == 2
    assert call("--html", "--to", str(tmp_path / "page.html")) == 0
    assert call("--html") == 0
    assert (tmp_path / "page.html").read_bytes() == (tmp_path / "out" / "leaderboard.html").read_bytes()


def test_a_run_leaves_its_page(finished: Path) -> None:
    text = (finished / "leaderboard.html").read_text()
    assert "Leaderboard of suite tiny" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["compression", "encodings-pilot", "paper", "protected", "systems-pilot"])
def test_committed_results_have_a_page_within_the_limit(
    name: str, tmp_path: Path, look: Callable[..., object]
) -> None:
    made = write_page(RecordStore(RESULTS / name), tmp_path / "page.html")
    assert made.stat().st_size < LIMIT
    for view in ("survival", "curves", "pareto", "speed", "measurements", "more"):
        look(made, f"view={view}")
