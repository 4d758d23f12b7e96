"""Every entry of models.yaml builds and answers an image of its size; names that are not there are hinted at."""

from pathlib import Path

import pytest
import torch

from bench.models.registry import build_model, find_models, load_zoo
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier, classifier
from cwwm.weights.view import as_weights

SMALL = [name for name, spec in load_zoo().items() if name.startswith("test_") or spec.weights == "packaged"]
LARGE = [name for name, spec in load_zoo().items() if name not in SMALL and spec.weights != "timm"]


def builds(name: str) -> None:
    (spec,) = find_models([name])
    model = build_model(spec, 7, 0).eval()
    with torch.inference_mode():
        logits = model(torch.zeros(2, spec.channels, spec.size, spec.size))
    assert logits.shape == (2, 7)
    assert classifier(as_weights(model)) is not None
    assert Carrier.choose(as_weights(model), "body").size > 50_000


@pytest.mark.parametrize("name", SMALL)
def test_a_small_entry_builds_and_answers(name: str) -> None:
    builds(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_a_large_entry_builds_and_answers(name: str) -> None:
    builds(name)


def test_the_same_seed_builds_the_same_weights() -> None:
    (spec,) = find_models(["test_vit"])
    one, same, other = (build_model(spec, 10, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_building_leaves_the_global_generator_alone() -> None:
    (spec,) = find_models(["test_resnet"])
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    build_model(spec, 10, 5)
    assert torch.equal(torch.rand(3), expected)


def test_any_timm_name_works_without_an_entry() -> None:
    assert "convnext_pico" not in load_zoo()
    assert find_models(["convnext_pico"])[0].name == "convnext_pico"


@pytest.mark.parametrize(
    "name", ["fastvit_t12", "shvit_s2", "efficientvit_b1", "pit_xs_224", "levit_128", "coat_mini"]
)
def test_an_architecture_is_asked_for_a_size_only_if_it_takes_one(name: str) -> None:
    (spec,) = find_models([name])
    assert name not in load_zoo()
    with torch.inference_mode():
        assert build_model(spec, 7, 0).eval()(torch.zeros(1, 3, spec.size, spec.size)).shape == (1, 7)


def test_wildcards_pick_entries() -> None:
    assert {spec.name for spec in find_models(["test_*"])} >= {"test_resnet", "test_vit", "test_convnext"}


def test_an_unknown_name_is_hinted_at() -> None:
    with pytest.raises(BadInput, match="resnet18"):
        find_models(["resnet_18"])


def test_pretrained_weights_out_of_reach_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    (spec,) = find_models(["resnet18-imagenet"])
    with pytest.raises(BadInput, match="pretrained: false"):
        build_model(spec, 10, 0)
