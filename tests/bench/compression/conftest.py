"""A small real network, trained on digits, and an attacker with a few of the images."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.attacks import AttackContext
from bench.data import Dataset, Split, load
from bench.models.networks import LeNet5, LeNet300
from bench.models.registry import HostRecipe
from cwwm.training import Recipe, train

FEW = 320  # images: five steps an epoch


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits", size=16, channels=1)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe(epochs=6, batch_size=64, lr=2e-3)


@pytest.fixture(scope="session")
def taught(digits: Dataset, recipe: Recipe) -> nn.Module:
    torch.manual_seed(0)
    model = LeNet300(img_size=16)
    train(model, digits.train, recipe, seed=0)
    return model.eval()


@pytest.fixture
def model(taught: nn.Module) -> nn.Module:
    """Return LeNet-300-100 for 16x16 images (107,800 weights), trained for six epochs."""
    return copy.deepcopy(taught)


@pytest.fixture
def convolutional() -> nn.Module:
    """Return LeNet-5 for 28x28 images (430,500 weights), untrained."""
    torch.manual_seed(1)
    return LeNet5()


@pytest.fixture(scope="session")
def few(digits: Dataset) -> Dataset:
    return replace(digits, train=Split(digits.train.x[:FEW], digits.train.y[:FEW]))


@pytest.fixture(scope="session")
def attacker(few: Dataset, recipe: Recipe) -> AttackContext:
    """Return an attacker with 320 images."""
    return AttackContext(few, HostRecipe(mark=recipe), 7, torch.device("cpu"), lambda name: few)


@pytest.fixture(scope="session")
def owner(digits: Dataset, attacker: AttackContext) -> AttackContext:
    """Return an attacker with all of the owner's training images."""
    return replace(attacker, data=digits)
