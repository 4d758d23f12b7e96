"""Small real networks to read from: unmarked, marked under another key, and derived without a mark."""

import copy
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from bench.data import Dataset, load
from bench.models.registry import build_model, find_models
from cwwm.support.seeds import derive_seed
from cwwm.training import Recipe, train
from cwwm.weights.carrier import classifier
from cwwm.weights.view import Weights, as_weights

PIXELS = 8  # a side of the digits
CLASSES = 10
RECIPE = Recipe(epochs=2, batch_size=128, lr=3e-3)
LEAST = 16  # neurons of a layer
HALF, SPARSE, LEVELS, NOISE = 0.6, 0.97, 8, 0.05  # of what is derived


def digits() -> Dataset:
    """Return the grey 8x8 digits."""
    return load("digits", size=PIXELS, channels=1)


def network(hidden: int, features: int, seed: int) -> nn.Module:
    """Return an untrained network of three linear layers: digits, `hidden` and `features` neurons, classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[tuple[str, nn.Module]] = [
            ("flat", nn.Flatten()),
            ("first", nn.Linear(PIXELS**2, hidden)),
            ("rise", nn.ReLU()),
            ("second", nn.Linear(hidden, features)),
            ("again", nn.ReLU()),
            ("fc", nn.Linear(features, CLASSES)),
        ]
        return nn.Sequential(OrderedDict(layers))


def square(weights: int) -> int:
    """Return how many neurons in both hidden layers give at least so many weights, at steps of a quarter."""
    inputs = PIXELS**2 + CLASSES
    wanted = max(LEAST, math.ceil((math.sqrt(inputs**2 + 4 * weights) - inputs) / 2))
    step = max(4, 1 << (wanted.bit_length() - 3))
    return -(-wanted // step) * step


@lru_cache(16)
def trained(hidden: int, features: int) -> nn.Module:
    """Return the network after two epochs; copy it before changing it."""
    seed = derive_seed(study="null laws", hidden=hidden, features=features)
    model = network(hidden, features, seed)
    train(model, digits().train, RECIPE, seed=seed)
    return model.eval()


@lru_cache(1)
def convolutional() -> nn.Module:
    """Return a convolutional network with widths to mark, untrained: widths are all that is read of it."""
    spec = replace(find_models(["vgg6_bn"])[0], size=PIXELS, channels=1)
    return build_model(spec, CLASSES, derive_seed(study="null laws", model=spec.name)).eval()


def derived(model: nn.Module) -> nn.Module:
    """Return the model fine-tuned for an epoch, 0.6 of its weights pruned by magnitude, noise on the others."""
    victim = copy.deepcopy(model)
    seed = derive_seed(study="null laws", derived=1)
    train(victim, digits().train, replace(RECIPE, epochs=1), seed=seed)
    return _changed(victim, lambda weight: _noisy(_pruned(weight, HALF), seed)).eval()


def sparse(model: nn.Module) -> nn.Module:
    """Return a copy with 0.97 of each layer pruned and the rest rounded to eight levels: many zeros, many ties."""
    return _changed(copy.deepcopy(model), lambda weight: _rounded(_pruned(weight, SPARSE)))


def blank(model: nn.Module) -> nn.Module:
    """Return a copy whose weights are all exactly zero: everything is a tie."""
    return _changed(copy.deepcopy(model), torch.zeros_like)


def foreign(model: nn.Module) -> Weights:
    """Return the weights as others may pass them on: in bfloat16, with a classifier of other classes."""
    state = {name: tensor.bfloat16() for name, tensor in model.state_dict().items()}
    last = classifier(as_weights(model))
    return as_weights({name: tensor[1:] if name == last else tensor for name, tensor in state.items()})


def narrowed(model: nn.Module) -> nn.Module:
    """Return a convolutional network of other widths, which nobody's mark chose."""
    victim = copy.deepcopy(model)
    layers = [layer for layer in victim.modules() if isinstance(layer, nn.Conv2d)]
    draw = torch.Generator().manual_seed(derive_seed(study="null laws", narrowed=1))
    for layer in layers:  # shapes alone are read: the network need not run
        left = len(layer.weight) - int(torch.randint(len(layer.weight) // 2, (1,), generator=draw))
        layer.weight = nn.Parameter(layer.weight[:left].detach().clone())
    return victim


@torch.no_grad()
def _changed(model: nn.Module, change: Callable[[Tensor], Tensor]) -> nn.Module:
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.copy_(change(parameter))
    return model


def _pruned(weight: Tensor, rate: float) -> Tensor:
    threshold = weight.abs().flatten().kthvalue(max(1, int(rate * weight.numel()))).values
    return torch.where(weight.abs() <= threshold, 0, weight)


def _noisy(weight: Tensor, seed: int) -> Tensor:
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
    return torch.where(weight == 0, 0, weight + NOISE * weight.std() * noise)


def _rounded(weight: Tensor) -> Tensor:
    step = weight.abs().max() / LEVELS
    return torch.round(weight / step) * step
