"""The file of a suite: a wrong value is one line, before anything is written; what is right comes back."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.suite import load_suite, narrow, suite_names
from bench.suite.fields import SuiteFile, read_suite_file
from bench.suite.load import SUITES
from bench.support.strict_yaml import dump_yaml, read_yaml
from cwwm.support.errors import BadInput

Bench = Callable[..., int]
Tree = dict[str, Any]

SUITE = """
description: a suite
models: [tiny]
seeds: 2
payloads: [64, 128]
schemes:
  - {name: cwc, survive: 0.9}
attacks:
  - {name: magnitude, strengths: [0.5]}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds: 2", "seeds: 1.9", "seeds: 1.9 is not a whole number"),
        ("seeds: 2", "seeds: yes", "seeds: True is a boolean, not a whole number; yes, no, on and off are read so"),
        ("seeds: 2", "seeds: 0", "seeds: 0 is less than 1"),
        ("seeds: 2", "seeds: '2'", "seeds: '2' is text, not a whole number; write it without quotes"),
        ("seeds: 2", "seeds: 08", "seeds: '08' is text, not a whole number; write it without quotes, lead"),
        ("seeds: 2", "seeds: 1:30", "seeds: '1:30' is text, not a whole number"),
        ("seeds: 2", "seeds: 1e3", "seeds: 1000.0 is not a whole number"),
        ("seeds: 2", "seeds:", "seeds: None is nothing, not a whole number"),
        ("seeds: 2", "sedes: 2", "unknown field 'sedes'; did you mean seeds"),
        ("seeds: 2", "seeds: !!int 2", "line 4: tag int is not taken"),
        ("seeds: 2", "seeds: 2\nseeds: 3", "line 5: 'seeds' is given twice, first in line 4"),
        ("payloads: [64, 128]", 'payloads: ["64"]', "payloads[0]: '64' is text, not a whole number; write"),
        ("payloads: [64, 128]", "payloads: []", "payloads: [] has too few entries; give at least one"),
        ("payloads: [64, 128]", "payloads: 64", "payloads: 64 is not a list; put it in [ ]"),
        ("payloads: [64, 128]", "payloads: [0]", "payloads[0]: 0 is less than 1"),
        ("payloads: [64, 128]", "payloads: [64, 1_000]", "payloads[1]: '1_000' is text"),
        ("models: [tiny]", "models: [no]", "models[0]: False is a boolean, not text; yes, no, on, off, true"),
        ("models: [tiny]", "models: [2024]", "models[0]: 2024 is a number, not text; put quotes round a name"),
        ("models: [tiny]", "models: [2024-01-01]", "models: unknown model '2024-01-01'"),
        ("models: [tiny]", "models: tiny", "models: 'tiny' is text, not a list; put it in [ ]"),
        ("models: [tiny]", "models: []", "models: [] has too few entries"),
        ("models: [tiny]", "models: ['']", "models[0]: '' is empty"),
        ("models: [tiny]", "", "field 'models' is missing"),
        ("models: [tiny]", "models: [tiny]\n<<: {seeds: 3}", "line 4: merge keys"),
        ("- {name: cwc", "- {label: x", "schemes[0]: field 'name' is missing"),
        ("- {name: cwc", "- {name: off", "schemes[0].name: False is a boolean, not text"),
        ("- {name: cwc", "- {name: cvc", "schemes[0]: unknown scheme 'cvc'; did you mean cwc"),
        ("- {name: cwc", "- {name: cwc, label: 3", "schemes[0].label: 3 is a number, not text"),
        ("survive: 0.9", "survive: 0,9", "schemes[0]: 9 is no name; decimals take a point"),
        ("survive: 0.9", "survive: '0,9'", "schemes[0]: scheme 'cwc': survive takes a finite number, not '0,9'"),
        ("survive: 0.9", "at: {64: 3}", "schemes[0].at.64: 3 is not a mapping"),
        ("survive: 0.9", "at: {no: {}}", "schemes[0].at: key False is a boolean, not a whole number"),
        ("survive: 0.9", "payloads: [65]", "schemes[0].payloads: 65 is none of the suite's payloads, 64 128"),
        ("survive: 0.9", "tune: survive", "schemes[0].tune: 'survive' is text, not a mapping"),
        ("survive: 0.9", "tune: {parameter: survive}", "schemes[0].tune: field 'low' is missing"),
        ("survive: 0.9", "tune: {parameter: survive, low: a, high: 1}", "schemes[0].tune.low: 'a' is text"),
        ("attacks:", "attacks: []\nattacks:", "line 9: 'attacks' is given twice, first in line 8"),
        ("- {name: magnitude, ", "- magnitude\n  - {name: magnitude, ", "attacks[0]: field 'strengths' is missing"),
        ("strengths: [0.5]", "strengths: [0, 5]", "attacks[0].strengths: magnitude: a rate is between 0 and 1, no"),
        ("strengths: [0.5]", "strengths: 0.5", "attacks[0].strengths: 0.5 is not a list; put it in [ ]"),
        ("strengths: [0.5]", "strengths: ['0,5']", "attacks[0].strengths[0]: '0,5' is text, not a number; write i"),
        ("strengths: [0.5]", "strengths: [.nan]", "attacks[0].strengths[0]: nan is not a finite number"),
        ("strengths: [0.5]", "strengths: [0.5], lost: [true]", "attacks[0].lost[0]: True is a boolean, not a numb"),
        ("description: a suite", "description: 5", "description: 5 is a number, not text"),
        ("description: a suite", "untrained: [initail]", "untrained: unknown weights 'initail'; did you mean init"),
    ],
)  # fmt: skip
def test_a_wrong_suite_is_one_line_before_anything_is_written(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    path = tmp_path / "mine.yaml"
    assert old in SUITE
    path.write_text(SUITE.replace(old, new))
    assert bench("run", path, "--out", tmp_path / "out") == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"cwwm-bench: {path}")
    assert said in told.err
    assert told.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", suite_names())
def test_a_shipped_suite_is_dumped_and_read_alike(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(dump_yaml(read_yaml(SUITES / f"{name}.yaml")))
    assert read_suite_file(path) == read_suite_file(SUITES / f"{name}.yaml")


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8
) | st.sampled_from(["no", "08", "1e3", "~", "1:30", "2024-01-01"])
PAYLOADS = st.lists(st.integers(1, 2**53), min_size=1, max_size=3)
NUMBERS = st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 99), min_size=1, max_size=3)
ENTRY = {"label": NAMES, "payloads": PAYLOADS, "own": NAMES | st.integers(-(10**29), 10**29) | st.booleans()}
TUNES = st.fixed_dictionaries({"parameter": NAMES, "low": st.floats(0.1, 1), "high": st.integers(2, 9)})
SCHEMES = NAMES | st.fixed_dictionaries(
    {"name": NAMES},
    optional=ENTRY | {"at": st.dictionaries(st.integers(1, 99), st.just({"own": 1})), "tune": TUNES},
)
ATTACKS = st.fixed_dictionaries({"name": NAMES, "strengths": NUMBERS}, optional=ENTRY | {"lost": NUMBERS})
FILES = st.fixed_dictionaries(
    {
        "models": st.lists(NAMES, min_size=1, max_size=3),
        "schemes": st.lists(SCHEMES, min_size=1, max_size=3),
        "attacks": st.lists(ATTACKS, min_size=1, max_size=3),
    },
    optional={"description": NAMES, "payloads": PAYLOADS, "seeds": st.integers(1, 9), "reference": NAMES},
)


@given(value=FILES)
@settings(max_examples=60)
def test_any_valid_file_is_dumped_and_read_alike(value: Tree, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(dump_yaml(value), encoding="utf-8")
    assert read_suite_file(path) == SuiteFile.model_validate(value)


#: every kind of field that a suite has
FULL: Tree = {
    "description": "all of it",
    "models": ["test_resnet"],
    "seeds": 1,
    "payloads": [64, 128],
    "reference": "signs",
    "schemes": [
        {"name": "sign-repetition", "label": "signs", "carrier": "body", "repetition": 5, "payloads": [64]},
        {"name": "cwc", "at": {64: {"length": 1800, "weight": 450}}},
        {"name": "cwc", "label": "cwc aligned", "reader": "aligned", "carrier": "body", "survive": 0.9},
        {"name": "uchida", "tune": {"parameter": "strength", "low": 0.1, "high": 1}},
    ],
    "attacks": [
        {"name": "magnitude", "label": "levels", "ranking": "layer", "strengths": [0.5, 0.9], "lost": [0, 1]},
        {"name": "magnitude", "label": "bisected", "between": [0.5, 0.9], "lost": [0, 1]},
        {"name": "then", "first": "magnitude", "second": {"name": "finetune", "epochs": 1}, "strengths": [0.5]},
        {"name": "search", "attack": {"name": "cluster"}, "mildest": 8, "hardest": 4, "strengths": [1]},
        {"name": "admm-prune", "keep": {"*": 0.1, "fc": 0.5}, "updates": 2, "strengths": [2]},
        {"name": "admm-structured", "groups": ["filters"], "layout": {"*": {"filters": 0.5}}, "strengths": [2]},
        {"name": "admm-compress", "bits": {"*": 3}, "values": "clusters", "strengths": [2]},
        {"name": "overwrite", "scheme": "cwc", "parameters": {"survive": 0.95}, "factor": 2, "strengths": [2]},
    ],
}
OTHERS = [None, True, 0, -1, 1.5, float("nan"), 10**29, "", "no", "x", [], [1], ["x"], {}, {"x": 1}, {1: [2]}, [[]]]


def places(tree: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a tree, the root aside."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(place: tuple[Any, ...], value: object) -> Tree:
    tree = copy.deepcopy(FULL)
    inner: Any = tree
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return tree


@pytest.mark.parametrize("place", list(places(FULL)), ids=lambda place: ".".join(map(str, place)))
def test_a_value_of_another_type_is_taken_or_refused_in_one_line(place: tuple[Any, ...], tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(dump_yaml(FULL))
    assert load_suite(str(path)).payloads == (64, 128)
    refused = []
    for other in OTHERS:
        path.write_text(dump_yaml(changed(place, other)))
        refused += refusals(path)
    assert len(refused) > len(OTHERS) / 2
    assert all(line.startswith(str(path)) and "\n" not in line for line in refused)


def refusals(path: Path) -> list[str]:
    """Return why a suite is not taken, if it is not; any other error fails the test."""
    try:
        load_suite(str(path))
    except BadInput as error:
        return [str(error)]
    return []


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | NAMES
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3)
)


@given(place=st.sampled_from(list(places(FULL))), value=ANYTHING)
@settings(max_examples=150, deadline=None)
def test_anything_in_a_place_is_taken_or_refused(
    place: tuple[Any, ...], value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "anything.yaml"
    path.write_text(dump_yaml(changed(place, value)), encoding="utf-8")
    assert all(line.startswith(str(path)) and "\n" not in line for line in refusals(path))


def test_what_two_names_pick_is_run_once() -> None:
    part = narrow(load_suite("smoke"), schemes=["cwc", "*cwc", "cwc"], attacks=["random", "r*"])
    for labels in ([entry.label for entry in part.schemes], [entry.label for entry in part.attacks]):
        assert len(labels) == len(set(labels)) > 0
    assert part.schemes[0].label == "cwc"
