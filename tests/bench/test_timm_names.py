"""Models are named as timm's users name them: with a tag, as on the hub; what is not there is told in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import timm

from bench.models.registry import find_models, load_zoo
from bench.models.timm_names import asked_hub, check_tag, without_hub
from cwwm.support.errors import BadInput, EnvironmentFault

Bench = Callable[..., int]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder of a hub's cache, empty, where no network is."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("prefix", ["timm/", "hf-hub:timm/", "hf_hub:timm/"])
@pytest.mark.parametrize("name", ["resnet18", "convnext_pico", "resnet18.a1_in1k"])
def test_a_model_on_the_hub_is_the_same_model(prefix: str, name: str) -> None:
    assert without_hub(prefix + name) == without_hub(name) == name
    assert find_models([prefix + name]) == find_models([name])
    assert find_models(["timm/resnet1*"]) == [spec for key, spec in load_zoo().items() if key.startswith("resnet1")]


def test_every_tag_that_timm_knows_is_taken() -> None:
    for name in timm.list_models("resnet18*", pretrained=True):
        check_tag(name)
    assert find_models(["resnet18.a1_in1k"])[0].timm == "resnet18.a1_in1k"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "resnet18.no_such_tag",
            "model 'resnet18' has no weights with the tag 'no_such_tag'; its tags are a1_in1k, ",
        ),
        ("hf-hub:timm/resnet18.nope", "model 'resnet18' has no weights with the tag 'nope'"),
        ("vgg6_bn.x", "model 'vgg6_bn' has no weights with the tag 'x'; it has none"),
        ("resnet_18.a1_in1k", "unknown model 'resnet_18"),
        ("timm/resnet_18", "unknown model 'resnet_18'; did you mean "),
        ("someone/resnet18", "unknown model 'someone/resnet18'"),
    ],
)
def test_an_unknown_tag_or_model_is_one_line(
    name: str, said: str, bench: Bench, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("plan", tiny / "tiny.yaml", "--model", name) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"cwwm-bench: {said}")
    assert told.count("\n") == 1


def test_a_tag_that_brings_no_weights_is_told_once(
    bench: Bench, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("plan", tiny / "tiny.yaml", "--model", "resnet18.a1_in1k", "--model", "tiny", "--json") == 0
    told = capsys.readouterr()
    assert {cell["model"] for cell in json.loads(told.out)} == {"resnet18.a1_in1k", "tiny"}
    assert told.err.count("resnet18.a1_in1k: its tag brings no weights") == told.err.count("\n") == 1


def test_a_model_of_someone_else_is_asked_of_the_hub(offline: Path) -> None:
    with pytest.raises(EnvironmentFault, match="'hf-hub:me/mine' has to be asked of the Hugging Face hub"):
        find_models(["hf-hub:me/mine"])
    folder = offline / "models--me--mine"
    (folder / "snapshots" / ("1" * 40)).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("1" * 40)
    config = {
        "architecture": "test_resnet",
        "num_classes": 5,
        "pretrained_cfg": {},
        "model_args": {"act_layer": "gelu"},
    }
    (folder / "snapshots" / ("1" * 40) / "config.json").write_text(json.dumps(config))
    assert asked_hub("hf-hub:me/mine") == ("test_resnet", {"act_layer": "gelu"})
    (spec,) = find_models(["hf-hub:me/mine"])
    assert (spec.name, spec.timm, spec.create) == ("hf-hub:me/mine", "test_resnet", {"act_layer": "gelu"})


def test_an_architecture_that_the_hub_names_must_be_known(offline: Path) -> None:
    with pytest.raises(BadInput, match="connect to the network, or name its architecture"):
        find_models(["hf-hub:no one/nothing"])
