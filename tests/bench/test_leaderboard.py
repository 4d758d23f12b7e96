"""The leaderboard of invented records: capacity, rankings by payload, and pictures of few and of many schemes."""

import csv
from pathlib import Path

import pytest
from PIL import Image

from bench.cli.app import app
from bench.leaderboard import texts, write
from bench.leaderboard.boards import boards_of
from bench.leaderboard.capacity import capacities, capacity_tables
from bench.leaderboard.csv_table import csv_text
from bench.leaderboard.detection import flagged
from bench.leaderboard.levels import at_levels, levels_table
from bench.leaderboard.points import gather
from bench.leaderboard.runs import runs_of
from bench.leaderboard.survival_map import draw_map
from bench.leaderboard.tables import speed_table
from bench.records.store import Levels, RecordStore
from cwwm.support.console import run_app
from tests.bench.invented import many, record, record_store_of, refused, typed


def test_capacity_is_the_largest_payload_whole_in_every_run() -> None:
    records = [
        record("a", 64, "magnitude", 0.9, seed=0, energy=1e-3),
        record("a", 64, "magnitude", 0.9, seed=1, energy=3e-3),
        record("a", 256, "magnitude", 0.6, seed=0),
        record("a", 256, "magnitude", 0.4, seed=1),
        record("b", 256, "magnitude", 0.96, seed=0),
        refused("b", 256, "magnitude", seed=1),
        record("a", 256, "magnitude (layer)", 0.99),
    ]
    points = gather(typed(records))
    found = {(c.scheme, c.strength): (c.payload, c.energy) for c in capacities(points)}
    assert set(capacity_tables(points)) == {"magnitude"}
    assert found["a", 0.3] == (256, pytest.approx(1e-3))
    assert found["a", 0.5] == (64, pytest.approx(2e-3))
    assert found["a", 0.89] == (64, pytest.approx(2e-3))
    assert found["a", 0.92] == (0, None)
    assert found["b", 0.1] == (0, None)


def test_several_payloads_are_ranked_apart_and_give_the_section_on_capacity(tmp_path: Path) -> None:
    both = [record("a", bits, "magnitude", 0.9) for bits in (64, 256)]
    page = texts("mine", typed(both))["leaderboard.md"]
    assert "tiers 1 to 3, 64 bits\n" in page
    assert "tiers 1 to 3, 256 bits\n" in page
    assert "| scheme   | 0.1" in page.split("## Capacity")[1]
    assert "256 (1.0e-03)" in page
    one = texts("mine", typed(both[:1]))["leaderboard.md"]
    assert "Capacity" not in one
    assert " bits\n" not in one
    pictures = [path.name for path in write(record_store_of(tmp_path, "mine", both[:1]))][2:]
    assert pictures == ["leaderboard.png", "attacks.png"]


def test_pictures_hold_many_schemes_and_repeat_byte_by_byte(tmp_path: Path) -> None:
    records = list(many())
    names = ["leaderboard.md", "leaderboard.csv", "leaderboard.png", "attacks.png", "capacity.png"]
    record_store = record_store_of(tmp_path, "many", records)
    assert [path.name for path in write(record_store)] == names
    first = {name: (tmp_path / name).read_bytes() for name in names}
    write(record_store)
    assert {name: (tmp_path / name).read_bytes() for name in names} == first
    assert all(len(first[name]) > 20_000 for name in names[2:])
    for name in names[2:4]:
        with Image.open(tmp_path / name) as picture:
            assert picture.width == 800


@pytest.mark.parametrize("scheme", ["a", "a scheme whose name is a long one"])
def test_the_name_of_a_board_ends_before_the_attacks_of_its_map_begin(scheme: str) -> None:
    records = [record(scheme, 256, attack, 0.9) for attack in ("magnitude", "random")]
    figure = draw_map(boards_of(runs_of(gather(typed(records)))), "suite mine")
    figure.canvas.draw()
    (about,) = (text for text in figure.texts if text.get_text().startswith("board "))
    above = [tick.label2 for tick in figure.axes[0].xaxis.get_major_ticks()]
    assert [label.get_text() for label in above] == ["1: magnitude", "1: random"]
    assert about.get_window_extent().x1 < min(label.get_window_extent().x0 for label in above)


def test_attacks_at_equal_cost_are_shown_by_points_lost_whatever_each_model_took(tmp_path: Path) -> None:
    records = [
        *(record("tough", 256, "magnitude", 0.96, model=model, seed=seed) for model in "mn" for seed in (0, 1)),
        record("weak", 256, "magnitude", 0.6, model="m"),
        record("weak", 256, "magnitude", 0.95, model="n"),
        record("weak", 256, "random", 1.0, model="m"),
    ]
    levels: Levels = {
        ("magnitude", "m"): {0.0: 0.7, 1.0: 0.7, 3.0: 0.98},
        ("magnitude", "n"): {0.0: None, 1.0: 0.89, 3.0: 0.95},
    }
    points = gather(typed(records))
    found = {(p.model, p.scheme, p.strength): p.exact for p in at_levels(points, levels)}
    assert found == {
        ("m", "tough", 0): (2, 2), ("m", "tough", 1): (2, 2), ("m", "tough", 3): (0, 2),
        ("n", "tough", 1): (2, 2), ("n", "tough", 3): (2, 2),
        ("m", "weak", 0): (0, 1), ("m", "weak", 1): (0, 1), ("m", "weak", 3): (0, 1),
        ("n", "weak", 1): (1, 1), ("n", "weak", 3): (0, 1),
    }  # fmt: skip
    headers, rows = levels_table(points, levels)
    assert headers == ["scheme", "bits", "magnitude"]
    assert rows == [["tough", 256, "100 100 50"], ["weak", 256, "0 50 0"]]
    assert levels_table(points, {("random", "m"): {0.0: None, 3.0: 0.3}})[1] == [["weak", 256, "- 100"]]

    record_store = record_store_of(tmp_path, "mine", records, levels)
    assert record_store.levels == levels
    assert "leaderboard.png" in [path.name for path in write(record_store)]
    page = (tmp_path / "leaderboard.md").read_text()
    assert "at most 0, 1, 3 points" in page
    assert "| tough    | 256    | 100 100 50  |" in page
    assert page == texts("mine", record_store.records(), levels)["leaderboard.md"]
    assert "equal cost" not in texts("mine", typed(records))["leaderboard.md"]
    assert RecordStore(tmp_path).pack(tmp_path / "packed").levels == levels


@pytest.mark.parametrize(
    ("hits", "total", "nominal", "shown"),
    [
        (39, 10_800, 1e-3, "**0.00361 [0.0026, 0.0049]**"),
        (18, 10_800, 1e-3, "0.00167 [0.00099, 0.0026]"),
        (1, 10_800, 1e-3, "*9.26e-05 [2.3e-06, 0.00052]*"),
        (0, 10_800, 1e-6, "0 [0, 0.00034]"),
        (0, 0, 1e-3, "-"),
    ],
)
def test_a_rate_is_flagged_if_its_interval_excludes_the_nominal_one(
    hits: int, total: int, nominal: float, shown: str
) -> None:
    assert flagged(hits, total, nominal) == shown


def test_an_archived_folder_says_so_above_its_tables_until_it_is_run_again(tmp_path: Path) -> None:
    records = [record("a", 64, "magnitude", 0.9)]
    record_store = record_store_of(tmp_path / "out", "mine", records, {("magnitude", "m"): {0.0: 0.7}})
    assert record_store.archived is None
    assert (
        run_app(app, "cwwm-bench", ["archive", str(record_store.folder), "--reason", "marks are bound now."]) == 0
    )
    assert record_store.archived is not None
    assert record_store.archived.endswith(": marks are bound now.")
    assert record_store.levels
    head = (record_store.folder / "leaderboard.md").read_text().splitlines()[:3]
    assert head == ["# Leaderboard of suite mine", "", f"> {record_store.archived}"]
    assert record_store.pack(tmp_path / "packed").archived == record_store.archived
    record_store.plan("mine", [made["identity"] for made in records])
    assert record_store.archived is None
    assert run_app(app, "cwwm-bench", ["archive", str(tmp_path), "--reason", "none"]) == 2


def test_marks_in_finished_models_have_no_overhead_of_training() -> None:
    trained, finished = (record(scheme, 256, "magnitude", 0.5) for scheme in ("trained", "finished"))
    finished["timing"]["step_ratio"] = None
    points = gather(typed([trained, finished]))
    _, rows = speed_table(points)
    assert {row[1]: row[5] for row in rows} == {"trained": "1.00", "finished": "-"}
    lines = csv.DictReader(csv_text(points).splitlines())
    assert {line["scheme"]: line["step_ratio"] for line in lines} == {"trained": "1", "finished": "-"}
