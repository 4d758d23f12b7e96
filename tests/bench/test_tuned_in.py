"""Suites whose schemes are tuned in another suite: the same marks, found once, and no others."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.models.registry import ZOO_VARIABLE
from bench.suite import load_suite
from bench.suite.calibration_file import Strengths, strengths_path
from bench.suite.expand import cells
from cwwm.support.errors import BadInput

TUNED = """
models: [tiny]
payloads: [16]
equal: answers
schemes:
  - {name: sign-repetition, label: signs, carrier: body,
     tune: {parameter: strength, low: 0.1, high: 6, choices: {repetition: [5, 7]}}}
attacks: [{name: scale, strengths: [2]}]
"""
READ = TUNED.replace("equal: answers", "equal: answers\ntuned_in: first").replace(
    "carrier: body", "readers: [aligned], carrier: body"
)


@pytest.fixture
def second(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a suite whose marks are tuned in another one beside it, with the strength of that."""
    monkeypatch.setenv(ZOO_VARIABLE, str(tiny / "models.yaml"))
    (tmp_path / "first.yaml").write_text(TUNED)
    found = Strengths(equal="answers").adding(("signs", 16, "tiny"), {"strength": 1.5}, {}, {"repetition": 7})
    found.write(strengths_path(tmp_path / "first.yaml"), "0" * 32)
    (tmp_path / "second.yaml").write_text(READ)
    return tmp_path / "second.yaml"


def test_a_suite_takes_strengths_and_choices_of_the_one_it_is_tuned_in(second: Path) -> None:
    (cell,) = cells(load_suite(str(second)), {})
    (theirs,) = cells(load_suite(str(second.with_name("first.yaml"))), {})
    assert cell.mark.scheme.parameters == {"carrier": "body", "strength": 1.5, "repetition": 7}
    assert (cell.mark.scheme.label, cell.mark.scheme.reader) == ("signs aligned", "aligned")
    assert cell.mark.identity == theirs.mark.identity
    assert cell.identity != theirs.identity


def test_it_has_no_strengths_of_its_own_to_find(
    second: Path, bench: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("calibrate", second, "--out", tmp_path / "out", "--device", "cpu") == 2
    assert "its schemes are tuned in suite first" in capsys.readouterr().err
    strengths_path(second.with_name("first.yaml")).unlink()
    assert bench("plan", second) == 2
    assert f"run first: cwwm-bench calibrate {second.with_name('first.yaml')}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mine", "other", "says"),
    [
        (("tuned_in: first", "tuned_in: frist"), ("", ""), "did you mean first"),
        (("high: 6", "high: 7"), ("", ""), "suite first tunes no scheme 'signs' with these parameters"),
        (("label: signs", "label: other"), ("", ""), "suite first tunes no scheme 'other'"),
        (
            ("equal: answers", "equal: energy"),
            ("", ""),
            "found at equal answers, and the suite asks for equal energy",
        ),
        (("", ""), ("equal: answers", "equal: answers\ntuned_in: third"), "tuned in third itself; name that one"),
    ],
)
def test_strengths_of_other_marks_are_refused(
    second: Path, mine: tuple[str, str], other: tuple[str, str], says: str
) -> None:
    second.write_text(READ.replace(*mine))
    second.with_name("first.yaml").write_text(TUNED.replace(*other))
    with pytest.raises(BadInput) as caught:
        load_suite(str(second))
    assert says in str(caught.value)
