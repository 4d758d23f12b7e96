"""models.yaml is typed: a wrong value is one line with file, place, fault and remedy."""

from pathlib import Path

import pytest

from bench.models.registry import load_zoo, zoo_path
from bench.support.strict_yaml import dump_yaml, read_yaml
from cwwm.support.errors import BadInput

ZOO = """
recipes: {small: {mark: {epochs: 1, lr: 1e-3}}}
models: {test_resnet: {data: digits, size: 32}}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("size: 32", "size: '32'", "models.test_resnet.size: '32' is text, not a whole number; write it without"),
        ("size: 32", "size: 0", "models.test_resnet.size: 0 is less than 1"),
        ("size: 32", "size: 32.0", "models.test_resnet.size: 32.0 is not a whole number"),
        ("size: 32", "size: on", "models.test_resnet.size: True is a boolean"),
        ("size: 32", "size: 32, size: 64", "line 3: 'size' is given twice, first in line 3"),
        ("size: 32", "size: 32, channels: -1", "models.test_resnet.channels: -1 is less than 1"),
        ("size: 32", "size: 32, create: [1]", "models.test_resnet.create: [1] is a list, not a mapping"),
        ("size: 32", "size: 32, create: {1: 2}", "models.test_resnet.create: key 1 is a number, not text"),
        ("size: 32", "size: 32, family: no", "models.test_resnet.family: False is a boolean, not text"),
        ("size: 32", "size: 32, pretrained: 1", "models.test_resnet.pretrained: pretrained is true, false"),
        ("size: 32", "size: 32, recipe: [small]", "models.test_resnet.recipe: ['small'] is a list, not text"),
        ("size: 32", "size: 32, recipe: smal", "models.test_resnet: unknown recipe 'smal'; did you mean small"),
        ("size: 32", "size: 32, timm: 18", "models.test_resnet.timm: 18 is a number, not text"),
        ("size: 32", "size: 32, timm: 'hf-hub:me/mine'", "models.test_resnet: timm names an architecture"),
        ("size: 32", "size: 32, weights: timm", "models.test_resnet: unknown field 'weights'"),
        ("data: digits, ", "", "models.test_resnet: field 'data' is missing"),
        ("data: digits", "data: ~", "models.test_resnet.data: None is nothing, not text"),
        ("{data: digits, size: 32}", "digits", "models.test_resnet: 'digits' is text, not a mapping"),
        ("test_resnet:", "on:", "models: key True is a boolean, not text"),
        ("test_resnet:", "2024:", "models: key 2024 is a number, not text"),
        ("epochs: 1", "epochs: 1.5", "recipes.small.mark.epochs: 1.5 is not a whole number"),
        ("lr: 1e-3", "lr: 0,001", "recipes.small.mark: 001 is no name; decimals take a point"),
        ("lr: 1e-3", "lr: '0.001'", "recipes.small.mark.lr: '0.001' is text, not a number"),
        ("lr: 1e-3", "lr: .inf", "recipes.small.mark.lr: inf is not a finite number"),
        ("lr: 1e-3", "lr: 0", "recipes.small.mark: a recipe needs epochs >= 1, batch_size >= 2 and lr > 0"),
        ("lr: 1e-3", "flip: 1", "recipes.small.mark.flip: 1 is not true or false"),
        ("lr: 1e-3", "optimizer: adam", "recipes.small.mark: optimizer is 'adamw' or 'sgd', not 'adam'"),
        ("{mark: {epochs: 1, lr: 1e-3}}", "{train: {epochs: 1}}", "recipes.small: field 'mark' is missing"),
        ("models: {", "models: [", "is not YAML"),
        ("models:", "modles:", "unknown field 'modles'; did you mean models"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_in_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(ZOO)
    assert load_zoo(path)["test_resnet"].recipe.mark.lr == 0.001
    assert old in ZOO
    wrong = tmp_path / "wrong.yaml"  # a file is read once in a process
    wrong.write_text(ZOO.replace(old, new, 1))
    with pytest.raises(BadInput) as refusal:
        load_zoo(wrong)
    assert str(refusal.value).startswith(str(wrong))
    assert "\n" not in str(refusal.value)
    assert said in str(refusal.value)


def test_numbers_of_a_recipe_have_the_types_that_it_says(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(ZOO.replace("lr: 1e-3", "lr: 1"))
    rate = load_zoo(path)["test_resnet"].recipe.mark.lr
    assert (rate, type(rate)) == (1.0, float)  # a host's identity has 1.0


def test_the_shipped_file_is_dumped_and_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(dump_yaml(read_yaml(zoo_path())))
    assert load_zoo(path) == load_zoo()


def test_an_architecture_may_be_named_as_on_the_hub(tmp_path: Path) -> None:
    for number, name in enumerate(("timm/resnet18", "hf-hub:timm/resnet18", "hf_hub:timm/resnet18")):
        path = tmp_path / f"{number}.yaml"
        path.write_text(ZOO.replace("size: 32", f"size: 32, timm: '{name}'"))
        assert load_zoo(path)["test_resnet"].timm == "resnet18"
