"""Pruning within rows: weights of one output compete among themselves, or in groups of a few consecutive inputs."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import DATA, Attack, AttackContext, Attacked, Cost, measure_sparsity, timed
from bench.attacks.calibrated.layer_inputs import (
    IMAGES,
    calibration,
    check_images,
    importance,
    input_moments,
    squares,
)
from bench.attacks.pruning import apply_masks, prunable_tensors
from cwwm.support.errors import BadInput
from cwwm.weights.order_statistics import pruned_count


@dataclass(frozen=True, kw_only=True)
class RowPruning(Attack):
    """What pruning within rows shares: scores of all weights become masks at one rate."""

    strength: ClassVar[str] = "rate of weights set to zero among those that are compared"

    group: int | None = None

    def __post_init__(self) -> None:
        """Refuse groups of less than two."""
        if self.group is not None and self.group < 2:
            raise BadInput(f"{self.name}: a group has 2 or more weights, not {self.group}")

    def check_strength(self, strength: float) -> None:
        """Refuse what is no rate."""
        if not 0 <= strength <= 1:
            raise BadInput(f"{self.name}: a rate is between 0 and 1, not {strength:g}")

    @abstractmethod
    def scores(self, model: nn.Module, context: AttackContext) -> tuple[dict[str, Tensor], Cost]:
        """Return how much each weight matters, in the shapes of the weights by name, and what it cost to know."""

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Prune in place.

        Raises:
            BadInput: unless the rate is between 0 and 1.
        """
        self.check_strength(strength)
        with timed(context.device) as watch:
            scores, cost = self.scores(model, context)
            masks = {name: kept_in_rows(score, strength, self.group) for name, score in scores.items()}
            apply_masks(model, masks)
        held = {**context.masks, **{name: mask & context.masks.get(name, mask) for name, mask in masks.items()}}
        apply_masks(model, held)
        return Attacked(model, strength, measure_sparsity(model), held, Cost(watch.seconds) + cost)


def kept_in_rows(scores: Tensor, rate: float, group: int | None = None) -> Tensor:
    """Return a mask (bool, True is kept) that removes floor(rate n) of each n weights that are compared.

    Args:
        scores: (outputs, inputs, kernel).
        rate: between 0 and 1; of equal scores the first go.
        group: n consecutive inputs of one output at one place of the kernel; None for all weights of an output. A
            layer whose number of inputs is no multiple of it stays whole.
    """
    if group is None:
        return _kept(scores.flatten(1), rate).view(scores.shape)
    if scores.shape[1] % group:
        return torch.ones_like(scores, dtype=torch.bool)
    last = scores.movedim(1, -1)
    return _kept(last.reshape(-1, group), rate).view(last.shape).movedim(-1, 1)


def _kept(rows: Tensor, rate: float) -> Tensor:
    removed = rows.argsort(dim=1, stable=True)[:, : pruned_count(rate, rows.shape[1])]
    return torch.ones_like(rows, dtype=torch.bool).scatter_(1, removed, False)


@dataclass(frozen=True, kw_only=True)
class SemiStructuredPruning(RowPruning):
    """Sets the smallest of each `group` consecutive inputs to zero: at rate 0.5 and group 4 this is 2:4 sparsity.

    The pattern that sparse tensor cores multiply at twice the speed (Mishra et al., arXiv 2104.08378), by
    magnitude, without the retraining that follows there. Groups of a convolution run along its input channels at
    one place of the kernel, as there; a layer whose inputs are no multiple of the group (a first convolution of 3
    channels, a depthwise one) stays dense. The cut is local: of the largest weights of a layer those go that stand
    beside larger ones, so no threshold on magnitudes says what survives, and no law of a global cut holds. Of
    weights that lie in no order, at 2:4 one that is larger than a share u of its layer survives with probability
    u^2 (3 - 2 u).

    Attributes:
        group: M of N:M sparsity; the rate keeps N = M - floor(rate M).
    """

    name: ClassVar[str] = "prune-nm"
    strength: ClassVar[str] = "rate of weights set to zero in each group of consecutive inputs"

    group: int = 4

    def scores(self, model: nn.Module, context: AttackContext) -> tuple[dict[str, Tensor], Cost]:
        """Return the magnitudes, which cost nothing."""
        return {name: tensor.float().abs() for name, tensor in prunable_tensors(model).items()}, Cost()


@dataclass(frozen=True, kw_only=True)
class Wanda(RowPruning):
    """Sets to zero the weights of smallest |w_ij| ||x_j||, compared within each output (arXiv 2306.11695, Eq. 1).

    x_j is what the weight reads on calibration images, unfolded for convolutions; nothing is trained. All layers
    are pruned by the inputs of the whole model, where the paper goes from block to block; the classifier, which it
    spares, is pruned too. With equal norms it is pruning by magnitude within each output. A layer whose inputs
    cannot be seen is pruned by magnitude.

    Attributes:
        group: None to compare all weights of an output; 4 for the 2:4 form of the paper, groups as of `prune-nm`.
        images: calibration images.
    """

    name: ClassVar[str] = "wanda"
    needs: ClassVar[frozenset[str]] = frozenset({DATA})

    images: int = IMAGES

    def __post_init__(self) -> None:
        """Refuse groups of less than two, and no image."""
        super().__post_init__()
        check_images(self.name, self.images)

    def scores(self, model: nn.Module, context: AttackContext) -> tuple[dict[str, Tensor], Cost]:
        """Return |w_ij| ||x_j||, and the images that it took."""
        split, share = calibration(context, self.images)
        sums = input_moments(model, split.x, squares)
        found = {name: importance(tensor, sums.get(name)) for name, tensor in prunable_tensors(model).items()}
        return found, Cost.of_looking(0.0, len(split), share)
