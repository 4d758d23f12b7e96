"""Our own networks are the papers' LeNets and the small convnets of a study, and timm's like any other."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.attacks import AttackContext, make_attack
from bench.data import load
from bench.data.dataset import Split
from bench.models.registry import build_model, find_models, load_zoo
from cwwm.support.errors import BadInput
from cwwm.training import train
from cwwm.weights.carrier import Carrier, classifier
from cwwm.weights.view import as_weights

SHAPES = {
    "lenet5": {
        "conv1.weight": (20, 1, 5, 5),
        "conv2.weight": (50, 20, 5, 5),
        "fc1.weight": (500, 800),
        "fc.weight": (10, 500),
    },
    "convnet16_32": {"conv1.weight": (16, 1, 3, 3), "conv2.weight": (32, 16, 3, 3), "fc.weight": (10, 512)},
    "convnet12_24": {"conv1.weight": (12, 1, 3, 3), "conv2.weight": (24, 12, 3, 3), "fc.weight": (10, 384)},
    "vgg6_bn": {
        "features.0.weight": (64, 1, 3, 3),
        "features.3.weight": (64, 64, 3, 3),
        "features.7.weight": (128, 64, 3, 3),
        "features.10.weight": (128, 128, 3, 3),
        "features.14.weight": (256, 128, 3, 3),
        "features.17.weight": (256, 256, 3, 3),
        "fc.weight": (10, 256),
    },
    "lenet300_100": {"fc1.weight": (300, 784), "fc2.weight": (100, 300), "fc.weight": (10, 100)},
}


def build(name: str, channels: int = 1, size: int = 28, classes: int = 10) -> nn.Module:
    (spec,) = find_models([name])
    return build_model(replace(spec, channels=channels, size=size), classes, 0).eval()


@pytest.mark.parametrize(
    ("name", "size", "weights"),
    [
        ("lenet5", 28, 430_500),
        ("lenet300_100", 28, 266_200),
        ("convnet16_32", 16, 9_872),
        ("convnet12_24", 16, 6_540),
        ("vgg6_bn", 32, 1_145_920),
    ],
)
def test_layers_and_weights_are_as_documented(name: str, size: int, weights: int) -> None:
    model = build(name, size=size)
    shapes = {n: tuple(p.shape) for n, p in model.named_parameters() if p.ndim > 1}
    assert shapes == SHAPES[name]
    carrier = Carrier.choose(as_weights(model), "all")
    assert carrier.size == weights
    assert [layer.name for layer in carrier.layers] == list(shapes)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 28, 10), (3, 28, 7), (3, 16, 10), (1, 32, 2)])
def test_they_take_any_channels_size_and_classes(name: str, channels: int, size: int, classes: int) -> None:
    model = build(name, channels, size, classes)
    with torch.inference_mode():
        assert model(torch.zeros(2, channels, size, size)).shape == (2, classes)


@pytest.mark.parametrize("name", SHAPES)
def test_the_pieces_make_the_whole_and_the_classifier_is_known(name: str) -> None:
    model = build(name)
    x = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = model.forward_features(x)
        hidden = model.forward_head(features, pre_logits=True)
        assert torch.equal(model(x), model.get_classifier()(hidden))
    assert features.shape[1] == model.num_features
    assert hidden.shape == (3, model.head_hidden_size)
    assert classifier(as_weights(model)) == "fc.weight"
    assert model.get_parameter(f"{model.default_cfg['classifier']}.weight").shape[0] == model.num_classes == 10
    model.reset_classifier(0)
    with torch.inference_mode():
        assert torch.equal(model(x), hidden)


@pytest.mark.parametrize("name", SHAPES)
def test_a_new_head_moves_them_to_another_task(name: str) -> None:
    data = load("digits", size=16)
    data = replace(data, train=Split(data.train.x[:64], data.train.y[:64]))
    (spec,) = find_models([name])
    context = AttackContext(data, spec.recipe, 1, torch.device("cpu"), lambda task: data)
    attack = make_attack({"name": "new-head", "scope": "head", "epochs": 1, "task": "digits"}, "test")
    model = build(name, channels=3, size=16, classes=4)
    item = next(attack.curve([model], [1.0], context))
    assert item.model.get_parameter("fc.weight").shape[0] == item.model.num_classes == 10
    first = next(name for name, _ in model.named_parameters())
    assert torch.equal(item.model.get_parameter(first), model.get_parameter(first))


def test_dropout_is_off_unless_asked_for() -> None:
    (spec,) = find_models(["lenet5"])
    x = torch.ones(2, 1, 28, 28)
    plain = build_model(spec, 10, 0).train()
    assert torch.equal(plain(x), plain.eval()(x))
    dropped = build_model(replace(spec, create={"drop_rate": 0.5}), 10, 0).train()
    assert not torch.equal(dropped(x), dropped.eval()(x))
    assert torch.equal(dropped(x), plain(x))


def test_the_zoo_has_an_entry_for_each_data_set_of_grey_images() -> None:
    entries = {n: s for n, s in load_zoo().items() if s.family == "LeNet" and s.channels == 1}
    assert {spec.data for spec in entries.values()} == {"digits", "mnist", "fashion-mnist"}
    assert {(spec.size, spec.channels) for spec in entries.values()} == {(28, 1)}
    assert all(spec.recipe.train is not None for spec in entries.values())


def test_a_few_epochs_of_the_recipe_teach_them_digits() -> None:
    (spec,) = find_models(["lenet300_100"])
    assert spec.recipe.train is not None
    data = load(spec.data, size=spec.size, channels=spec.channels)
    model = build_model(spec, data.classes, 0)
    train(model, data.train, replace(spec.recipe.train, epochs=12), seed=0)
    with torch.inference_mode():
        right = model.eval()(data.test.x).argmax(1) == data.test.y
    assert float(right.float().mean()) > 0.93


def test_there_are_no_pretrained_weights() -> None:
    (spec,) = find_models(["lenet5"])
    with pytest.raises(BadInput, match="pretrained: false"):
        build_model(replace(spec, weights="timm"), 10, 0)
