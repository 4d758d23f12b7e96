"""Strengths of attacks are chosen on the unmarked control: by what they lose there, and for all marks alike."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench.attacks import Attack, AttackContext, make_attack
from bench.calibration.attack_levels import check_comparable, chosen, points_lost, strengths_to_run, try_strengths
from bench.data import load
from bench.models.registry import ZOO_VARIABLE, HostRecipe
from bench.records.schema import Json
from bench.suite import load_suite, narrow
from bench.suite.calibration_file import AttackStrengths, read_strengths, strengths_path
from bench.suite.expand import cells
from cwwm.support.errors import BadInput
from cwwm.training import Recipe

Bench = Callable[..., int]

SUITE = """
models: [tiny]
payloads: [16, 64]
seeds: 2
schemes:
  - {name: none, carrier: body}
  - {name: sign-repetition, carrier: body, repetition: 5}
attacks:
  - {name: magnitude, strengths: [0, 0.3, 0.7, 0.9, 0.98], lost: [0, 3, 100]}
  - {name: magnitude, label: hard, strengths: [0.995, 0.999], lost: [0]}
  - {name: random, strengths: [0.02]}
"""
SOFT, HARD = ("magnitude", "tiny"), ("hard", "tiny")

POINTS = st.floats(-5, 100).map(lambda points: round(points, 2))
TRIED = st.dictionaries(st.floats(0, 64), st.none() | POINTS, min_size=1, max_size=8)
LEVELS = st.lists(st.floats(0, 20), min_size=1, max_size=4, unique=True)


@given(tried=TRIED, levels=LEVELS)
def test_the_hardest_candidate_that_is_cheap_enough_is_chosen(
    tried: dict[float, float | None], levels: list[float]
) -> None:
    found = chosen(tried, levels)
    order = list(tried)
    assert list(found) == levels
    for level, strength in found.items():
        cheap = {s for s, points in tried.items() if points is not None and points <= level}
        assert (strength is None) == (not cheap)
        harder = order if strength is None else order[order.index(strength) + 1 :]
        assert cheap.isdisjoint(harder)
        assert strength is None or strength in cheap


@given(tried=TRIED, levels=LEVELS)
def test_whoever_may_lose_more_attacks_no_milder(tried: dict[float, float | None], levels: list[float]) -> None:
    found, order = chosen(tried, sorted(levels)), list(tried)
    ranks = [-1 if strength is None else order.index(strength) for strength in found.values()]
    assert ranks == sorted(ranks)


@given(tried=TRIED, levels=LEVELS)
def test_chosen_strengths_run_once_each_in_order(tried: dict[float, float | None], levels: list[float]) -> None:
    found, order = chosen(tried, levels), list(tried)
    run = strengths_to_run(order, found)
    reached = {strength for strength in found.values() if strength is not None}
    assert [order.index(strength) for strength in run] == sorted({order.index(strength) for strength in run})
    assert set(run) == (reached or {order[0]})


def test_a_candidate_is_chosen_whatever_milder_ones_lose() -> None:
    assert chosen({2: 0.0, 4: 1.5, 8: 0.9, 16: 2.9, 32: 40.0}, [0, 1, 3]) == {0: 2, 1: 8, 3: 16}
    assert chosen({2: 0.1, 4: None}, [0, 1]) == {0: None, 1: 2}


@pytest.mark.parametrize(
    ("attack", "why"),
    [
        (make_attack("overwrite", "test"), "overwrite needs the scheme"),
        (make_attack("new-head", "test"), "new-head changes the task"),
        (make_attack({"name": "then", "first": "magnitude", "second": "new-head"}, "test"), "changes the task"),
        (make_attack("collude", "test"), "collude needs 2 marked copies"),
    ],
    ids=lambda value: value.name if isinstance(value, Attack) else "",
)
def test_an_attack_that_says_nothing_on_one_control_is_refused(attack: Attack, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        check_comparable(attack)


@pytest.fixture(scope="module")
def attacker() -> AttackContext:
    recipe = HostRecipe(mark=Recipe(epochs=1, batch_size=64, lr=1e-3))
    return AttackContext(load("digits", size=8), recipe, 7, torch.device("cpu"), lambda name: load(name, size=8))


@pytest.fixture(scope="module")
def control() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 24), nn.ReLU(), nn.Linear(24, 10)).eval()


def test_no_change_loses_nothing_and_the_control_is_left_as_it_is(
    control: nn.Module, attacker: AttackContext
) -> None:
    before = {name: value.clone() for name, value in control.state_dict().items()}
    lost = dict(points_lost(make_attack("magnitude", "test"), [0.0, 0.5, 1.0], control, attacker))
    assert list(lost) == [0.0, 0.5, 1.0]
    assert lost[0.0] == 0.0
    assert all(torch.equal(before[name], value) for name, value in control.state_dict().items())


def test_a_refused_candidate_and_those_after_it_have_no_loss(control: nn.Module, attacker: AttackContext) -> None:
    said: list[str] = []
    tried, why = try_strengths(make_attack("scale", "test"), [1.0, -1.0, 2.0], control, attacker, said.append)
    assert tried == {1.0: 0.0, -1.0: None, 2.0: None}
    assert "a factor is a number above 0" in why
    assert said == ["scale 1: 0.00 points lost"]
    assert try_strengths(make_attack("scale", "test"), [1.0], control, attacker) == ({1.0: 0.0}, "")


@pytest.fixture(scope="module")
def levelled(tiny: Path, bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a suite whose attacks were calibrated, with its output folder beside it; tests only read it."""
    suite = tmp_path_factory.mktemp("levelled") / "levelled.yaml"
    suite.write_text(SUITE)
    assert bench("calibrate", suite, "--out", suite.parent / "out", "--device", "cpu") == 0
    return suite


@pytest.fixture
def zoo(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process read the tiny zoo."""
    monkeypatch.setenv(ZOO_VARIABLE, str(tiny / "models.yaml"))


def test_the_file_says_what_was_lost_and_what_was_chosen(levelled: Path) -> None:
    strengths = read_strengths(strengths_path(levelled))
    assert set(strengths.attacks) == {SOFT, HARD}
    soft, hard = strengths.attacks[SOFT], strengths.attacks[HARD]
    assert list(soft.tried) == [0, 0.3, 0.7, 0.9, 0.98]
    assert soft.tried[0] == 0
    assert all(points is not None and points > 0 for points in hard.tried.values())
    assert soft.chosen == chosen(soft.tried, [0, 3, 100])
    assert soft.chosen[100] == 0.98
    assert hard.chosen == {0: None}
    text = strengths_path(levelled).read_text()
    assert text.startswith("# Made by: cwwm-bench calibrate levelled\n")
    assert "chosen: {0.0: null}" in text


@pytest.mark.usefixtures("zoo")
def test_all_schemes_payloads_and_seeds_run_the_same_strengths(levelled: Path) -> None:
    suite = load_suite(str(levelled))
    found = suite.calibrated.attacks[SOFT]
    run = {cell.attack.label: set[tuple[float, ...]]() for cell in cells(suite, {})}
    for cell in cells(suite, {}):
        run[cell.attack.label].add(cell.attack.strengths)
    assert run == {
        "magnitude": {strengths_to_run([0, 0.3, 0.7, 0.9, 0.98], found.chosen)},
        "hard": {(0.995,)},  # no level was reached: the mildest
        "random": {(0.02,)},
    }
    assert len(cells(suite, {})) == 2 * 2 * 2 * 3


@pytest.mark.usefixtures("zoo")
def test_another_choice_makes_other_cells_of_that_attack_only(levelled: Path) -> None:
    suite = load_suite(str(levelled))
    found = suite.calibrated.attacks[SOFT]
    other = AttackStrengths(found.tried, {0: 0.0, 3: 0.3, 100: 0.3}, found.by, found.seed)
    moved = type(suite)(**{**vars(suite), "calibrated": suite.calibrated.adding_attack(SOFT, other)})
    before = {cell.identity: cell for cell in cells(suite, {})}
    gone = before.keys() - {cell.identity for cell in cells(moved, {})}
    assert {before[identity].attack.label for identity in gone} == {"magnitude"}
    assert len(gone) == 8


def records_of(out: Path, attack: str) -> list[Json]:
    records = [json.loads(path.read_text()) for path in (out / "cells").iterdir()]
    return [record for record in records if record["key"]["attack"] == attack]


def test_a_run_loses_on_an_unmarked_model_what_the_file_says(
    levelled: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    out = levelled.parent / "out"
    arguments = ("--out", out, "--scheme", "none", "--seeds", 1, "--payload", 16, "--device", "cpu")
    assert bench("plan", levelled, *arguments) == 0
    assert "0.995" in capsys.readouterr().out
    assert bench("run", levelled, *arguments) == 0
    assert "## Whole at equal cost" in (out / "leaderboard.md").read_text()
    strengths = read_strengths(strengths_path(levelled))
    for label in ("magnitude", "hard"):
        (record,) = records_of(out, label)
        host, tried = record["host"]["validation"], strengths.attacks[label, "tiny"].tried
        for row in record["rows"]:
            points = 100 * (host["correct"] - row["validation"]["correct"]) / host["total"]
            assert points == pytest.approx(tried[row["strength"]], abs=1e-5)


def test_only_what_is_missing_or_stale_is_found(
    levelled: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "levelled.yaml"
    whole = strengths_path(levelled).read_bytes()
    strengths_path(suite).write_bytes(whole)
    arguments = ("calibrate", suite, "--out", levelled.parent / "out", "--device", "cpu")

    def found(text: str, *options: object) -> str:
        suite.write_text(text)
        capsys.readouterr()
        assert bench(*arguments, *options) == 0
        return capsys.readouterr().out.split(" chosen")[0]

    assert found(SUITE).endswith("those of 0 attacks")
    assert found(SUITE, "--again", "--attack", "hard").endswith("those of 1 attacks")
    assert strengths_path(suite).read_bytes() == whole
    for old, new in [
        ("[0.995, 0.999]", "[0.999, 0.995]"),
        ("lost: [0]}", "lost: [0, 1]}"),
        ("label: hard", "ranking: layer, label: hard"),
    ]:
        suite.write_text(SUITE.replace(old, new))
        assert bench("plan", suite) == 2
        assert f"cwwm-bench calibrate {suite}" in capsys.readouterr().err
        assert bench("plan", suite, "--attack", "random") == 0
        assert found(SUITE.replace(old, new)).endswith("those of 1 attacks")
        assert bench("plan", suite) == 0
    assert found(SUITE, "--attack", "hard").endswith("those of 1 attacks")
    assert strengths_path(suite).read_bytes() == whole


def test_naming_schemes_only_asks_for_no_attack(
    levelled: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in (("--scheme", "none"), ("--attack", "random")):
        assert bench("calibrate", levelled, *options, "--device", "cpu") == 2
        assert "none of these attacks points to be lost" in capsys.readouterr().err


def test_a_refusal_is_written_with_its_reason_and_recorded_by_the_run(
    levelled: Path, bench: Bench, tmp_path: Path
) -> None:
    suite, out = tmp_path / "refused.yaml", levelled.parent / "out"  # whose models are made already
    attack = "{name: admm-prune, label: refused, strengths: [1.0e+7, 2.0e+7], lost: [1]}"
    suite.write_text(
        f"models: [tiny]\npayloads: [16]\nschemes: [{{name: none, carrier: body}}]\nattacks: [{attack}]\n"
    )
    assert bench("calibrate", suite, "--out", out, "--device", "cpu", "--model", "tiny") == 0
    found = read_strengths(strengths_path(suite)).attacks["refused", "tiny"]
    assert (found.tried, found.chosen) == ({1e7: None, 2e7: None}, {1: None})
    assert "ratio 1e+07 is not between 1 and " in found.refused
    assert bench("run", suite, "--out", out, "--device", "cpu") == 0
    (record,) = records_of(out, "refused")
    assert (record["status"], record["recipe"]["strengths"]) == ("refused", [1e7])


@pytest.mark.usefixtures("zoo")
@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("lost: [0, 3, 100]", "lots: [0, 3]", ["lots", "attacks[0]"]),
        ("lost: [0, 3, 100]", "lost: []", ["attacks[0].lost", "at least one"]),
        ("lost: [0, 3, 100]", "lost: 3", ["attacks[0].lost", "list"]),
        ("lost: [0, 3, 100]", "lost: [few]", ["attacks[0].lost", "few", "number"]),
        ("lost: [0, 3, 100]", "lost: [true]", ["attacks[0].lost", "True", "number"]),
        ("lost: [0, 3, 100]", "lost: [-1]", ["attacks[0].lost", "-1"]),
        ("lost: [0, 3, 100]", "lost: [3, 3]", ["attacks[0].lost", "3 3"]),
        ("[0.995, 0.999]", "[0.995, 0.995]", ["attacks[1].strengths", "0.995 0.995"]),
        ("[0.995, 0.999]", "[mild, 0.995]", ["attacks[1].strengths", "mild"]),
        ("[0.995, 0.999]", "[.inf]", ["attacks[1].strengths", "inf"]),
        ("strengths: [0.995, 0.999]", "between: [0.5, 0.5]", ["attacks[1].between", "no strength between 0.5 and"]),
        ("strengths: [0.995, 0.999]", "between: [0.5, 1.5]", ["attacks[1].between", "1.5"]),
        ("strengths: [0.995, 0.999]", "between: [0.5]", ["attacks[1].between", "2"]),
        ("[0.995, 0.999]", "[0.995], between: [0.5, 0.9]", ["attacks[1].between", "'strengths' are given too"]),
        ("random, strengths: [0.02]", "random, between: [0.02, 0.5]", ["attacks[2].between", "takes 'lost'"]),
        ("random, strengths: [0.02]", "cluster, between: [3, 2], lost: [1]", ["attacks[2].between", "3 and 2"]),
        ("random, strengths: [0.02]", "random, lost: [1]", ["attacks[2]", "'strengths' is missing", "'between'"]),
        ("label: hard", "label: magnitude", ["two attacks", "magnitude"]),
        ("label: hard", "label: random", ["two attacks", "random"]),
        ("random, strengths: [0.02]", "overwrite, strengths: [1], lost: [1]", ["attacks[2].lost", "scheme"]),
    ],
)
def test_an_error_in_the_levels_of_a_suite_is_named(tmp_path: Path, old: str, new: str, names: list[str]) -> None:
    path = tmp_path / "mine.yaml"
    assert old in SUITE
    path.write_text(SUITE.replace(old, new))
    with pytest.raises(BadInput) as caught:
        load_suite(str(path))
    assert all(name in str(caught.value) for name in (*names, "mine.yaml")), str(caught.value)


@pytest.mark.usefixtures("zoo")
@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("hard:", "herd:", ["herd", "hard", "attack with 'lost'"]),
        ("tried:", "tired:", ["tired", "tried", "attacks.hard.tiny"]),
        (", seed: 0", "", ["seed", "missing"]),
        ("seed: 0", "seed: nought", ["seed", "nought"]),
        ("0.5: 1.25", "half: 1.25", ["half", "number", "tried"]),
        ("0.5: 1.25", "0.5: much", ["much", "number", "tried"]),
        ("chosen: {0: null}", "chosen: {}", ["chosen"]),
        ("chosen: {0: null}", "chosen: {0: 0.7}", ["chosen", "0.7", "none of those tried"]),
        ("{tiny: {tried", "{1: {tried", ["attacks.hard", "key 1 is a number, not text"]),
    ],
)
def test_an_error_in_the_attacks_of_a_calibration_file_is_named(
    tmp_path: Path, old: str, new: str, names: list[str]
) -> None:
    text = "values: {}\nattacks: {hard: {tiny: {tried: {0.5: 1.25}, chosen: {0: null}, by: x, seed: 0}}}\n"
    (tmp_path / "mine.yaml").write_text(SUITE)
    path = tmp_path / "mine.calibration.yaml"
    path.write_text(text)
    assert load_suite(str(tmp_path / "mine.yaml")).calibrated.attacks[HARD].tried == {0.5: 1.25}
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(BadInput) as caught:
        load_suite(str(tmp_path / "mine.yaml"))
    assert all(name in str(caught.value) for name in (*names, path.name)), str(caught.value)


@pytest.mark.usefixtures("zoo")
def test_a_model_that_was_not_calibrated_is_named(levelled: Path) -> None:
    suite = narrow(load_suite(str(levelled)), models=["test_vit"], schemes=["none"])
    with pytest.raises(
        BadInput, match=r"magnitude.*0, 3, 100 points lost on test_vit; run first: cwwm-bench calib"
    ):
        cells(suite, {})
