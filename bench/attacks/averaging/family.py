"""What an attacker averages: the marked model, its public base and siblings, as vectors of their parameters."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from bench.attacks.base import AttackContext, Cost
from bench.attacks.means import Means, train_or_diverge
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed

MARKED, BASE_MODEL = "marked", "base"


def vector(model: nn.Module) -> Tensor:
    """Return all parameters in the model's order, float32 (n,), a copy."""
    return torch.cat([value.flatten().float() for _, value in _parameters(model)])


@torch.no_grad()
def write(model: nn.Module, values: Tensor) -> None:
    """Set all parameters from `vector`'s order, in place, in their own dtypes."""
    parameters = [value for _, value in _parameters(model)]
    for value, part in zip(parameters, torch.split(values, [value.numel() for value in parameters]), strict=True):
        value.copy_(part.view_as(value))


def _parameters(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return ((name, value.detach()) for name, value in model.named_parameters() if value.is_floating_point())


@dataclass(frozen=True)
class Sibling:
    """A model that the attacker trained: its parameters, float32 (n,), what it cost, and whether it diverged."""

    values: Tensor
    cost: Cost
    diverged: bool


class Family:
    """The models that an attacker has or trains, each made when it is first asked for."""

    def __init__(self, marked: nn.Module, context: AttackContext, training: Means | None = None) -> None:
        """Take the marked model, what the attacker has, and what siblings are trained with, if any are."""
        self._marked, self.context, self._training = marked, context, training
        self._siblings: dict[tuple[str, int], Sibling] = {}

    @cached_property
    def marked(self) -> Tensor:
        """The marked model's parameters, float32 (n,)."""
        return vector(self._marked)

    @cached_property
    def base(self) -> Tensor:
        """The public base's parameters, float32 (n,); BadInput without one, or if its shapes are others."""
        return vector(self._base_model)

    @cached_property
    def _base_model(self) -> nn.Module:
        if self.context.base is None:
            raise BadInput("this model has no public base to be averaged with; give AttackContext a `base`")
        found = self.context.base()
        shapes, marked = ({name: value.shape for name, value in _parameters(m)} for m in (found, self._marked))
        if wrong := sorted(name for name in {*shapes, *marked} if shapes.get(name) != marked.get(name)):
            raise BadInput(f"the public base differs in the shape of {wrong[0]}; a mark in shapes does not average")
        return found

    @property
    def task_vector(self) -> Tensor:
        """The marked model less its base (arXiv 2212.04089, section 2), float32 (n,)."""
        return self.marked - self.base

    def siblings(self, count: int, start: str) -> list[Sibling]:
        """Return the first `count` models trained from ``"marked"`` or ``"base"``, each on batches of its own."""
        return [self._sibling(number, start) for number in range(count)]

    def _sibling(self, number: int, start: str) -> Sibling:
        """Return a sibling; held masks stay zero in those of the marked model."""
        if (start, number) not in self._siblings:
            self._siblings[start, number] = self._trained(number, start)
        return self._siblings[start, number]

    def _trained(self, number: int, start: str) -> Sibling:
        if self._training is None:
            raise TypeError("a family without means trains no siblings")
        model = copy.deepcopy(self._marked if start == MARKED else self._base_model)
        masks = self.context.masks if start == MARKED else {}
        context = replace(self.context, seed=derive_seed(sibling=number, of=self.context.seed))
        cost, diverged = train_or_diverge(model, self._training, context, masks=masks)
        return Sibling(vector(model), cost, diverged)

    def tensors(self, values: Tensor) -> tuple[Tensor, ...]:
        """Return the parts of a vector that are a parameter each, flat."""
        return torch.split(values, [value.numel() for _, value in _parameters(self._marked)])
