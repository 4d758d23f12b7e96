"""The study of readings: what each reading is worth follows from its records, and too few runs give no rank."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.leaderboard.points import gather
from bench.leaderboard.runs import runs_of
from bench.records.schema import Json
from bench.studies.readings import HEADLINE, Grid, Reading, app, page, readings_of, terms_of
from bench.studies.readings_picture import draw_grid
from bench.suite import load_suite
from cwwm.support.console import run_app

from .invented import Outcome, attacked, record_store_of, typed

FREE, WEIGHTS, SMALL, FULL = range(4)
TIERS = {"permute": FREE, "magnitude": WEIGHTS, "random": SMALL, "finetune (epochs=2)": FULL}


def run(
    label: str, gone: dict[str, float], *, seed: int = 0, reader: str | None = None, scheme: str = "sign"
) -> list[Json]:
    """Return the records of one run, removed by the attacks in `gone` at so many points."""
    records = []
    for attack, tier in TIERS.items():
        outcome = Outcome(tier, attack not in gone, gone.get(attack, 0.0), validation=gone.get(attack, 0.0))
        made = attacked(label, attack, outcome, seed=seed, reader=reader)
        made["recipe"]["scheme"]["name"] = scheme
        made["marked"] |= {"answers": {"equal": 95, "total": 100}, "answers_floor": {"equal": 97, "total": 100}}
        records.append(made)
    return records


def readings(*records: Json) -> list[Reading]:
    return readings_of(runs_of(gather(typed(records))))


RECORDS = [
    *(r for seed in (0, 1) for r in run("weak tuned", {"permute": 0.0, "magnitude": 0.5}, seed=seed)),
    *(r for seed in (0, 1) for r in run("weak tuned aligned", {"magnitude": 0.5}, seed=seed, reader="aligned")),
    *(r for seed in (0, 1) for r in run("strong", {"permute": 0.0, "magnitude": 4.0}, seed=seed)),
    *(r for seed in (0, 1) for r in run("strong per-channel", {"permute": 0.0}, seed=seed, reader="per-channel")),
    *run("strong aligned", {"random": 0.9}, seed=0, reader="aligned"),
    *run("strong aligned", {"finetune (epochs=2)": 0.9}, seed=1, reader="aligned"),
    *(r for seed in (0, 1) for r in run("code", {"magnitude": 0.0}, seed=seed, scheme="cwc")),
]


def test_a_reading_is_counted_by_tiers_without_free_moves_and_with_them() -> None:
    found = {(r.encoding, r.reader): r for r in readings(*RECORDS)}
    assert list(found)[1:4] == [("strong", "blind"), ("strong", "per-channel"), ("strong", "aligned")]
    blind, aligned = found["strong", "blind"], found["strong", "aligned"]
    assert (blind.free, aligned.free) == ((0, 2), (2, 2))
    assert [blind.survival(range(1, last + 1)) for last in (1, 2, 3)] == [(2, 2)] * 3
    assert blind.survival(HEADLINE) == (0, 2)
    assert [aligned.survival(range(1, last + 1)) for last in (1, 2, 3)] == [(2, 2), (1, 2), (0, 2)]
    assert aligned.survival(HEADLINE) == (1, 2)
    assert aligned.row({"strong": "answers"}) == [
        *("strong", "aligned", "2/2", "2/2", "2/2", "1/2", "0/2", "1/2", "95.0 %", "97.0 %", "+0.00", "1.0e-03"),
        "answers",
    ]


def test_a_mark_that_was_never_embedded_is_in_no_survival() -> None:
    made = [attacked("lost", attack, Outcome(tier, False, 0.0), embedded=False) for attack, tier in TIERS.items()]
    (reading,) = readings(*made)
    assert (reading.free, reading.survival(HEADLINE), reading.whole) == ((0, 0), (0, 0), 1)
    assert reading.row({})[2:8] == ["0/1", "-", "-", "-", "-", "-"]


def test_constant_weight_codes_stand_first_and_who_outlives_more_before_who_does_less() -> None:
    grid = Grid.of(readings(*RECORDS), 2)
    assert list(grid.readings) == ["code", "strong", "weak tuned"]
    text = page(grid, {}, "Models m; a machine", "grid.png")
    assert "Not ranked" not in text
    assert all(part in text for part in ("| strong", "a machine", "(grid.png)"))


def test_too_few_runs_or_tiers_are_said_in_place_of_a_rank() -> None:
    short = [r for r in RECORDS if not (r["key"]["scheme"] == "strong" and r["key"]["attack"].startswith("fine"))]
    assert Grid.of(readings(*short), 2).lacking == ["strong (blind 0, per-channel 2, aligned 2)"]
    assert list(Grid.of(readings(*short), 2).readings) == ["code", "weak tuned", "strong"]
    grid = Grid.of(readings(*RECORDS), 3)
    assert list(grid.readings) == ["code", "strong", "weak tuned"]
    assert "needs 3 runs that met every tier, and these have fewer: code (blind 2)" in page(grid, {}, "", "")


def test_a_run_that_a_lower_tier_decided_needs_no_higher_one() -> None:
    decided = run("decided", {"magnitude": 0.0})[:2]
    moved = run("moved", {"permute": 0.0})[:2]
    assert [reading.whole for reading in readings(*decided, *moved)] == [1, 0]


def test_the_picture_has_a_number_in_every_field_and_fits_800_pixels() -> None:
    grid = Grid.of(readings(*RECORDS), 2)
    figure = draw_grid(grid.readings)
    without, axis = figure.axes
    assert [label.get_text() for label in without.get_yticklabels()] == list(grid.readings)
    assert [text.get_text() for text in axis.texts] == [
        *("0.00", "-", "-", "-"), *("0.00", "0.00", "0.50", "-"), *("0.00", "-", "0.00", "-")
    ]  # fmt: skip
    assert figure.get_size_inches()[0] == 8


def test_the_page_is_written_from_a_folder_of_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record_store_of(tmp_path / "records", "readings", RECORDS)
    output = tmp_path / "x.md"
    assert run_app(app, "study", ["-o", str(output), "--records", str(tmp_path / "records")]) == 0
    assert "these have fewer" in output.read_text()
    assert output.with_suffix(".png").stat().st_size > 1000
    assert run_app(app, "study", ["-o", str(tmp_path / "y.md"), "--records", str(tmp_path)]) == 2
    assert "cwwm-bench run readings" in capsys.readouterr().err
    assert not (tmp_path / "y.md").exists()


def test_the_suite_reads_each_mark_in_every_way_that_its_scheme_allows() -> None:
    suite = load_suite("readings")
    ways: dict[str, list[str]] = {}
    for entry in suite.schemes:
        ways.setdefault(suite.tuned_as(entry).label, []).append(entry.reader)
    assert {tuple(readers) for label, readers in ways.items() if not label.startswith("deepsigns")} == {
        ("blind", "per-channel", "aligned"),
        ("blind", "per-channel", "aligned", "informed"),
    }
    assert ways["deepsigns tuned"] == ["blind"]
    best, mine = ({e.label: e for e in one.schemes} for one in (load_suite("encodings"), suite))
    finished = {"protected-cwc finished", "cwc finished"}  # of this suite and of systems
    for label in ways.keys() - finished:
        assert (mine[label].name, mine[label].parameters) == (best[label].name, best[label].parameters)
        tune, theirs = mine[label].tune, best[label].tune
        assert (tune is None) == (theirs is None)
        if tune and theirs:
            assert (tune.parameter, tune.low, tune.choices) == (theirs.parameter, theirs.low, theirs.choices)
            assert tune.high >= theirs.high
    assert ways.keys() - finished == {e.label for e in best.values() if e.tune} | {
        "protected-cwc",
        "cwc",
        "cwc tuned",
    }
    assert set(terms_of(suite)) <= set(ways)
    assert terms_of(replace(suite, models=())) == {}  # those of other suites' hosts are not told
