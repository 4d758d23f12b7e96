"""Attacks that train: fine-tuning, a new head for another task, and batch-norm re-estimation as a repair."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from bench.attacks.base import DATA, Attack, AttackContext, Attacked, Cost, measure_sparsity, timed
from bench.attacks.means import attacker_recipe, check_budget, drawn, means, train_or_diverge
from cwwm.support.errors import BadInput
from cwwm.training import train
from cwwm.weights.carrier import classifiers
from cwwm.weights.view import as_weights


def _check_rate(attack: str, strength: float) -> None:
    if not strength > 0:
        raise BadInput(f"{attack}: a learning rate relative to that of training is above 0, not {strength:g}")


@dataclass(frozen=True, kw_only=True)
class FineTuning(Attack):
    """Trains on, with the host's own recipe; held masks stay zero.

    Attributes:
        epochs: of training; None for as many as the host was trained.
        budget: share of the host's training, data and compute (`bench.attacks.means`).
    """

    name: ClassVar[str] = "finetune"
    strength: ClassVar[str] = "learning rate, relative to that of training"
    needs: ClassVar[frozenset[str]] = frozenset({DATA})

    epochs: int | None = None
    budget: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no budget."""
        check_budget(self.name, self.budget, self.epochs)

    def check_strength(self, strength: float) -> None:
        """Refuse what is no learning rate."""
        _check_rate(self.name, strength)

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Fine-tune in place; a run that diverges is yielded as it is, and says so."""
        self.check_strength(strength)
        given = means(context, strength, self.epochs, self.budget)
        cost, diverged = train_or_diverge(model, given, context, masks=context.masks)
        used = {"lr": given.recipe.lr, "epochs": given.recipe.epochs}
        achieved = {**used, "diverged": diverged, **measure_sparsity(model)}
        return Attacked(model, strength, achieved, context.masks, cost)


@dataclass(frozen=True, kw_only=True)
class NewHead(Attack):
    """Moves the model to another task: the classifier is replaced, then the head or all layers are trained.

    Attributes:
        task: data set of the new task, at the host's input size.
        scope: ``"head"`` or ``"all"``.
        epochs: of training; None for as many as the host was trained.
    """

    name: ClassVar[str] = "new-head"
    strength: ClassVar[str] = "learning rate, relative to that of training"

    task: str = "textures"
    scope: str = "all"
    epochs: int | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown scope."""
        if self.scope not in ("head", "all"):
            raise BadInput(f"new-head: scope is 'head' or 'all', not '{self.scope}'")

    def check_strength(self, strength: float) -> None:
        """Refuse what is no learning rate."""
        _check_rate(self.name, strength)

    @property
    def other_data(self) -> tuple[str, ...]:
        """Return the new task."""
        return (self.task,)

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Replace the classifier and train."""
        self.check_strength(strength)
        task = context.load(self.task)
        recipe = attacker_recipe(context, strength, self.epochs)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            model.reset_classifier(task.classes)  # type: ignore[operator]
        model.to(context.device)
        heads = classifiers(as_weights(model))
        stems = tuple(head.removesuffix("weight") for head in heads)
        masks = {name: mask for name, mask in context.masks.items() if name not in heads}
        chosen = (lambda name: name.startswith(stems)) if self.scope == "head" else None
        report = train(model, task.train, recipe, seed=context.seed, masks=masks, trainable=chosen)
        cost = Cost.of(report, 0.0)  # the new task's data are no part of the host's
        return Attacked(model, strength, {"lr": recipe.lr, "epochs": recipe.epochs}, masks, cost, task)


@dataclass(frozen=True, kw_only=True)
class BatchNormReestimation(Attack):
    """Re-estimates the running statistics of batch norms on training data; touches no weight.

    The cheapest repair after pruning. The strength is the share of the training data used.
    """

    name: ClassVar[str] = "bn"
    strength: ClassVar[str] = "share of the training data used"
    needs: ClassVar[frozenset[str]] = frozenset({DATA})
    changes_weights: ClassVar[bool] = False

    batch_size: int = 128

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Reset and re-estimate in place; a model without batch norm is left as it is."""
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        samples = steps = 0
        with timed(context.device) as watch:
            momenta = [norm.momentum for norm in norms]
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a cumulative average
            model.train()
            wanted = math.floor(strength * len(context.data.train)) if norms else 0
            split = drawn(context.data.train, wanted, context)
            for x, _ in split.batches(self.batch_size, seed=context.seed, epoch=0):
                model(x)
                samples, steps = samples + len(x), steps + 1
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
        cost = Cost.of_looking(watch.seconds, samples, samples / len(context.data.train))
        return Attacked(model, strength, {"norms": len(norms), "batches": steps}, context.masks, cost)
