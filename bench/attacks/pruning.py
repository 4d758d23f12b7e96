"""Pruning attacks: magnitude, random and structured; what is removed is exactly what was asked for."""

import copy
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import Attack, AttackContext, Attacked, Cost, measure_sparsity, restore, timed
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import classifier, prunable
from cwwm.weights.order_statistics import MagnitudeTable, Rank, pruned_count
from cwwm.weights.view import as_weights

GLOBAL, LAYER = "global", "layer"


def prunable_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return all convolution and linear weights of a model, detached, sharing its memory."""
    weights = as_weights(model)
    return {name: weights.tensor(name) for name in prunable(weights)}


@dataclass(frozen=True, kw_only=True)
class Pruning(Attack):
    """What pruning attacks share: masks for a list of rates, applied one rate after another.

    Attributes:
        ranking: ``"global"`` over all prunable weights, or ``"layer"``, each by itself.
    """

    strength: ClassVar[str] = "rate of weights set to zero"

    ranking: str = GLOBAL

    def __post_init__(self) -> None:
        """Refuse an unknown ranking."""
        if self.ranking not in (GLOBAL, LAYER):
            raise BadInput(f"{self.name}: ranking is '{GLOBAL}' or '{LAYER}', not '{self.ranking}'")

    def check_strength(self, strength: float) -> None:
        """Refuse what is no rate."""
        if not 0 <= strength <= 1:
            raise BadInput(f"{self.name}: a rate is between 0 and 1, not {strength:g}")

    @abstractmethod
    def masks(
        self, model: nn.Module, rates: Sequence[float], context: AttackContext
    ) -> Iterator[dict[str, Tensor]]:
        """Yield for each rate the masks (bool, True is kept) by parameter name."""

    def curve(
        self, targets: Sequence[nn.Module], strengths: Sequence[float], context: AttackContext
    ) -> Iterator[Attacked]:
        """Yield the pruned model at each rate; one selection serves them all."""
        for rate in strengths:
            self.check_strength(rate)
        scratch = copy.deepcopy(targets[0])
        original = {name: value.clone() for name, value in targets[0].state_dict().items()}
        masks = self.masks(targets[0], strengths, context)
        for rate in strengths:
            with timed(context.device) as watch:
                restore(scratch, original)
                mask = next(masks)
                apply_masks(scratch, mask)
            held = {**context.masks, **mask}
            yield Attacked(scratch, rate, measure_sparsity(scratch), held, Cost(seconds=watch.seconds))

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Prune `model` at one rate."""
        return next(self.curve([model], [strength], context))


@torch.no_grad()
def apply_masks(model: nn.Module, masks: dict[str, Tensor]) -> None:
    """Set the masked-out entries of the parameters, and of biases of the same name, to exact zero."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        parameters[name].masked_fill_(~mask, 0.0)


@dataclass(frozen=True, kw_only=True)
class MagnitudePruning(Pruning):
    """Removes the floor(R N) weights of smallest magnitude; ties at the cut are removed in model order."""

    name: ClassVar[str] = "magnitude"

    def masks(
        self, model: nn.Module, rates: Sequence[float], context: AttackContext
    ) -> Iterator[dict[str, Tensor]]:
        """Yield the masks; the order statistics of all rates come from one pass over the weights."""
        tensors = prunable_tensors(model)
        names = list(tensors)
        everything = tuple(range(len(names)))
        groups = [everything] if self.ranking == GLOBAL else [(i,) for i in everything]
        table = MagnitudeTable(list(tensors.values()))
        cuts = [[pruned_count(rate, table.size(group)) for group in groups] for rate in rates]
        ranks = [Rank(g, cut) for row in cuts for g, cut in zip(groups, row, strict=True) if cut]
        values = iter(table.kth(ranks))
        thresholds = [[next(values) if cut else -1.0 for cut in row] for row in cuts]
        for row, limits in zip(cuts, thresholds, strict=True):
            mask: dict[str, Tensor] = {}
            for group, cut, limit in zip(groups, row, limits, strict=True):
                mask |= _cut({names[i]: tensors[names[i]] for i in group}, cut, limit)
            yield mask

    def predicted(self, strength: float) -> tuple[str, float]:
        """Return the magnitude channel."""
        return "magnitude", strength


def _cut(tensors: dict[str, Tensor], count: int, threshold: float) -> dict[str, Tensor]:
    """Return masks that remove exactly `count` entries: all below the threshold, then ties in order."""
    magnitudes = {name: tensor.float().abs() for name, tensor in tensors.items()}
    # one wait for the device, not one a tensor
    below = torch.stack([(m < threshold).sum() for m in magnitudes.values()]).sum() if magnitudes else 0
    ties = count - int(below)
    masks = {}
    for name, m in magnitudes.items():
        mask = m >= threshold
        if ties > 0:
            tied = (m == threshold).view(-1).nonzero().view(-1)[:ties]
            mask.view(-1)[tied] = False
            ties -= len(tied)
        masks[name] = mask
    return masks


@dataclass(frozen=True, kw_only=True)
class RandomPruning(Pruning):
    """Removes floor(R N) weights at random; the sets of growing rates are nested."""

    name: ClassVar[str] = "random"

    def masks(
        self, model: nn.Module, rates: Sequence[float], context: AttackContext
    ) -> Iterator[dict[str, Tensor]]:
        """Yield the masks; one random order, drawn on the CPU, serves all rates."""
        tensors = prunable_tensors(model)
        generator = torch.Generator().manual_seed(context.seed)
        sizes = [tensor.numel() for tensor in tensors.values()]
        groups = [sum(sizes)] if self.ranking == GLOBAL else sizes
        orders = [torch.randperm(size, generator=generator) for size in groups]
        for rate in rates:
            kept = torch.cat([_keep(order, pruned_count(rate, len(order))) for order in orders])
            parts = torch.split(kept.to(context.device), sizes)
            yield {n: part.view(t.shape) for (n, t), part in zip(tensors.items(), parts, strict=True)}

    def predicted(self, strength: float) -> tuple[str, float]:
        """Return the random channel."""
        return "random", strength


def _keep(order: Tensor, removed: int) -> Tensor:
    kept = torch.ones(len(order), dtype=torch.bool)
    kept[order[:removed]] = False
    return kept


@dataclass(frozen=True, kw_only=True)
class StructuredPruning(Pruning):
    """Zeroes whole output filters or neurons of smallest norm; the classifier is left alone.

    Attributes:
        norm: 1 or 2. Under the global ranking norms are divided by the root of a filter's size (L2) or its
            size (L1), so that filters of different layers compare.
    """

    name: ClassVar[str] = "structured"
    strength: ClassVar[str] = "rate of output filters set to zero"

    ranking: str = LAYER
    norm: int = 1

    def __post_init__(self) -> None:
        """Refuse an unknown norm."""
        super().__post_init__()
        if self.norm not in (1, 2):
            raise BadInput(f"structured: norm is 1 or 2, not {self.norm}")

    def masks(
        self, model: nn.Module, rates: Sequence[float], context: AttackContext
    ) -> Iterator[dict[str, Tensor]]:
        """Yield the masks; biases of removed filters go with them."""
        weights = as_weights(model)
        spared = classifier(weights)
        tensors = {n: t for n, t in prunable_tensors(model).items() if n != spared and len(t) > 1}
        biases = {n: n.removesuffix("weight") + "bias" for n in tensors}
        parameters = dict(model.named_parameters())
        scores = {name: self._scores(tensor) for name, tensor in tensors.items()}
        for rate in rates:
            keep = self._kept(scores, rate)
            mask = {n: k.view(-1, *[1] * (tensors[n].ndim - 1)).expand_as(tensors[n]) for n, k in keep.items()}
            mask |= {biases[n]: keep[n] for n in keep if biases[n] in parameters}
            yield mask

    def _scores(self, tensor: Tensor) -> Tensor:
        rows = tensor.float().reshape(len(tensor), -1)
        scores = rows.abs().mean(1) if self.norm == 1 else rows.square().mean(1).sqrt()
        return scores

    def _kept(self, scores: dict[str, Tensor], rate: float) -> dict[str, Tensor]:
        sizes = [len(s) for s in scores.values()]
        if self.ranking == GLOBAL:
            joined = torch.cat(list(scores.values()))
            kept = _keep(joined.argsort(stable=True).cpu(), pruned_count(rate, len(joined)))
            parts = torch.split(kept, sizes)
        else:
            parts = tuple(_keep(s.argsort(stable=True).cpu(), pruned_count(rate, len(s))) for s in scores.values())
        return {name: part.to(scores[name].device) for name, part in zip(scores, parts, strict=True)}
