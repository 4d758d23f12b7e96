"""Low-rank adaptation: the cheapest fine-tuning, whose change of every layer has a rank of a few."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.attacks.base import DATA, Attack, AttackContext, Attacked, Masks, measure_change, timed
from bench.attacks.means import check_budget, means, train_or_diverge
from bench.attacks.pruning import prunable_tensors
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed

_PARTS = "parametrizations"  # in the names of what is trained; PyTorch's word
_ORIGINAL = "original"


@dataclass(frozen=True, kw_only=True)
class LoRA(Attack):
    """Trains W + (alpha / r) B A for every convolution and linear weight W, and merges it (Hu et al., 2106.09685).

    A (r, columns) starts uniform in +-1 / sqrt(columns), B (rows, r) at zero, so that training starts at the marked
    model; a convolution's W is the matrix of its filters as rows. W itself, biases and norms are frozen, and the
    host's own recipe trains A and B. Running statistics of batch norms follow the data, as with peft.

    The change of a layer has rank r at most (the smaller of rows and columns if r is above), so in a layer of (m,
    n) it lies in the share (m + n - r) r / (m n) of all directions: a mark that is spread evenly meets it by
    chance, and a reader who damps the few largest singular values of the change takes it away.

    Attributes:
        alpha: over the rank: the change is scaled by it at every rank.
        rate: learning rate, relative to that of training.
        epochs: of training; None for as many as the host was trained.
        budget: share of the host's training, data and compute (`bench.attacks.means`).
    """

    name: ClassVar[str] = "lora"
    strength: ClassVar[str] = "rank of the change of every layer"
    needs: ClassVar[frozenset[str]] = frozenset({DATA})

    alpha: float = 2.0
    rate: float = 1.0
    epochs: int | None = None
    budget: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a scale or learning rate that is not above 0, less than one epoch, and what is no budget."""
        check_budget(self.name, self.budget, self.epochs)
        if not 0 < self.alpha < math.inf or not 0 < self.rate < math.inf:
            raise BadInput(f"{self.name}: alpha and rate are numbers above 0")
        if self.epochs is not None and self.epochs < 1:
            raise BadInput(f"{self.name}: epochs are at least 1")

    def check_strength(self, strength: float) -> None:
        """Refuse what is no rank."""
        if strength < 1 or strength % 1:
            raise BadInput(f"{self.name}: a rank is an integer of at least 1, not {strength:g}")

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Fine-tune and merge in place; weights that a mask holds stay zero. A run that diverges says so.

        `achieved` has ``trained``, the numbers trained over the weights that they change.

        Raises:
            BadInput: unless the rank is an integer of at least 1.
        """
        self.check_strength(strength)
        before = {name: tensor.clone() for name, tensor in prunable_tensors(model).items()}
        given = means(context, self.rate, self.epochs, self.budget)
        order = {layer: list(layer._parameters) for layer in model.modules()}
        with timed(context.device) as watch:
            added = adapt(model, int(strength), self.alpha, context.masks, derive_seed(lora=context.seed))
            cost, diverged = train_or_diverge(model, given, context, trainable=is_adapter)
            merge(model, list(before))
            _reorder(order)
        achieved = {
            "rank": int(strength),
            "trained": added / max(1, sum(tensor.numel() for tensor in before.values())),
            "lr": given.recipe.lr,
            "epochs": given.recipe.epochs,
            "diverged": diverged,
            **measure_change(before, prunable_tensors(model)),
        }
        return Attacked(model, strength, achieved, context.masks, replace(cost, seconds=watch.seconds))


class LowRankChange(nn.Module):
    """Adds scale * up @ down to a weight, where its mask (None: everywhere) is True."""

    def __init__(
        self, weight: Tensor, rank: int, scale: float, mask: Tensor | None, generator: torch.Generator
    ) -> None:
        """Start without a change; `generator` is on the CPU."""
        super().__init__()
        rows, columns = weight.flatten(1).shape
        rank = min(rank, rows, columns)
        start = (2 * torch.rand(rank, columns, generator=generator) - 1) / math.sqrt(columns)
        self.down = nn.Parameter(start.to(weight))
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        self.scale, self.mask = scale, mask

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight."""
        change = self.scale * (self.up @ self.down).view_as(weight)
        return weight + (change if self.mask is None else change * self.mask.to(change))


def adapt(model: nn.Module, rank: int, scale: float, masks: Masks, seed: int) -> int:
    """Give every convolution and linear weight a change to be trained; return the numbers in all changes."""
    generator = torch.Generator().manual_seed(seed)
    added = 0
    for name, weight in prunable_tensors(model).items():
        layer, _, attribute = name.rpartition(".")
        change = LowRankChange(weight, rank, scale, masks.get(name), generator)
        parametrize.register_parametrization(model.get_submodule(layer), attribute, change)
        added += change.down.numel() + change.up.numel()
    return added


def is_adapter(name: str) -> bool:
    """Say whether a parameter of an adapted model belongs to a change, and not to the model."""
    return f".{_PARTS}." in f".{name}" and not name.endswith(f".{_ORIGINAL}")


def merge(model: nn.Module, names: list[str]) -> None:
    """Write the changed weights into the model, which has the parameters that it had before `adapt`."""
    for name in names:
        layer, _, attribute = name.rpartition(".")
        parametrize.remove_parametrizations(model.get_submodule(layer), attribute, leave_parametrized=True)


def _reorder(order: Mapping[nn.Module, list[str]]) -> None:
    """Put the parameters of each layer in this order, in place: merging leaves the merged ones last."""
    for layer, names in order.items():
        found = dict(layer._parameters)
        layer._parameters.clear()
        layer._parameters.update({name: found[name] for name in names})
