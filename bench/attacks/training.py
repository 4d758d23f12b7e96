"""Attacks that train: fine-tuning, a new head for another task, and batch-norm re-estimation as a repair."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn

from bench.attacks.base import DATA, Attack, AttackContext, Attacked, Cost, Masks, measure_sparsity, timed
from cwwm.support.errors import BadInput
from cwwm.training import Batches, Objective, Recipe, TrainingHook, TrainingReport, train
from cwwm.weights.carrier import classifier
from cwwm.weights.view import as_weights


def attacker_recipe(context: AttackContext, strength: float, epochs: int | None) -> Recipe:
    """Return the host's own training recipe at `strength` times its learning rate."""
    base = context.recipe.train or context.recipe.mark
    return replace(base, lr=base.lr * strength, epochs=epochs or base.epochs)


def _check_rate(attack: str, strength: float) -> None:
    if not strength > 0:
        raise BadInput(f"{attack}: a learning rate relative to that of training is above 0, not {strength:g}")


def _cost(report: TrainingReport, fraction: float = 1.0) -> Cost:
    return Cost(report.seconds, report.steps, report.samples, fraction)


def train_or_diverge(
    model: nn.Module,
    data: Batches,
    recipe: Recipe,
    context: AttackContext,
    *,
    masks: Masks | None = None,
    objective: Objective | None = None,
    fraction: float = 1.0,
    hook: TrainingHook | None = None,
) -> tuple[Cost, bool]:
    """Train in place as `cwwm.training.train` does; return the cost, and whether the loss diverged.

    A diverged model is left as it is: an attacker's bad luck is a result, not a failure of the bench. `fraction` is
    the share of the training data that the cost counts; `hook` sees every step.
    """
    with timed(context.device) as watch:
        try:
            report = train(model, data, recipe, seed=context.seed, masks=masks, objective=objective, embedding=hook)
            return _cost(report, fraction), False
        except FloatingPointError:
            pass
    return Cost(watch.seconds, 0, 0, fraction), True


@dataclass(frozen=True, kw_only=True)
class FineTuning(Attack):
    """Trains on, with the host's own recipe; held masks stay zero.

    Attributes:
        epochs: of training; None for as many as the host was trained.
    """

    name: ClassVar[str] = "finetune"
    strength: ClassVar[str] = "learning rate, relative to that of training"
    needs: ClassVar[frozenset[str]] = frozenset({DATA})

    epochs: int | None = None

    def check_strength(self, strength: float) -> None:
        """Refuse what is no learning rate."""
        _check_rate(self.name, strength)

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Fine-tune in place; a run that diverges is yielded as it is, and says so."""
        self.check_strength(strength)
        recipe = attacker_recipe(context, strength, self.epochs)
        cost, diverged = train_or_diverge(model, context.data.train, recipe, context, masks=context.masks)
        achieved = {"lr": recipe.lr, "epochs": recipe.epochs, "diverged": diverged, **measure_sparsity(model)}
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
        head = classifier(as_weights(model)) or ""
        stem = head.removesuffix("weight")
        masks = {name: mask for name, mask in context.masks.items() if name != head}
        chosen = (lambda name: name.startswith(stem)) if self.scope == "head" else None
        report = train(model, task.train, recipe, seed=context.seed, masks=masks, trainable=chosen)
        return Attacked(model, strength, {"lr": recipe.lr, "epochs": recipe.epochs}, masks, _cost(report), task)


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
            wanted = round(strength * len(context.data.train)) if norms else 0
            for x, _ in context.data.train.batches(self.batch_size, seed=context.seed, epoch=0):
                if samples >= wanted:
                    break
                model(x)
                samples, steps = samples + len(x), steps + 1
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
        fraction = samples / len(context.data.train)
        cost = Cost(watch.seconds, 0, samples, fraction)
        return Attacked(model, strength, {"norms": len(norms), "batches": steps}, context.masks, cost)
