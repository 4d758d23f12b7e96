"""The ADMM engine: weights, their projected copies and scaled duals; training pulls the weights to the copies.

Minimise f(W) subject to W_i in S_i by splitting (arXiv 1804.03294, Eqs. 4 to 7; arXiv 1811.01907): train on
f(W) + sum_i rho/2 ||W_i - Z_i + U_i||^2, then Z_i = Proj_i(W_i + U_i) and U_i += W_i - Z_i, over and over.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bench.attacks.base import Cost
from bench.attacks.compression.projections import Projection
from bench.data import Split
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed
from cwwm.training import Batch, Recipe, train

Projections = Mapping[str, Projection]


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to pull.

    Attributes:
        updates: of copies and duals; 0 for none, the one-shot control.
        steps: optimiser steps between two updates, at least; whole epochs are trained. With fewer than about
            a hundred the weights lag behind their copies and the duals drift.
        rho: penalty at the first update; growth: factor of rho from one update to the next.
    """

    updates: int = 10
    steps: int = 100
    rho: float = 1e-2
    growth: float = 1.3

    def __post_init__(self) -> None:
        """Refuse what does not converge."""
        if self.updates < 0 or self.steps < 1 or not self.rho > 0 or not self.growth >= 1:
            raise BadInput("ADMM needs updates >= 0, steps >= 1, rho > 0 and growth >= 1")


@dataclass(frozen=True)
class Update:
    """One ADMM iteration, for the record.

    Attributes:
        rho: penalty; loss: mean training loss of its last epoch.
        gap: ||W - Z|| / ||W|| over all tensors; change: ||Z' - Z|| / ||Z||; both fall as ADMM converges.
    """

    rho: float
    loss: float
    gap: float
    change: float

    def to_json(self) -> dict[str, float]:
        """Return the update as a JSON object, four significant digits."""
        return {name: float(f"{value:.4g}") for name, value in asdict(self).items()}


class Splitting:
    """State of ADMM: the tensors W of a model, their copies Z and scaled duals U, float32 on the device.

    A training hook: its loss is the penalty.

    Attributes:
        rho: penalty.
    """

    def __init__(self, model: nn.Module, projections: Projections, rho: float) -> None:
        parameters = dict(model.named_parameters())
        self._project = dict(projections)
        self._weights = {name: parameters[name] for name in projections}
        self._copies = {name: self._project[name](w.detach().float()) for name, w in self._weights.items()}
        self._duals = {name: torch.zeros_like(copy) for name, copy in self._copies.items()}
        self._targets = {name: copy.clone() for name, copy in self._copies.items()}  # Z - U
        self.rho = rho

    def parameters(self) -> list[dict[str, Any]]:
        """Return no extra parameters."""
        return []

    def loss(self, batch: Batch) -> Tensor:
        """Return sum_i rho/2 ||W_i - Z_i + U_i||^2, the norm squared, whose gradient is rho (W - Z + U)."""
        distances = [(w.float() - self._targets[name]).square().sum() for name, w in self._weights.items()]
        return 0.5 * self.rho * torch.stack(distances).sum()

    def project(self) -> None:
        """Do nothing after a step: the penalty pulls, nothing is forced."""

    @torch.no_grad()
    def update(self) -> tuple[float, float]:
        """Move copies and duals; return the relative gap and the copies' relative change."""
        gap = change = norm = copied = 0.0
        for name, weight in self._weights.items():
            w, old, dual = weight.detach().float(), self._copies[name], self._duals[name]
            new = self._project[name](w + dual)
            dual += w - new
            self._copies[name], self._targets[name] = new, new - dual
            gap += float((w - new).square().sum())
            change += float((new - old).square().sum())
            norm += float(w.square().sum())
            copied += float(old.square().sum())
        return (gap / norm) ** 0.5 if norm else 0.0, (change / copied) ** 0.5 if copied else 0.0

    def stiffen(self, factor: float) -> None:
        """Raise rho; the scaled duals fall with it, for they are multipliers over rho (Boyd et al. 2011, 3.4.1)."""
        self.rho *= factor
        for name, dual in self._duals.items():
            dual /= factor
            self._targets[name] = self._copies[name] - dual


def pull(
    model: nn.Module,
    projections: Projections,
    data: Split,
    recipe: Recipe,
    schedule: Schedule,
    *,
    seed: int,
    masks: Mapping[str, Tensor],
) -> tuple[list[Update], Cost]:
    """Run ADMM on `model` in place; its weights end close to the sets, not inside: see `harden`.

    Args:
        model: pretrained, on the device of `data`.
        projections: by parameter name.
        data: what the attacker trains on.
        recipe: its learning rate, batch size and augmentation; the rate starts anew at every update and
            falls inside it (the periodic rate of the papers' released code), by a cosine.
        schedule: of the updates.
        seed: of batches.
        masks: zeros of an earlier stage, held while training (progressive ADMM, arXiv 1810.07378). The duals
            start at zero in every stage.

    Returns:
        What happened in each update, and what it cost.
    """
    steps_per_epoch = max(1, -(-(len(data) - 1) // recipe.batch_size))  # a last batch of one image is left out
    inner = replace(recipe, epochs=-(-schedule.steps // steps_per_epoch), schedule="cosine")
    splitting = Splitting(model, projections, schedule.rho)
    updates, cost = [], Cost()
    for index in range(schedule.updates):
        report = train(
            model,
            data,
            inner,
            seed=derive_seed(part="admm", seed=seed, update=index),
            embedding=splitting,
            masks=masks,
        )
        cost += Cost.of(report)
        updates.append(Update(splitting.rho, report.loss, *splitting.update()))
        splitting.stiffen(schedule.growth)
    return updates, cost


@torch.no_grad()
def harden(model: nn.Module, projections: Projections) -> dict[str, Tensor]:
    """Project the weights in place, once, and return the masks of what is not zero, by parameter name."""
    parameters = dict(model.named_parameters())
    for name, project in projections.items():
        parameters[name].copy_(project(parameters[name].float()))
    return {name: parameters[name] != 0 for name in projections}
