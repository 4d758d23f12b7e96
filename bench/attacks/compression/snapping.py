"""Weights onto their levels for good: iterative snapping, and retraining of shared centroids."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.attacks.base import Cost
from bench.attacks.compression.projections import Clusters, Projection
from bench.data import Split
from cwwm.support.seeds import derive_seed
from cwwm.training import Batch, Recipe, train


class Frozen:
    """A training hook that holds a growing part of some tensors at given values."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        parameters = dict(model.named_parameters())
        self._weights = {name: parameters[name] for name in names}
        self._values = {name: w.detach().clone() for name, w in self._weights.items()}
        self._held = {name: w.detach() == 0 for name, w in self._weights.items()}

    def parameters(self) -> list[dict[str, Any]]:
        """Return no extra parameters."""
        return []

    def loss(self, batch: Batch) -> Tensor | None:
        """Return no extra loss."""
        return None

    @torch.no_grad()
    def project(self) -> None:
        """Put the held weights back."""
        for name, weight in self._weights.items():
            weight.copy_(torch.where(self._held[name], self._values[name], weight))

    @torch.no_grad()
    def snap(self, projections: Mapping[str, Projection], share: float) -> None:
        """Move the free weights of each tensor that are closest to their level onto it, and hold them there."""
        for name, project in projections.items():
            weight, held = self._weights[name], self._held[name]
            target = project(weight.float()).to(weight.dtype)
            distance = (weight - target).abs().masked_fill(held, torch.inf).view(-1)
            count = math.ceil(share * int((~held).sum()))
            chosen = distance.topk(count, largest=False, sorted=False).indices
            self._values[name].view(-1)[chosen] = target.view(-1)[chosen]
            held.view(-1)[chosen] = True
        self.project()


def snap_in_rounds(
    model: nn.Module,
    projections: Mapping[str, Projection],
    data: Split,
    recipe: Recipe,
    *,
    share: float,
    rounds: int,
    epochs: int,
    seed: int,
    masks: Mapping[str, Tensor],
) -> Cost:
    """Quantise in place: snap a share of the free weights, retrain the others, again and again, then snap the rest.

    arXiv 1811.01907, Sec. 4.3; its released code snaps 30 % a round. Rounds of 0 snap everything at once.

    Args:
        model: pruned, on the device of `data`.
        projections: sets of levels by parameter name.
        data: what the attacker trains on.
        recipe: of retraining, but for its epochs.
        share: of the weights still free, snapped in each round.
        rounds: with retraining. epochs: of each.
        seed: of batches.
        masks: zeros held while training, by parameter name.
    """
    frozen, cost = Frozen(model, list(projections)), Cost()
    for index in range(rounds):
        frozen.snap(projections, share)
        seeded = derive_seed(part="snapping", seed=seed, round=index)
        report = train(model, data, replace(recipe, epochs=epochs), seed=seeded, embedding=frozen, masks=masks)
        cost += Cost.of(report)
    frozen.snap(projections, 1.0)
    return cost


class Shared(nn.Module):
    """A weight as centroids and the survivors' assignments; autograd sums the members' gradients."""

    def __init__(self, clusters: Clusters, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", clusters.mask)
        self.register_buffer("index", clusters.members(weight))

    def forward(self, centroids: Tensor) -> Tensor:
        """Return the weight that these centroids (k,) give."""
        mask, index = self.get_buffer("mask"), self.get_buffer("index")
        return torch.zeros(mask.shape, dtype=centroids.dtype, device=centroids.device).masked_scatter(
            mask, centroids[index]
        )

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the centroids, the means of the survivors assigned to each; summed in float64, they are many."""
        index, values = self.get_buffer("index"), weight[self.get_buffer("mask")]
        count = torch.bincount(index).clamp(min=1)
        sums = torch.zeros_like(count, dtype=torch.float64).index_add_(0, index, values.double())
        return (sums / count).to(weight.dtype)


def retrain_centroids(
    model: nn.Module, clusters: Mapping[str, Clusters], data: Split, recipe: Recipe, *, seed: int
) -> Cost:
    """Share weights in place and train the shared values only (arXiv 1811.01907, Sec. 4.2).

    No other parameter changes; running statistics of batch norms follow the data as in any training.
    """
    parameters = dict(model.named_parameters())
    with parametrised(model, {n: Shared(layer, parameters[n].detach()) for n, layer in clusters.items()}) as names:
        shared = set(names.values())
        report = train(model, data, recipe, seed=seed, trainable=shared.__contains__)
    return Cost.of(report)


@contextmanager
def parametrised(model: nn.Module, parts: Mapping[str, nn.Module]) -> Iterator[dict[str, str]]:
    """Compute some weights of `model` from others while the context lasts; it leaves what they came to.

    Args:
        model: its forward pass uses the computed weights.
        parts: a parametrisation by parameter name.

    Yields:
        The names under which `model` has the underlying parameters, by the names that they stand for.
    """
    places = {name: (model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in parts}
    for name, part in parts.items():
        parametrize.register_parametrization(*places[name], part)
    try:
        yield {n: f"{n.rpartition('.')[0]}.parametrizations.{leaf}.original" for n, (_, leaf) in places.items()}
    finally:
        for module, leaf in places.values():
            parametrize.remove_parametrizations(module, leaf)
