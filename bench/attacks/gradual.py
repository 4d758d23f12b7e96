"""Gradual magnitude pruning: the attacker prunes a little at a time while training, and so keeps the accuracy."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.attacks.base import DATA, Attack, AttackContext, Attacked, measure_sparsity
from bench.attacks.means import check_budget, means, train_or_diverge
from bench.attacks.pruning import GLOBAL, LAYER, MagnitudePruning, apply_masks
from cwwm.support.errors import BadInput
from cwwm.training import Batch, Recipe

RAMP = 0.75  # share of the steps over which sparsity grows; our choice


@dataclass(frozen=True, kw_only=True)
class GradualPruning(Attack):
    """Fine-tunes with the host's recipe while sparsity grows (Zhu & Gupta, arXiv 1710.01878, Eq. 1).

    After t steps, t = t0 + k D for k = 1..n, the smallest weights are set to zero up to the sparsity

        s_t = s_f + (s_i - s_f) (1 - (t - t0) / (n D))^3,

    and stay zero from then on, for a zero is smallest at every later choice. s_f is the strength; we start
    with s_i = 0 at t0 = 0 and take n D as 75 % of all steps, so that the rest trains at the final sparsity.
    One optimiser and one learning-rate schedule, the recipe's, run through. Weights that are zero under a
    mask held before count towards the sparsity.

    Attributes:
        ranking: ``"layer"``, each layer to the same sparsity as in the paper, or ``"global"``. Every
            convolution and linear weight is pruned; the paper spares a few small layers, by network.
        updates: n, how many times weights are chosen.
        epochs: of training; None for as many as the host was trained.
        budget: share of the host's training, data and compute (`bench.attacks.means`).
    """

    name: ClassVar[str] = "gradual"
    strength: ClassVar[str] = "rate of weights set to zero at the end"
    needs: ClassVar[frozenset[str]] = frozenset({DATA})

    ranking: str = LAYER
    updates: int = 10
    epochs: int | None = None
    budget: float = 1.0

    def __post_init__(self) -> None:
        """Refuse an unknown ranking, less than one update or epoch, and what is no budget."""
        check_budget(self.name, self.budget, self.epochs)
        if self.ranking not in (GLOBAL, LAYER):
            raise BadInput(f"{self.name}: ranking is '{GLOBAL}' or '{LAYER}', not '{self.ranking}'")
        if self.updates < 1 or (self.epochs is not None and self.epochs < 1):
            raise BadInput(f"{self.name}: updates and epochs are at least 1")

    def check_strength(self, strength: float) -> None:
        """Refuse what is no rate."""
        if not 0 <= strength <= 1:
            raise BadInput(f"{self.name}: a rate is between 0 and 1, not {strength:g}")

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Prune and train in place; a run that diverges is yielded as it is, and says so.

        Raises:
            BadInput: unless the rate is between 0 and 1.
        """
        self.check_strength(strength)
        given = means(context, 1.0, self.epochs, self.budget)
        steps = step_count(len(given.data), given.recipe)
        schedule = sparsity_schedule(strength, steps, self.updates)
        hook = GrowingMasks(model, MagnitudePruning(ranking=self.ranking), schedule, context)
        cost, diverged = train_or_diverge(model, given, context, masks=context.masks, hook=hook)
        used = {"lr": given.recipe.lr, "epochs": given.recipe.epochs}
        achieved = {**used, "diverged": diverged, **measure_sparsity(model)}
        masks = {name: mask & hook.masks.get(name, mask) for name, mask in context.masks.items()}
        return Attacked(model, strength, achieved, {**hook.masks, **masks}, cost)


def step_count(images: int, recipe: Recipe) -> int:
    """Return the optimiser steps of a training; a last batch of a single image is left out."""
    return recipe.epochs * -(-(images - 1) // recipe.batch_size)


def sparsity_schedule(final: float, steps: int, updates: int) -> dict[int, float]:
    """Return the sparsity to reach after each step that prunes, by step from 1; the last one is `final`.

    Updates that fall on the same step become one.
    """
    ramp = max(1, int(RAMP * steps))
    return {-(-ramp * k // updates): final * (1 - (1 - k / updates) ** 3) for k in range(1, updates + 1)}


@dataclass(eq=False)
class GrowingMasks:
    """What the training loop calls after every step: it chooses masks when they are due, and holds them.

    Attributes:
        model: in training.
        pruning: chooses the weights.
        schedule: sparsity by step, from `sparsity_schedule`.
        context: of the attack.
        masks: of the last choice, by parameter name; empty before the first.
        step: optimiser steps taken.
    """

    model: nn.Module
    pruning: MagnitudePruning
    schedule: dict[int, float]
    context: AttackContext
    masks: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0

    def parameters(self) -> list[dict[str, Any]]:
        """Return no parameters: there is nothing to learn but the weights."""
        return []

    def loss(self, batch: Batch) -> None:
        """Add nothing to the loss."""

    def project(self) -> None:
        """Choose new masks if the schedule says so, and set what is masked to exact zero."""
        self.step += 1
        if self.step in self.schedule:
            self.masks = next(self.pruning.masks(self.model, [self.schedule[self.step]], self.context))
        apply_masks(self.model, self.masks)
