"""What is seen of a layer's inputs gives the energy of its answers, whatever its groups, strides and padding."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.attacks.calibrated.layer_inputs import calibration, gram, importance, input_moments, squares
from bench.attacks.pruning import prunable_tensors
from tests.bench.real_networks import EACH, attacker, real_network

IMAGES = torch.randn(5, 6, 11, 9, generator=torch.Generator().manual_seed(0))
LAYERS = {
    "plain": lambda: nn.Conv2d(6, 8, 3),
    "groups": lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2),
    "depthwise": lambda: nn.Conv2d(6, 12, 5, padding=(2, 1), groups=6),
    "dilated": lambda: nn.Conv2d(6, 4, (3, 2), stride=(1, 2), dilation=2, padding=(0, 3)),
    "same": lambda: nn.Conv2d(6, 4, (4, 3), padding="same", dilation=(1, 2)),
    "valid": lambda: nn.Conv2d(6, 4, 3, padding="valid"),
    "reflect": lambda: nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"),
    "linear": lambda: nn.Linear(9, 4),
}


def energy(weight: Tensor, moments: Tensor) -> float:
    rows = weight.detach().double().reshape(len(moments), -1, moments.shape[1])
    return float(torch.einsum("gri,gij,grj->", rows, moments, rows))


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel lengths")  # uneven sides are the point
@pytest.mark.parametrize("kind", LAYERS)
def test_moments_give_the_energy_of_a_layers_answers(kind: str) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(LAYERS[kind]())
    weight, bias = (model.get_parameter(f"0.{part}").detach() for part in ("weight", "bias"))
    shape = (-1, 1, 1) if weight.ndim == 4 else (-1,)
    answers = model(IMAGES).detach() - bias.view(shape)
    found = input_moments(model, IMAGES, gram)["0.weight"]
    assert energy(weight, found) == pytest.approx(float(answers.double().square().sum()), rel=1e-5)
    sums = input_moments(model, IMAGES, squares)["0.weight"]
    assert torch.allclose(found.diagonal(dim1=1, dim2=2), sums, rtol=1e-5)


@pytest.mark.parametrize("name", EACH)
def test_every_layer_of_real_networks_is_seen(name: str) -> None:
    model, heard = real_network(name), {}

    def hook(layer: nn.Module, _: object, output: Tensor) -> None:
        bias = layer._parameters["bias"]
        shape = (-1, 1, 1) if isinstance(layer, nn.Conv2d) else (-1,)
        plain = output if bias is None else output - bias.view(shape)
        heard[layer] = float(plain.detach().double().square().sum())

    images = attacker().data.test.x[:16]
    found = input_moments(model, images, gram)
    assert set(found) == set(prunable_tensors(model))
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(hook)
    with torch.no_grad():
        model(images)
    for name, moments in found.items():
        layer = model.get_submodule(name.removesuffix(".weight"))
        assert energy(model.get_parameter(name), moments) == pytest.approx(heard[layer], rel=1e-3)


def test_a_model_is_left_as_it_was_and_shared_layers_add_up() -> None:
    torch.manual_seed(1)
    layer = nn.Linear(9, 9, bias=False)
    model = nn.Sequential(layer, layer).train()
    found = input_moments(model, IMAGES, squares)
    once = IMAGES.reshape(-1, 9).square().sum(0)
    twice = functional.linear(IMAGES, layer.weight).detach().reshape(-1, 9).square().sum(0)
    assert torch.allclose(found["0.weight"][0].float(), once + twice, rtol=1e-4)
    assert model.training
    assert layer.weight.requires_grad


def test_a_layer_that_changes_its_weight_before_use_is_not_seen() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(9, 4)), nn.Linear(4, 3))
    assert set(input_moments(model, IMAGES, squares)) == {"1.weight"}


def test_calibration_images_are_the_attackers_and_depend_on_the_seed_alone() -> None:
    context = attacker()
    split, share = calibration(context, 10)
    again, _ = calibration(context, 20)
    assert torch.equal(split.x, again.x[:10])
    assert share == 10 / len(context.data.train)
    everything, whole = calibration(context, 10**6)
    assert whole == 1
    assert torch.equal(everything.y.sort().values, context.data.train.y.sort().values)


def test_importance_weighs_each_input_by_its_norm() -> None:
    weight = torch.tensor([[[[1.0, -2.0]], [[3.0, 0.0]]], [[[1.0, 1.0]], [[1.0, -1.0]]]])  # (2, 2, 1, 2)
    sums = torch.tensor([[1.0, 4.0, 9.0, 16.0]])
    expected = torch.tensor([[[[1.0, 4.0]], [[9.0, 0.0]]], [[[1.0, 2.0]], [[3.0, 4.0]]]])
    assert torch.equal(importance(weight, sums), expected)
    depthwise = importance(torch.ones(2, 1, 1, 2), torch.tensor([[1.0, 4.0], [9.0, 16.0]]))
    assert torch.equal(depthwise.flatten(1), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert torch.equal(importance(weight, None), weight.abs())
