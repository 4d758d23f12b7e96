"""What the rules of an attack are tried on: a small network, digits, and an attacker who has everything."""

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.attacks import ATTACKS, Attack, AttackContext, Attacked, make_attack
from bench.data import load
from bench.models.registry import HostRecipe
from cwwm.ownership.keys import Key
from cwwm.schemes import EmbedContext, Scheme, embed, make_scheme
from cwwm.support.registry import build
from cwwm.training import Recipe
from cwwm.weights.view import as_weights

SIZE = 16  # pixels a side
_SHORT = Recipe(epochs=1, batch_size=64, lr=1e-3)
_RECIPE = HostRecipe(mark=_SHORT, train=replace(_SHORT, epochs=4))


class TwoConvolutions(nn.Module):
    """Two convolutions with batch norm, and a classifier that can be replaced as timm's can; 3-channel inputs."""

    def __init__(self) -> None:
        """Take the global generator's initial weights."""
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 16, 3, stride=2), nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 10)

    def reset_classifier(self, classes: int) -> None:
        """Give the network a fresh classifier."""
        self.fc = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (n, classes)."""
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def network(name: str | None = None, seed: int = 0) -> nn.Module:
    """Return an untrained network from a seed, whatever its name."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TwoConvolutions()


@cache
def _scheme() -> Scheme:
    return make_scheme("sign-repetition", {"payload_bits": 16, "repetition": 5})


def everything() -> AttackContext:
    """Return the context of an attacker who has data, a recipe, the encoding, a builder of networks and a base."""
    data, device = load("digits", size=SIZE), torch.device("cpu")
    known: dict[str, Any] = {"scheme": _scheme(), "build": network, "base": lambda: network(seed=1)}
    return AttackContext(data, _RECIPE, 7, device, lambda name: load(name, size=SIZE), **known)


@dataclass(frozen=True)
class AttackSubject:
    """An attack under test.

    Attributes:
        attack: with its parameters. strengths: that it takes, one or more.
        model: gives what it attacks, equal each time. context: gives what the attacker has.
    """

    attack: Attack
    strengths: Sequence[float]
    model: Callable[[], nn.Module] = network
    context: Callable[[], AttackContext] = everything

    def __str__(self) -> str:
        return f"attack {self.attack!r:.200} at {list(self.strengths)}"

    @cached_property
    def rebuilt(self) -> Attack:
        """The attack that its JSON gives, as the record of a cell has it."""
        made: dict[str, Any] = json.loads(json.dumps(self.attack.to_json()))
        name = made["name"]
        if name in ATTACKS:
            return make_attack(made, "check_attack")
        given = {key: value for key, value in made.items() if key != "name"}
        return build("attack", {name: type(self.attack)}, name, given, "check_attack")

    def targets(self, strengths: Sequence[float]) -> list[nn.Module]:
        """Return a model, and copies of it with marks of their own where the attack compares some."""
        model = self.model()
        others = [copy.deepcopy(model) for _ in range(1, self.attack.copies_needed(strengths))]
        for number, other in enumerate(others):
            message = np.ones(_scheme().payload_bits, np.uint8)
            key = Key.for_harness(copy=number)
            embed(_scheme(), as_weights(other), message, key, EmbedContext(nonce=bytes(16)))
        return [model, *others]

    @cached_property
    def first(self) -> "list[Outcome]":
        """What the attack gives at each strength, once."""
        return self.run(self.attack, self.strengths)

    def run(self, attack: Attack, strengths: Sequence[float]) -> "list[Outcome]":
        """Return what an attack gives at each strength, each kept before the next is asked for."""
        return [Outcome.of(item) for item in attack.curve(self.targets(strengths), strengths, self.context())]


@dataclass(frozen=True)
class Outcome:
    """One attacked model as it was when it was yielded: the item, and its state, copied."""

    item: Attacked
    state: dict[str, Tensor]
    achieved: dict[str, Any]

    @classmethod
    def of(cls, item: Attacked) -> "Outcome":
        """Copy what the next item may write over."""
        state = {name: value.clone() for name, value in item.model.state_dict().items()}
        return cls(item, state, copy.deepcopy(dict(item.achieved)))

    def equals(self, other: "Outcome") -> bool:
        """Say whether both models have the same tensors, bit by bit."""
        return self.state.keys() == other.state.keys() and all(
            value.shape == other.state[name].shape and torch.equal(value, other.state[name])
            for name, value in self.state.items()
        )
