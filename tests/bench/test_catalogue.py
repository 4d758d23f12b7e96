"""`cwwm-bench list`: of models what timm's users expect, with what models.yaml says of those that it has."""

import json

import pytest
import timm

from bench.cli.app import app
from bench.models.registry import load_zoo
from cwwm.support.console import run_app

Rows = list[dict[str, str]]


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Rows:
    assert run_app(app, "cwwm-bench", ["list", *arguments, "--json"]) == 0
    rows: Rows = json.loads(capsys.readouterr().out)
    return rows


@pytest.mark.parametrize("pattern", ["resnet*", "*vit_tiny*", "mixnet_?", "nothing_of_the_kind*"])
def test_a_filter_finds_what_timm_finds_in_its_order(pattern: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = [row["model"] for row in listed(capsys, "models", "--filter", pattern)]
    own = set(load_zoo()) - set(timm.list_models())
    assert [name for name in names if name not in own] == timm.list_models(pattern)


def test_models_of_the_zoo_come_with_what_it_says_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["model"]: row for row in listed(capsys, "models", "--filter", "resnet1*")}
    zoo = load_zoo()
    assert "resnet18-digits" in rows
    assert rows["resnet10t"] == {
        "model": "resnet10t", "family": "residual", "data": "digits", "size": "32", "weights": "random"
    }  # fmt: skip
    for name, row in rows.items():
        assert (row["family"] != "-") == (name in zoo), name


def test_pretrained_models_are_listed_with_their_tags(capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys, "models", "--pretrained", "--filter", "resnet18")
    assert [row["model"] for row in rows] == timm.list_models("resnet18", pretrained=True)
    assert len(rows) > 1
    assert {(row["family"], row["weights"]) for row in rows} == {("residual", "timm")}


def test_without_a_filter_the_zoo_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["model"] for row in listed(capsys, "models")] == list(load_zoo())
    everything = {row["model"] for row in listed(capsys, "models", "--filter", "*")}
    assert everything >= {*load_zoo(), *timm.list_models()}


def test_other_lists_are_filtered_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert {row["scheme"] for row in listed(capsys, "schemes", "--filter", "sign*")} >= {"sign", "sign-repetition"}
    assert run_app(app, "cwwm-bench", ["list", "schemes", "--pretrained"]) == 2
    assert "--pretrained is for models" in capsys.readouterr().err
