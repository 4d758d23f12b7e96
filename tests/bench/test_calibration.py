"""Strengths are fixed once: the search comes to its budget, the plan takes what the file says, and nothing else."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from bench.calibration.panel import ROWS
from bench.calibration.search import LOST, NEAR, SPREAD, TRAININGS, Trial, search
from bench.models.registry import ZOO_VARIABLE
from bench.suite import Tune, load_suite, narrow
from bench.suite.calibration_file import Strengths, read_strengths, strengths_path
from bench.suite.expand import cells
from cwwm.support.errors import BadInput

pytestmark = pytest.mark.programs

Bench = Callable[..., int]

SUITE = """
description: a suite with strengths to tune
models: [tiny]
payloads: [16, 64]
reference: signs
schemes:
  - {name: sign-repetition, label: signs, carrier: body, repetition: 5}
  - {name: cwc, carrier: body, at: {16: {length: 1800, weight: 450}},
     tune: {parameter: survive, low: 0.6, high: 0.99}}
attacks:
  - {name: magnitude, strengths: [0.5]}
  - {name: random, strengths: [0.02], payloads: [64]}
"""

WIDE = Tune("strength", 1e-3, 10.0)


def measured(
    energy: Callable[[float], float], lost: Callable[[float], float] = lambda s: 0.0
) -> Callable[..., Trial]:
    return lambda s: Trial(s, energy(s), 0.01, lost(s), recovered=True)


@pytest.mark.parametrize("budget", [1e-4, 1e-2, 0.3])
@pytest.mark.parametrize(
    "energy",
    [lambda s: s**2, lambda s: 3 * s, lambda s: 0.05 * s**0.6, lambda s: 5e-5 + s**2, lambda s: s**2 / (1 + s)],
    ids=["square", "linear", "slow", "with a floor", "bending"],
)
def test_the_search_comes_to_its_budget_in_few_trainings(energy: Callable[[float], float], budget: float) -> None:
    found = search(measured(energy), WIDE, budget)
    reachable = energy(WIDE.low) <= budget <= energy(WIDE.high)
    assert found.trainings <= TRAININGS
    assert found.trial is not None
    if reachable:
        assert found.by == "energy"
        assert max(found.trial.spent / budget, budget / found.trial.spent) <= 1 + NEAR
    else:
        assert found.trial.strength in (WIDE.low, WIDE.high)


def test_without_a_budget_the_noise_floor_is_the_target() -> None:
    found = search(measured(lambda s: s**2), WIDE, None)
    assert found.target == 0.01
    assert found.strength == pytest.approx(0.1, rel=NEAR)


def test_a_scheme_below_the_budget_at_its_highest_strength_is_matched_on_accuracy() -> None:
    found = search(measured(lambda s: 1e-6 * s, lambda s: s), WIDE, 0.01)
    assert (found.by, found.target) == ("accuracy", 0.01)
    assert found.trial is not None
    assert 0.1 < found.trial.strength <= LOST
    assert found.trial.lost <= LOST
    assert search(measured(lambda s: 1e-6 * s), WIDE, 0.01).strength == WIDE.high


def test_a_scheme_without_a_pool_is_matched_on_accuracy() -> None:
    found = search(lambda s: Trial(s, None, None, s / 4, recovered=True), WIDE, 0.01)
    assert (found.by, found.target) == ("accuracy", None)
    assert found.strength is not None
    assert 0.5 < found.strength <= 2.0


def test_a_strength_that_diverges_or_is_refused_above_a_good_one_is_too_strong() -> None:
    def diverging(strength: float) -> Trial:
        if strength > 0.05:
            raise FloatingPointError("the loss diverged")
        return Trial(strength, strength**2, 1e-3, 0.0, recovered=True)

    def refusing(strength: float) -> Trial:
        if strength > 0.2:
            raise BadInput("no room")
        return Trial(strength, 1e-3 * strength**2, 1e-3, 0.0, recovered=True)

    assert search(diverging, WIDE, None).strength == pytest.approx(math.sqrt(1e-3), rel=NEAR)
    assert search(refusing, WIDE, 0.01).strength == pytest.approx(0.1, rel=0.99)


@pytest.mark.parametrize("noise", [0.0, 0.15])
def test_of_answers_the_largest_strength_within_the_budget_is_found_though_trainings_differ(noise: float) -> None:
    def changed(strength: float) -> float:
        return 0.02 * math.hypot(1, strength / 3) * (1 + noise * math.sin(1e3 * strength))

    found = search(lambda s: Trial(s, changed(s), 0.02, 0.0, recovered=True), WIDE, 0.022, "answers")
    assert found.trial is not None
    assert (found.by, found.target) == ("answers", 0.022)
    assert found.trial.change == changed(found.trial.strength) <= 0.022 * (1 + SPREAD)
    assert 0.5 < found.trial.strength < 4  # where a plateau of noise ends, and not the first strength on it
    assert found.trainings <= TRAININGS
    assert {"answers_changed", "answers_floor"} < set(found.facts())
    assert not {"energy", "noise_floor"} & set(found.facts())


@pytest.mark.parametrize(
    ("changed", "lost", "by", "strength"),
    [
        (lambda s: 0.001, lambda s: 0.0, "accuracy", WIDE.high),  # never as much as the budget
        (lambda s: 0.001, lambda s: s, "accuracy", 0.316),
        (lambda s: 0.02, lambda s: s, "answers", WIDE.high),
        (lambda s: 0.03 + s, lambda s: 0.0, "answers", 0.0018),  # always more: the least that was tried
    ],
)
def test_a_scheme_out_of_reach_of_the_budget_of_answers_says_what_was_met(
    changed: Callable[[float], float], lost: Callable[[float], float], by: str, strength: float
) -> None:
    found = search(measured(changed, lost), WIDE, 0.02, "answers")
    assert found.by == by
    assert found.strength == pytest.approx(strength, rel=0.1)


def test_without_a_budget_of_answers_their_floor_is_the_target_and_none_is_refused() -> None:
    assert search(measured(lambda s: s**2), WIDE, None, "answers").target == 0.01
    with pytest.raises(BadInput, match="no share to come to"):
        search(lambda s: Trial(s, 0.0, 0.0, 0.0, recovered=True), WIDE, None, "answers")


def test_a_strength_that_is_refused_below_a_good_one_is_too_weak() -> None:
    def refusing(strength: float) -> Trial:
        if strength < 0.05:
            raise BadInput("the message does not read back")
        return Trial(strength, strength**2, 1e-3, 0.0, recovered=True)

    assert search(refusing, WIDE, 0.004).strength == pytest.approx(0.063, rel=0.1)
    assert search(refusing, WIDE, 0.004, "answers").strength == pytest.approx(0.063, rel=0.3)


def test_a_scheme_that_never_trains_is_refused() -> None:
    def never(strength: float) -> Trial:
        raise FloatingPointError("the loss diverged")

    with pytest.raises(BadInput, match="diverges at every strength"):
        search(never, WIDE, None)


@pytest.fixture(scope="module")
def calibrated(tiny: Path, bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a suite that was calibrated, with its output folder beside it; tests only read it."""
    suite = tmp_path_factory.mktemp("tuned") / "tuned.yaml"
    suite.write_text(SUITE)
    assert bench("calibrate", suite, "--out", suite.parent / "out", "--device", "cpu") == 0
    return suite


def test_what_is_found_keeps_to_the_budget_and_says_how(calibrated: Path) -> None:
    strengths = read_strengths(strengths_path(calibrated))
    assert set(strengths.values) == {("cwc", 16, "tiny"), ("cwc", 64, "tiny")}
    for place, facts in strengths.reached.items():
        assert 0.6 <= (strengths.values[place]["survive"] or 0) <= 0.99
        assert facts["trainings"] <= TRAININGS
        assert facts["whole"] is True
        assert facts["target"] >= facts["noise_floor"] > 0
    within, beyond = (strengths.reached["cwc", payload, "tiny"] for payload in (16, 64))
    assert within["by"] == "energy"
    off = max(within["energy"] / within["target"], within["target"] / within["energy"])
    assert off <= 1 + NEAR or (off <= 1.5 and within["trainings"] > 2)  # the search came no nearer
    assert (beyond["by"], strengths.values["cwc", 64, "tiny"]) == ("accuracy", {"survive": 0.99})
    assert beyond["lost"] <= LOST
    assert beyond["energy"] < beyond["target"]
    text = strengths_path(calibrated).read_text()
    assert text.startswith("# Made by: cwwm-bench calibrate tuned\n")
    assert list(yaml.safe_load(text)["values"]["cwc"]) == [16, 64]


def test_the_plan_takes_the_strengths_and_the_run_the_marks_of_the_calibration(
    calibrated: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    out = calibrated.parent / "out"
    assert bench("run", calibrated, "--out", out, "--scheme", "cwc", "--device", "cpu") == 0
    assert "marking with" not in capsys.readouterr().err
    strengths = read_strengths(strengths_path(calibrated))
    records = [json.loads(path.read_text()) for path in (out / "cells").iterdir()]
    assert {(r["key"]["payload"], r["key"]["attack"]) for r in records} == {
        (16, "magnitude"), (64, "magnitude"), (64, "random")
    }  # fmt: skip
    for record in records:
        payload = record["key"]["payload"]
        given = {"carrier": "body", "survive": strengths.values["cwc", payload, "tiny"]["survive"]}
        assert record["recipe"]["scheme"]["parameters"] == given | (
            {"length": 1800, "weight": 450} if payload == 16 else {}
        )
        assert record["key"]["scheme"] == "cwc"
        assert record["marked"]["energy"] == pytest.approx(
            strengths.reached["cwc", payload, "tiny"]["energy"], 1e-3
        )


def test_another_calibration_finds_only_what_is_missing(
    calibrated: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "tuned.yaml"
    suite.write_text(SUITE)
    whole = strengths_path(calibrated).read_bytes()
    strengths = read_strengths(strengths_path(calibrated))
    kept = ("cwc", 64, "tiny")
    Strengths().adding(kept, strengths.values[kept], strengths.reached[kept]).write(strengths_path(suite), "0" * 32)
    arguments = ("calibrate", suite, "--out", calibrated.parent / "out", "--device", "cpu")
    assert bench(*arguments, "--payload", 64) == 0
    assert "0 strengths found" in capsys.readouterr().out
    assert bench(*arguments) == 0
    assert "1 strengths found" in capsys.readouterr().out
    assert strengths_path(suite).read_bytes() == whole
    assert bench(*arguments, "--again") == 0
    assert "2 strengths found" in capsys.readouterr().out
    assert strengths_path(suite).read_bytes() == whole


def test_a_run_without_its_calibration_says_what_to_do(
    tiny: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tuned.yaml").write_text(SUITE)
    assert bench("plan", tmp_path / "tuned.yaml") == 2
    assert f"cwwm-bench calibrate {tmp_path / 'tuned.yaml'}" in capsys.readouterr().err
    assert bench("plan", tmp_path / "tuned.yaml", "--scheme", "signs") == 0
    assert bench("calibrate", tiny / "tiny.yaml") == 2
    assert "tunes none" in capsys.readouterr().err
    assert bench("calibrate", tmp_path / "tuned.yaml", "--attack", "random") == 2  # which asks for no scheme
    assert "none of these attacks" in capsys.readouterr().err


def test_a_refusal_is_written_as_null_and_recorded_by_the_run(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "large.yaml"
    signs = "{name: sign-repetition, tune: {parameter: floor, low: 0.01, high: 0.5}}"
    suite.write_text(
        f"models: [tiny]\npayloads: [200000]\nschemes: [{signs}]\nattacks: [{{name: random, strengths: [0.1]}}]\n"
    )
    assert bench("calibrate", suite, "--out", tmp_path, "--device", "cpu") == 0
    assert "refused: carrier" in capsys.readouterr().err
    strengths = read_strengths(strengths_path(suite))
    assert strengths.values == {("sign-repetition", 200000, "tiny"): {"floor": None}}
    assert bench("run", suite, "--out", tmp_path, "--device", "cpu") == 0
    (record,) = [json.loads(path.read_text()) for path in (tmp_path / "cells").iterdir()]
    assert record["status"] == "refused"
    assert "floor" not in record["recipe"]["scheme"]["parameters"]


def test_a_calibration_moves_no_other_cell(calibrated: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ZOO_VARIABLE, str(tiny / "models.yaml"))
    suite = load_suite(str(calibrated))
    place = ("cwc", 16, "tiny")
    moved = suite.calibrated.adding(place, {"survive": 0.7}, {})
    before = {cell.identity: cell for cell in cells(suite, {})}
    after = {cell.identity for cell in cells(type(suite)(**{**vars(suite), "calibrated": moved}), {})}
    changed = [cell for identity, cell in before.items() if identity not in after]
    assert [(cell.mark.scheme.label, cell.mark.payload) for cell in changed] == [("cwc", 16)]
    assert [cell.mark.payload for cell in cells(narrow(suite, payloads=[16], schemes=["signs"]), {})] == [16]


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("low: 0.6", "lower: 0.5", ["lower", "low", "schemes[1].tune"]),
        ("low: 0.6", "low: 1.5", ["low < high"]),
        ("parameter: survive", "parameter: survve", ["survve", "survive"]),
        ("parameter: survive, low: 0.6, high: 0.99", "parameter: length, low: 500, high: 600", ["length", "real"]),
        ("tune: {param", "survive: 0.9, tune: {param", ["survive", "both given and tuned"]),
        ("at: {16: {length: 1800, weight: 450}}", "at: {32: {density: 0.2}}", ["32", "payloads", "16 64"]),
        ("at: {16: {length: 1800, weight: 450}}", "at: {16: {lenth: 1800}}", ["lenth", "length", "at.16"]),
        ("payloads: [64]", "payloads: [65]", ["65", "attacks[1].payloads"]),
        ("reference: signs", "reference: sign", ["sign", "signs"]),
        ("reference: signs", "reference: cwc", ["cwc", "tuned itself"]),
        ("label: signs", "label: cwc", ["two schemes", "cwc"]),
        ("reference: signs", "equal: answer", ["equal", "'answer'", "'energy' or 'answers'"]),
        ("label: signs", "readers: [blind], reader: blind", ["schemes[0]", "'reader' and 'readers'", "drop one"]),
        ("label: signs", "readers: [blind, alined]", ["schemes[0].reader", "alined", "aligned"]),
        ("label: signs", "readers: [blind, blind]", ["two schemes", "sign-repetition"]),
        (
            "{name: sign-repetition, label: signs, carrier: body, repetition: 5}",
            "{name: carriers, readers: [aligned]}",
            ["schemes[0].reader", "reads no weights"],
        ),
    ],
)
def test_an_error_in_a_tuned_suite_is_named(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, names: list[str]
) -> None:
    monkeypatch.setenv(ZOO_VARIABLE, str(tiny / "models.yaml"))
    path = tmp_path / "mine.yaml"
    assert old in SUITE
    path.write_text(SUITE.replace(old, new))
    with pytest.raises(BadInput) as caught:
        load_suite(str(path))
    assert all(name in str(caught.value) for name in names), str(caught.value)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("values: {}\nvalue: {}", ["value", "values"]),
        ("values: {cvc: {64: {tiny: {survive: 0.9}}}}", ["cvc", "cwc"]),
        ("values: {cwc: {tiny: {survive: 0.9}}}", ["values.cwc", "key 'tiny' is text, not a whole number"]),
        ("values: {cwc: {64: {tiny: 0.9}}}", ["cwc.64.tiny", "0.9"]),
        ("values: {cwc: {64: {tiny: {survive: high}}}}", ["high", "number"]),
        ("values: {", ["not YAML"]),
        ("values: {}\nvalues: {}", ["line 2", "'values' is given twice"]),
        ("values: {cwc: {'64': {tiny: {survive: 0.9}}}}", ["values.cwc: key '64' is text, not a whole number"]),
        ("values: {cwc: {64: {tiny: {survive: yes}}}}", ["values.cwc.64.tiny.survive: True is a boolean"]),
        ("values: {cwc: {64: {tiny: {survive: .nan}}}}", ["survive: nan is not a finite number"]),
        ("values: {cwc: {64: {no: {survive: 0.9}}}}", ["values.cwc.64: key False is a boolean, not text"]),
        ("values:", ["values: None is nothing, not a mapping"]),
        ("values: []", ["values: [] is a list, not a mapping"]),
        ("values: {}\nattacks: {hard: {tiny: 3}}", ["attacks.hard.tiny: 3 is not a mapping"]),
    ],
)
def test_an_error_in_a_calibration_file_is_named(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, names: list[str]
) -> None:
    monkeypatch.setenv(ZOO_VARIABLE, str(tiny / "models.yaml"))
    (tmp_path / "mine.yaml").write_text(SUITE)
    (tmp_path / "mine.calibration.yaml").write_text(text)
    with pytest.raises(BadInput) as caught:
        load_suite(str(tmp_path / "mine.yaml"))
    assert all(name in str(caught.value) for name in (*names, "mine.calibration.yaml")), str(caught.value)
    assert "\n" not in str(caught.value)


def test_answers_are_brought_to_those_of_the_reference_and_energies_are_no_answers(
    tiny: Path, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "answers.yaml"
    signs = "{name: sign-repetition, carrier: body, tune: {parameter: strength, low: 0.5, high: 50}}"
    text = f"models: [tiny]\npayloads: [16]\nschemes: [{signs}]\nattacks: [{{name: random, strengths: [0.1]}}]\n"
    suite.write_text(text + "equal: answers\n")
    assert bench("calibrate", suite, "--out", tmp_path, "--device", "cpu") == 0
    assert "by answers, answers changed " in capsys.readouterr().err
    found = read_strengths(strengths_path(suite))
    (facts,) = found.reached.values()
    assert (found.equal, facts["by"], facts["target"]) == ("answers", "answers", facts["answers_floor"])
    assert 0 < facts["answers_changed"] <= facts["target"] * (1 + SPREAD)
    assert bench("plan", suite) == 0
    suite.write_text(text)
    assert bench("plan", suite) == 2
    assert "found at equal answers, and the suite asks for equal energy; delete it" in capsys.readouterr().err


def test_a_mark_that_is_read_in_several_ways_is_made_and_calibrated_once(
    tiny: Path,
    bench: Bench,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ZOO_VARIABLE, str(tiny / "models.yaml"))
    path = tmp_path / "read.yaml"
    path.write_text(
        "models: [tiny]\npayloads: [16]\nschemes:\n"
        "  - {name: sign-repetition, label: signs, readers: [blind, aligned], carrier: body,\n"
        "     tune: {parameter: strength, low: 0.1, high: 6}}\n"
        "attacks: [{name: permute, strengths: [1]}]\n"
    )
    assert bench("calibrate", path, "--out", tmp_path, "--device", "cpu") == 0
    assert "1 strengths found" in capsys.readouterr().out
    assert set(read_strengths(strengths_path(path)).values) == {("signs", 16, "tiny")}
    both = cells(load_suite(str(path)), {})
    assert [(cell.mark.scheme.label, cell.mark.scheme.reader) for cell in both] == [
        ("signs", "blind"), ("signs aligned", "aligned")
    ]  # fmt: skip
    assert both[0].mark.identity == both[1].mark.identity
    assert both[0].identity != both[1].identity
    (alone,) = cells(narrow(load_suite(str(path)), schemes=["signs aligned"]), {})
    assert (alone.identity, alone.readings, both[1].readings) == (both[1].identity, 1, 2)
    assert bench("run", path, "--out", tmp_path, "--device", "cpu") == 0
    assert "marking with" not in capsys.readouterr().err
    records = [json.loads(file.read_text()) for file in (tmp_path / "cells").iterdir()]
    assert {r["key"]["scheme"]: r["rows"][0]["exact"] for r in records} == {"signs": False, "signs aligned": True}
    assert bench("calibrate", path, "--out", tmp_path, "--scheme", "signs aligned", "--device", "cpu") == 0
    assert "0 strengths found" in capsys.readouterr().out


CHOOSING = """
models: [tiny]
payloads: [16]
reference: signs
schemes:
  - {name: sign-repetition, label: signs, carrier: body, repetition: 5}
  - {name: sign-repetition, carrier: body,
     tune: {parameter: strength, low: 0.1, high: 6, choices: {repetition: [1, 5, 41]}}}
attacks:
  - {name: magnitude, strengths: [0.5]}
"""


def test_other_parameters_are_chosen_by_what_outlives_a_panel_at_the_same_energy(
    tiny: Path,
    bench: Bench,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suite = tmp_path / "choosing.yaml"
    suite.write_text(CHOOSING)
    assert bench("calibrate", suite, "--out", tmp_path, "--device", "cpu") == 0
    said = capsys.readouterr().err
    place = ("sign-repetition", 16, "tiny")
    found = read_strengths(strengths_path(suite))
    facts = found.reached[place]
    told = [line for line in said.splitlines() if "attacks survived" in line]
    survivors = [int(line.split(" attacks survived")[0].split()[-3]) for line in told]
    energies = [float(line.split("energy ")[-1].split()[0]) for line in told]
    assert (found.choices[place], facts["survived"], facts["attacks"]) == ({"repetition": 5}, survivors[1], ROWS)
    assert len(survivors) == 4  # of each repetition, and of the one that was taken
    assert survivors[0] < survivors[1] == survivors[3]
    assert max(energies[:2]) < 1.1 * facts["target"] < energies[2]  # so what the third outlives does not count
    monkeypatch.setenv(ZOO_VARIABLE, str(tiny / "models.yaml"))
    (cell,) = (cell for cell in cells(load_suite(str(suite)), {}) if cell.mark.scheme.label == place[0])
    assert cell.mark.scheme.parameters == {"carrier": "body", "repetition": 5, **found.values[place]}
    assert bench("calibrate", suite, "--out", tmp_path, "--device", "cpu") == 0
    assert "0 strengths found" in capsys.readouterr().out
    other = found.adding(place, found.values[place], facts, {"repetition": 7})  # no longer among the choices
    other.write(strengths_path(suite), "0" * 32)
    assert bench("plan", suite) == 2
    assert "no calibrated strength, repetition at 16 bits on tiny" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ("{repetition: [5]}", "two values or more to choose repetition among"),
        ("{strength: [1, 2]}", "and not the strength itself"),
        ("{repetition: [1, 2, 3, 4], floor: [0.1, 0.2, 0.3, 0.4]}", "16 combinations of choices; 12 are the most"),
        ("{repetition: [1, 0]}", "repetition >= 1"),
        ("{repetitoin: [1, 2]}", "did you mean repetition"),
        ("{carrier: [body, all]}", "'carrier' is both given and tuned"),
        ("{repetition: 5}", "schemes[1].tune.choices.repetition"),
    ],
)
def test_impossible_choices_are_refused(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choices: str, says: str
) -> None:
    monkeypatch.setenv(ZOO_VARIABLE, str(tiny / "models.yaml"))
    path = tmp_path / "mine.yaml"
    path.write_text(CHOOSING.replace("{repetition: [1, 5, 41]}", choices))
    with pytest.raises(BadInput) as caught:
        load_suite(str(path))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
