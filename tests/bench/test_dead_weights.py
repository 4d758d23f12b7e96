"""Dead weights: those that are dead by construction are found, no others, and hosts and carriers know of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.attacks import make_attack
from bench.attacks.base import AttackContext
from bench.data import Dataset, Split
from bench.execution.model_factory import ModelFactory
from bench.metrics.dead_weights import DeadLayer, alive_weights, dead_layers, find_dead, training_images, unmoved
from bench.models.registry import HostRecipe, load_zoo
from bench.studies.hosts import Host, page, users
from bench.suite import SchemeEntry
from bench.suite.cell import HostSpec, MarkSpec
from bench.support.artifact_store import ArtefactStore
from cwwm.schemes import make_scheme
from cwwm.support.errors import BadInput
from cwwm.training import Recipe, train
from cwwm.weights.dead import Dead
from cwwm.weights.view import as_weights
from tests.golden.cells import TINY

RECIPE = Recipe(epochs=3, batch_size=32, lr=0.01, weight_decay=0.0)
BLANK = (1, 2)  # a pixel that is zero in every image


class Dying(nn.Module):
    """4x4 images; conv1 with a silenced channel, conv2 on maps of 1x1, a linear layer; some weights are dead."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 4, padding=0)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.fc = nn.Linear(16, 5)
        with torch.no_grad():
            self.conv1.bias[3] = -1e3
            self.conv1.bias[:3] += 1
            self.conv1.bias[4:] += 1
            self.conv2.bias += 1

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(torch.relu(self.conv2(torch.relu(self.conv1(x)))).flatten(1))
        return logits


def dying() -> Dying:
    torch.manual_seed(0)
    return Dying()


def images(count: int = 200) -> Split:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 1, 4, 4, generator=generator)
    x[:, :, BLANK[0], BLANK[1]] = 0
    return Split(x, torch.randint(5, (count,), generator=generator))


def expected() -> dict[str, Tensor]:
    """Return what lives: not the silenced channel, the blank pixel, what meets padding, or what hears silence."""
    conv1 = torch.ones(8, 1, 4, 4, dtype=torch.bool)
    conv1[3] = False
    conv1[:, :, BLANK[0], BLANK[1]] = False
    conv2 = torch.zeros(16, 8, 3, 3, dtype=torch.bool)
    conv2[:, :, 1, 1] = True
    conv2[:, 3] = False
    return {"conv1.weight": conv1, "conv2.weight": conv2, "fc.weight": torch.ones(5, 16, dtype=torch.bool)}


def test_what_is_dead_by_construction_is_found_and_nothing_else() -> None:
    found = alive_weights(dying(), training_images(images(), RECIPE))
    assert found.keys() == expected().keys()
    for name, alive in expected().items():
        assert torch.equal(found[name], alive), name
    assert dead_layers(found) == [
        DeadLayer("conv1.weight", 128, 16 + 7, 16 + 7),
        DeadLayer("conv2.weight", 1152, 1152 - 16 * 7, 1152 - 16 * 7),
        DeadLayer("fc.weight", 80, 0, 0),
    ]
    assert find_dead(dying(), images(), RECIPE) == {
        "conv1.weight": Dead(((3, 4),), ((6, 7),)),
        "conv2.weight": Dead.of(expected()["conv2.weight"]),
    }


def test_no_answer_changes_with_dead_weights_and_training_leaves_them() -> None:
    model, changed, data = dying(), dying(), images()
    with torch.no_grad():
        for name, alive in expected().items():
            weight = changed.get_parameter(name)
            weight[~alive] += torch.rand(int((~alive).sum()))
        assert torch.equal(model(data.x), changed(data.x))
    before = dying()
    train(model, data, RECIPE, seed=0)
    for name, alive in expected().items():
        assert torch.equal(model.get_parameter(name)[~alive], before.get_parameter(name)[~alive])
    dead = sum(int((~alive).sum()) for alive in expected().values())
    assert dead <= unmoved(before, model, list(expected())) < dead + 60


def test_unmoved_is_less_than_three_percent_of_the_layer() -> None:
    before, after = nn.Linear(4, 1), nn.Linear(4, 1)
    with torch.no_grad():
        before.weight.copy_(torch.tensor([[2.0, -2.0, 2.0, -2.0]]))
        after.weight.copy_(before.weight + torch.tensor([[0.0, 0.05, 0.07, -0.07]]))
    assert unmoved(before, after, ["weight"]) == 2


def test_images_are_those_that_training_draws() -> None:
    drawn = torch.cat(list(training_images(images(50), replace(RECIPE, shift=1))))
    assert drawn.shape == (100, 1, 4, 4)
    assert drawn[:, 0, BLANK[0], BLANK[1]].any()  # a shift puts something there


def test_a_scheme_of_a_suite_leaves_out_what_is_dead_in_its_host(tmp_path: Path) -> None:
    factory = ModelFactory(ArtefactStore(tmp_path), torch.device("cpu"))
    entry = SchemeEntry("sign", "sign-repetition", {"carrier": "alive:body", "repetition": 3})
    host = HostSpec(TINY, 0)
    marked = factory.marked(MarkSpec(host, entry, 16))
    assert marked.mark.carrier is not None
    assert TINY.recipe.train is not None
    found = find_dead(factory.host(host), factory.data(host).train, TINY.recipe.train)
    layers = {layer.name: layer.dead for layer in marked.mark.carrier.layers}
    in_body = {name: dead for name, dead in found.items() if name in layers}
    assert in_body
    assert {n: dead for n, dead in layers.items() if dead != Dead()} == in_body
    assert (
        layers["layer4.0.conv2.weight"].living((96, 96, 3, 3))[1] <= 96
    )  # maps of 1x1: only the middle of a kernel
    assert marked.scheme.extract(as_weights(marked.model), marked.key, marked.mark).ok


def test_who_overwrites_a_mark_leaves_out_what_is_dead_too() -> None:
    host, scheme = dying(), make_scheme("sign", {"payload_bits": 8, "carrier": "alive:all"})
    context = replace(AttackContext.bare(torch.device("cpu")), scheme=scheme, recipe=HostRecipe(mark=RECIPE))
    attack = make_attack({"name": "overwrite"}, "test")
    with pytest.raises(BadInput, match="nobody said which"):
        attack.apply(host, 1, context)
    data = Dataset("random", 5, images(), images(), images(), identity="", labelled=True)
    changed = attack.apply(host, 1, replace(context, data=data)).model
    moved = {name: changed.get_parameter(name) != host.get_parameter(name) for name in expected()}
    assert sum(int(mask.sum()) for mask in moved.values()) > 0
    assert not any((moved[name] & ~alive).any() for name, alive in expected().items())


@pytest.mark.parametrize(("dead", "said"), [(11, "**11.0%**"), (10, "| 10.0% "), (0, "| - ")])
def test_the_page_marks_hosts_with_many_dead_weights(dead: int, said: str) -> None:
    host = Host(TINY, [DeadLayer("a", 60, dead, dead // 2), DeadLayer("b", 40, 0, 0)], 7, 98.4)
    text = page([host], {"tiny": ["smoke", "cpu"]}, torch.device("cpu"))
    assert said in text
    assert all(part in text for part in ("tiny", "7.0%", "98.4 %", "smoke, cpu"))
    assert "not measured" not in text
    assert "not measured here: b, c." in page([host], {"c": ["smoke"], "tiny": [], "b": []}, torch.device("cpu"))


def test_suites_use_known_models() -> None:
    assert users().keys() <= load_zoo().keys()
    assert "smoke" in users()["test_resnet-40"]
