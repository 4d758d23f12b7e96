"""The one training loop: it trains hosts, embeds marks while training, and fine-tunes for attacks."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed
from cwwm.support.timing import Stopwatch

LONGEST = 3  # times the epochs of a marking recipe, until a message that does not read counts as not embedded
CONTINUED = 0.5  # of the recipe's peak rate, beyond its epochs


class Batches(Protocol):
    """Training data, resident on its device."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def batches(
        self, batch_size: int, *, seed: int, epoch: int, shift: int, flip: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, int64 labels) once over the set, shuffled by (seed, epoch), augmented."""
        ...


@dataclass(frozen=True)
class Batch:
    """What a scheme's loss may look at: inputs, labels, the model's logits, and the step number."""

    x: Tensor
    y: Tensor
    logits: Tensor
    step: int


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: passes over the data.
        batch_size: samples a step.
        lr: peak learning rate.
        weight_decay: decoupled, on tensors of two or more axes only.
        optimizer: ``"adamw"`` or ``"sgd"`` (Nesterov momentum 0.9).
        schedule: ``"onecycle"`` (linear warm-up of 20 %, cosine to zero), ``"cosine"`` or ``"constant"``.
        shift: random translation in pixels; flip: random horizontal mirroring.
        label_smoothing: of the cross-entropy.
    """

    epochs: int
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 1e-4
    optimizer: str = "adamw"
    schedule: str = "onecycle"
    shift: int = 0
    flip: bool = False
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what the loop cannot do."""
        if self.optimizer not in ("adamw", "sgd"):
            raise BadInput(f"optimizer is 'adamw' or 'sgd', not '{self.optimizer}'")
        if self.schedule not in ("onecycle", "cosine", "constant"):
            raise BadInput(f"schedule is 'onecycle', 'cosine' or 'constant', not '{self.schedule}'")
        if self.epochs < 1 or self.batch_size < 2 or not self.lr > 0:
            raise BadInput("a recipe needs epochs >= 1, batch_size >= 2 and lr > 0")

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as a JSON object."""
        return asdict(self)

    def rate_factor(self, progress: float) -> float:
        """Return the learning rate, relative to its peak, at `progress` in [0, 1]."""
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        warm = 0.2
        return (
            progress / warm if progress < warm else 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm)))
        )


class TrainingHook(Protocol):
    """What an embedding may do while the loop runs; see `cwwm.schemes.base.Embedding`."""

    def parameters(self) -> list[dict[str, Any]]:
        """Return extra optimiser groups."""
        ...

    def loss(self, batch: Batch) -> Tensor | None:
        """Return an extra loss term, or None."""
        ...

    def project(self) -> None:
        """Restore the embedding's constraint after an optimiser step."""
        ...


@dataclass(frozen=True)
class TrainingReport:
    """Cost of one training: optimiser steps, samples seen, wall seconds, peak memory, last epoch's loss."""

    steps: int
    samples: int
    seconds: float
    peak_bytes: int | None
    loss: float


Progress = Callable[[int, int], None]
Objective = Callable[[Tensor, Tensor, Tensor], Tensor]


def train(
    model: nn.Module,
    data: Batches,
    recipe: Recipe,
    *,
    seed: int,
    embedding: TrainingHook | None = None,
    masks: Mapping[str, Tensor] | None = None,
    trainable: Callable[[str], bool] | None = None,
    objective: Objective | None = None,
    progress: Progress | None = None,
) -> TrainingReport:
    """Train `model` in place by cross-entropy, or another objective, plus the embedding's loss.

    Args:
        model: on the device of `data`.
        data: training samples.
        recipe: how to train.
        seed: fixes the order of the samples, the augmentation and the model's own randomness.
        embedding: adds parameters, a loss, and a projection after every step.
        masks: for some parameters (by name), bool tensors of their shape; entries where the mask is False
            are kept at exactly zero (an attacker's pruning mask is held during repair).
        trainable: which parameters (by name) may change; all by default.
        objective: takes inputs, labels and logits of a batch and returns the loss, a scalar, in place of
            cross-entropy.
        progress: called with (steps done, steps in all) after each epoch.

    Raises:
        FloatingPointError: if the loss of an epoch is not finite.
    """
    device = next(model.parameters()).device
    torch.manual_seed(seed)  # the model's own randomness, such as drop-out
    for name, weight in model.named_parameters():
        weight.requires_grad_(trainable is None or trainable(name))
    held = _held(model, masks or {})
    optimizer = _optimizer(model, recipe, embedding)
    steps_per_epoch = max(1, -(-len(data) // recipe.batch_size))
    total = steps_per_epoch * recipe.epochs
    step = samples = 0
    loss_sum = torch.zeros((), device=device)
    model.train()
    with Stopwatch(device, memory=True) as watch:
        for epoch in range(recipe.epochs):
            loss_sum.zero_()
            for x, y in data.batches(
                recipe.batch_size, seed=seed, epoch=epoch, shift=recipe.shift, flip=recipe.flip
            ):
                _set_rate(optimizer, recipe.rate_factor((step + 0.5) / total))  # at its middle: never zero
                loss_sum += _step(model, optimizer, (x, y), step, objective or _cross_entropy(recipe), embedding)
                for parameter, mask in held:
                    parameter.mul_(mask)
                if embedding is not None:
                    embedding.project()
                step += 1
                samples += len(y)
            if not bool(torch.isfinite(loss_sum)):
                raise FloatingPointError(f"the loss diverged in epoch {epoch + 1}; lower the learning rate")
            if progress is not None:
                progress(step, total)
    model.requires_grad_(True)
    return TrainingReport(step, samples, watch.seconds, watch.peak_bytes, float(loss_sum) / steps_per_epoch)


class MarkingHook(TrainingHook, Protocol):
    """An embedding that can say whether its message reads."""

    def embedded(self) -> bool:
        """Say whether the message reads from the weights as they are."""
        ...


@dataclass(frozen=True)
class MarkingReport:
    """Cost of a marking phase.

    Attributes:
        training: of all of it, what was added included; the loss is that of its last epoch.
        epochs: passes over the data, those of the recipe and what was added.
    """

    training: TrainingReport
    epochs: int


def train_marked(
    model: nn.Module, data: Batches, recipe: Recipe, *, seed: int, embedding: MarkingHook
) -> MarkingReport:
    """Train as `train` does, then go on until the message reads, for up to `LONGEST` times the recipe's epochs.

    What is embedded by the recipe alone is trained no longer, and is the same to the last bit. Beyond it, the
    message is read after each epoch. Each is the recipe's schedule once through, at `CONTINUED` of its peak, with
    an optimiser of its own: it ends with a rate of zero, since a network left at a high rate loses accuracy that
    the mark is not to blame for. Twice the epochs at half the rate move weights about as far as the recipe did.
    """
    reports = [train(model, data, recipe, seed=seed, embedding=embedding)]
    further = replace(recipe, epochs=1, lr=CONTINUED * recipe.lr)
    epochs = recipe.epochs
    while epochs < LONGEST * recipe.epochs and not embedding.embedded():
        seeded = derive_seed(seed=seed, further=epochs)
        reports.append(train(model, data, further, seed=seeded, embedding=embedding))
        epochs += 1
    return MarkingReport(_summed(reports), epochs)


def _summed(reports: Sequence[TrainingReport]) -> TrainingReport:
    """Return the cost of several trainings, one after the other."""
    peaks = [report.peak_bytes for report in reports if report.peak_bytes is not None]
    return replace(
        reports[-1],
        steps=sum(report.steps for report in reports),
        samples=sum(report.samples for report in reports),
        seconds=sum(report.seconds for report in reports),
        peak_bytes=max(peaks, default=None),
    )


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    samples: tuple[Tensor, Tensor],
    step: int,
    objective: Objective,
    embedding: TrainingHook | None,
) -> Tensor:
    x, y = samples
    logits = model(x)
    loss = objective(x, y, logits)
    extra = embedding.loss(Batch(x, y, logits, step)) if embedding is not None else None
    optimizer.zero_grad(set_to_none=True)
    (loss if extra is None else loss + extra).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def _cross_entropy(recipe: Recipe) -> Objective:
    return lambda x, y, logits: functional.cross_entropy(logits, y, label_smoothing=recipe.label_smoothing)


def _held(model: nn.Module, masks: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    parameters = dict(model.named_parameters())
    return [(parameters[name].detach(), mask.to(parameters[name].device)) for name, mask in masks.items()]


def _optimizer(model: nn.Module, recipe: Recipe, embedding: TrainingHook | None) -> torch.optim.Optimizer:
    live = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in live if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in live if p.ndim <= 1], "weight_decay": 0.0},
        *(embedding.parameters() if embedding is not None else []),
    ]
    groups = [{"lr": recipe.lr, **group} for group in groups if group["params"]]
    if not groups:
        raise BadInput("nothing to train: no parameter is left trainable")
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "adamw":
        optimizer = torch.optim.AdamW(groups)
    else:
        optimizer = torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9, nesterov=True)
    for group in optimizer.param_groups:
        group["peak"] = group["lr"]
    return optimizer


def _set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
