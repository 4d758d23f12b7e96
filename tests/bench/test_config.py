"""YAML is read strictly: an unknown name gives one line with the file, the key and the nearest valid name."""

from pathlib import Path

import pytest

from bench.models.registry import load_zoo
from bench.suite import load_suite
from cwwm.schemes import SCHEMES
from cwwm.support.errors import BadInput

SUITE = """
models: [test_resnet]
schemes: [{name: cwc}]
attacks: [{name: magnitude, strengths: [0.5]}]
"""

ZOO = """
recipes: {small: {mark: {epochs: 1}}}
models: {test_resnet: {data: digits, size: 32}}
"""


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (("seeds", "seed: 3"), ["seed", "seeds"]),
        (("name: cwc", "name: cvc"), ["cvc", "cwc", "schemes[0]"]),
        (("{name: cwc}", "{name: cwc, survve: 0.9}"), ["survve", "survive"]),
        (("name: magnitude", "name: magnitud"), ["magnitud", "magnitude"]),
        (("strengths: [0.5]", "strengths: []"), ["strengths"]),
        (("test_resnet", "test_resnett"), ["test_resnett", "test_resnet"]),
        (("models: [test_resnet]", ""), ["models", "missing"]),
        (("models: [test_resnet]", "models: ["), ["not YAML"]),
    ],
)
def test_an_error_in_a_suite_names_file_key_and_nearest_name(
    tmp_path: Path, change: tuple[str, str], names: list[str]
) -> None:
    old, new = change
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE.replace(old, new) if old in SUITE else SUITE + new)
    with pytest.raises(BadInput) as caught:
        load_suite(str(path))
    message = str(caught.value)
    assert "\n" not in message
    assert all(name in message for name in names), message


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("size: 32", "sice: 32", ["sice", "size", "models.test_resnet"]),
        ("size: 32", "size: big", ["size", "big", "whole number"]),
        ("epochs: 1", "epoch: 1", ["epoch", "epochs", "recipes.small.mark"]),
        ("epochs: 1", "epochs: 0", ["epochs"]),
        ("size: 32", "size: 32, recipe: smal", ["smal", "small"]),
        ("size: 32", "size: 32, pretrained: maybe", ["pretrained"]),
    ],
)
def test_an_error_in_the_zoo_names_file_key_and_nearest_name(
    tmp_path: Path, old: str, new: str, names: list[str]
) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(ZOO.replace(old, new))
    with pytest.raises(BadInput) as caught:
        load_zoo(path)
    message = str(caught.value)
    assert str(path) in message
    assert all(name in message for name in names), message


def test_the_shipped_suites_and_zoo_are_valid() -> None:
    families = {spec.family for spec in load_zoo().values()}
    assert len(load_zoo()) >= 14
    assert len(families) >= 10
    names = ("smoke", "paper", "protected", "encodings", "encodings-gpu", "cpu", "nightly", "full")
    for name in (*names, "compression", "compression-anchors", "compression-reach"):
        assert load_suite(name).description


def test_the_gpu_profile_of_the_encodings_compares_the_same() -> None:
    small, large = load_suite("encodings"), load_suite("encodings-gpu")
    assert (small.schemes, small.attacks, small.payloads) == (large.schemes, large.attacks, large.payloads)
    assert small.reference == large.reference
    assert (small.stop, small.seeds) == (large.stop, large.seeds)


def test_every_scheme_is_compared() -> None:
    compared = {name: {entry.name for entry in load_suite(name).schemes} for name in ("encodings", "systems")}
    assert compared["encodings"] | compared["systems"] | {"wrong-key"} == set(SCHEMES)
    # no network of suite `encodings` has the widths for its payloads; the others answer what it does not ask
    assert compared["systems"] - compared["encodings"] == {"structural", "carriers", "ingrain"}
