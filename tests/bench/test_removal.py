"""Removed channels are gone, the least important and as many as asked for, and the network still works."""

import copy
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

import pytest
import torch
from torch import Tensor, nn

from bench.attacks import AttackContext
from bench.attacks.base import Attacked
from bench.attacks.pruning import prunable_tensors
from bench.attacks.removal import StructuredRemoval, remove_empty
from bench.data import load
from bench.models.registry import HostRecipe, build_model, find_models
from cwwm.support.errors import BadInput, EnvironmentFault
from cwwm.training import Recipe
from cwwm.weights.carrier import classifier
from cwwm.weights.order_statistics import pruned_count
from cwwm.weights.view import as_weights

pytest.importorskip("torch_pruning")

ZOO = ["test_resnet", "test_convnext2", "test_vit", "resnet10t", "lenet5", "lenet300_100"]
RATES = [0.0, 0.1, 1 / 3, 0.5, 0.97]


class Grouped(nn.Module):
    """Convolutions whose channels flow through batch norm, a grouped convolution and a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 16, 3, stride=2), nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 24, 3, stride=2, groups=4)
        self.hidden, self.fc = nn.Linear(24 * 9, 30), nn.Linear(30, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.conv2(x)).flatten(1)
        logits: Tensor = self.fc(torch.relu(self.hidden(x)))
        return logits


class Transposed(nn.Module):
    """Mixes tokens, then channels, as MLP mixers do: its residual sums have two meanings of an axis."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 4, stride=4)
        self.token1, self.token2 = nn.Linear(16, 20), nn.Linear(20, 16)
        self.channel1, self.channel2 = nn.Linear(12, 40), nn.Linear(40, 12)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2)
        x = (x + self.token2(torch.relu(self.token1(x)))).transpose(1, 2)
        x = x + self.channel2(torch.relu(self.channel1(x)))
        logits: Tensor = self.head(x.mean(1))
        return logits


def context_of(size: int, channels: int = 3) -> AttackContext:
    recipe = HostRecipe(mark=Recipe(epochs=1))
    return AttackContext(load("digits", size=size, channels=channels), recipe, 7, torch.device("cpu"), load_nothing)


def load_nothing(name: str) -> NoReturn:
    raise AssertionError(f"nothing else is loaded, not {name}")


def zoo_model(name: str) -> tuple[nn.Module, AttackContext]:
    (spec,) = find_models([name])
    return build_model(spec, 10, 0), context_of(spec.size, spec.channels)


def seeded(network: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return network()


def remove(model: nn.Module, rate: float, context: AttackContext, **parameters: object) -> Attacked:
    return next(StructuredRemoval(**parameters).curve([model], [rate], context))


def logits(model: nn.Module, context: AttackContext) -> Tensor:
    with torch.inference_mode():
        answer: Tensor = copy.deepcopy(model).eval()(context.data.test.x[:16])
    return answer


@pytest.mark.parametrize("name", ZOO)
def test_networks_of_the_zoo_get_smaller_and_run_and_repeat(name: str) -> None:
    model, context = zoo_model(name)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    item, again = (remove(model, 0.5, context) for _ in range(2))
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert logits(item.model, context).shape == (16, 10)
    assert item.model.training == model.training
    state, other = item.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(state[n], other[n]) for n in state | other)
    parameters = sum(p.numel() for p in item.model.parameters())
    assert item.achieved["parameters"] == parameters < 0.5 * item.achieved["parameters_before"]
    assert item.achieved["macs"] < 0.5 * item.achieved["macs_before"]
    assert item.achieved["layers"] == {n: len(t) for n, t in prunable_tensors(item.model).items()}


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext2", "lenet5"])
@pytest.mark.parametrize("rate", RATES)
def test_every_layer_but_the_classifier_loses_floor_of_rate_times_width(name: str, rate: float) -> None:
    model, context = zoo_model(name)
    left = remove(model, rate, context).achieved["layers"]
    widths = {n: len(t) for n, t in prunable_tensors(model).items()}
    head = classifier(as_weights(model))
    assert left == {n: width - (n != head) * pruned_count(rate, width) for n, width in widths.items()}


def test_macs_are_counted_for_one_image() -> None:
    model, context = zoo_model("lenet5")
    item = remove(model, 0.5, context)
    assert item.achieved["macs_before"] == 24**2 * 500 + 8**2 * 25_000 + 400_000 + 5_000
    assert item.achieved["macs"] == 24**2 * 250 + 8**2 * 25 * 250 + 400 * 250 + 2_500


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("name", ["lenet5", "lenet300_100", "grouped"])
def test_removing_silent_channels_changes_no_answer(name: str, norm: int) -> None:
    model, context = zoo_model(name) if name != "grouped" else (seeded(Grouped), context_of(16))
    silent = {}
    for layer, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and layer != "fc":
            parts = 4 if isinstance(model, Grouped) and layer.startswith("conv") else 1
            chosen = torch.zeros(len(module.weight) // parts, dtype=torch.bool)
            chosen[1::2] = True  # neither the first nor the last half
            silent[layer] = chosen.repeat(parts)
    with torch.no_grad():
        for layer, rows in silent.items():
            module = model.get_submodule(layer)
            module.weight[rows], module.bias[rows] = 0.0, 0.0
            module.weight[~rows] *= 1.5  # what reads the channels counts too
        if isinstance(model, Grouped):
            model.norm1.weight[silent["conv1"]] = 0.0
    item = remove(model, 0.5, context, norm=norm)
    for layer, rows in silent.items():
        assert item.achieved["layers"][f"{layer}.weight"] == int((~rows).sum())
    torch.testing.assert_close(logits(item.model, context), logits(model, context), rtol=1e-4, atol=1e-5)


def test_what_is_left_keeps_its_values_and_order() -> None:
    model, context = zoo_model("lenet5")
    rows = model.get_parameter("conv1.weight").detach()
    left = remove(model, 0.3, context).model.get_parameter("conv1.weight").detach()
    places = [int((rows == row).flatten(1).all(1).nonzero()) for row in left]
    assert places == sorted(places)
    assert len(places) == 14


def test_attention_keeps_its_heads_and_loses_tokens_channels_and_hidden_neurons() -> None:
    model, context = zoo_model("test_vit")
    left = prunable_tensors(remove(model, 0.5, context).model)
    assert left["blocks.0.attn.qkv.weight"].shape == (192, 32)
    assert left["blocks.0.attn.proj.weight"].shape == (32, 64)
    assert left["blocks.0.mlp.fc1.weight"].shape == (96, 32)


def test_interior_channels_leave_residual_sums_alone() -> None:
    model, context = zoo_model("test_vit")
    left = prunable_tensors(remove(model, 0.5, context, channels="interior").model)
    changed = {n for n, t in prunable_tensors(model).items() if t.shape != left[n].shape}
    assert changed == {f"blocks.{block}.mlp.fc{layer}.weight" for block in range(6) for layer in (1, 2)}


def test_a_network_that_cannot_be_followed_is_refused_but_for_its_interior() -> None:
    model, context = seeded(Transposed), context_of(16)
    with pytest.raises(BadInput, match=r"cannot lose its channels .*; try channels: interior") as refusal:
        remove(model, 0.5, context)
    assert "\n" not in str(refusal.value)
    left = remove(model, 0.5, context, channels="interior")
    assert left.achieved["layers"]["token1.weight"] == 10
    assert left.achieved["layers"]["channel1.weight"] == 20
    assert logits(left.model, context).shape == (16, 10)


@pytest.mark.parametrize("name", ["lenet5", "test_resnet", "test_convnext2", "test_vit"])
def test_the_smaller_network_takes_a_new_head(name: str) -> None:
    model, context = zoo_model(name)
    smaller = remove(model, 0.5, context).model
    smaller.reset_classifier(3)
    assert logits(smaller, context).shape == (16, 3)


def test_zeros_that_were_held_stay_held_in_the_new_shapes() -> None:
    model, context = zoo_model("lenet5")
    weight = model.get_parameter("fc1.weight")
    mask = torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    with torch.no_grad():
        weight.mul_(mask)
    item = remove(model, 0.5, replace(context, masks={"fc1.weight": mask}))
    left = item.model.get_parameter("fc1.weight")
    assert item.masks["fc1.weight"].shape == left.shape == (250, 400)
    assert torch.equal(item.masks["fc1.weight"], left != 0)
    assert 0.1 < float(item.masks["fc1.weight"].float().mean()) < 0.3


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan")])
def test_an_impossible_rate_is_refused(rate: float) -> None:
    with pytest.raises(BadInput, match="at least 0 and below 1"):
        remove(seeded(Grouped), rate, context_of(16))


@pytest.mark.parametrize(("parameters", "why"), [({"norm": 3}, "norm is 1 or 2"), ({"channels": "some"}, "'some'")])
def test_an_impossible_parameter_is_refused(parameters: dict[str, object], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        StructuredRemoval(**parameters)


def test_a_network_without_a_named_classifier_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 20), nn.Linear(20, 10))
    with pytest.raises(BadInput, match="classifier's name"):
        remove(model, 0.5, context_of(16))


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(EnvironmentFault, match="pip install torch-pruning"):
        remove(seeded(Grouped), 0.5, context_of(16))


@pytest.mark.parametrize("name", ["test_resnet", "lenet5", "lenet300_100"])
def test_what_is_empty_goes_without_changing_an_answer(name: str) -> None:
    (spec,) = find_models([name])
    model = build_model(spec, 10, 0).eval()
    x = load(spec.data, size=spec.size, channels=spec.channels).test.x[:8]
    generator, parameters = torch.Generator().manual_seed(0), dict(model.named_parameters())
    for layer, tensor in list(prunable_tensors(model).items())[:-1]:
        empty = torch.rand(len(tensor), generator=generator) < 0.4
        tensor[empty] = 0
        if (bias := parameters.get(layer.removesuffix("weight") + "bias")) is not None:
            bias.detach()[empty] = 0
    before, size = model(x), sum(p.numel() for p in model.parameters())
    remove_empty(model, x, "test")
    assert torch.allclose(model(x), before, atol=1e-6)
    assert sum(p.numel() for p in model.parameters()) < 0.7 * size
    if "resnet" not in name:  # a residual sum keeps a channel that one of its layers still gives
        assert all(bool((t.flatten(1) != 0).any(1).all()) for t in prunable_tensors(model).values())


def test_a_layer_without_any_weight_keeps_one_channel() -> None:
    (spec,) = find_models(["lenet300_100"])
    model = build_model(spec, 10, 0)
    prunable_tensors(model)["fc1.weight"].zero_()
    remove_empty(model, load("digits", size=28, channels=1).test.x, "test")
    assert dict(model.named_parameters())["fc1.weight"].shape == (1, 784)
