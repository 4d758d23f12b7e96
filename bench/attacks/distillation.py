"""Distillation: a fresh network learns the marked model's answers, and takes over none of its weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.attacks.base import DATA, FORWARD, NETWORKS, Attack, AttackContext, Attacked
from bench.attacks.means import check_budget, means, train_or_diverge
from bench.data import Dataset
from bench.data.dataset import Split
from bench.metrics.accuracy import equal_answers
from cwwm.channels.graph import evaluating
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed
from cwwm.training import Objective

TRAIN, HELD_OUT, ELSEWHERE = "train", "held-out", "out-of-distribution"
LOGITS, TOP_K, HARD = "logits", "top-k", "hard"
SAME = "same"
_EACH = 1 + FORWARD  # passes for each image: the teacher answers it too


@dataclass(frozen=True, kw_only=True)
class Distillation(Attack):
    """Trains a student from scratch on what the marked model, the teacher, answers (Hinton et al., 1503.02531).

    With teacher's logits t, student's logits s and labels y, the loss is

        a T^p KL(softmax(t / T) || softmax(s / T)) + (1 - a) CE(s, y),

    the divergence summed over classes and averaged over the batch. The teacher sees the same augmented images as
    the student, which is trained with the host's own recipe. The student's weights come from the seed alone, the
    same ones at each temperature.

    Attributes:
        student: ``"same"`` for the host's architecture, or any model name (smaller, or of another family).
        transfer: images that the attacker has: ``"train"``; ``"held-out"``, half of the test set, never shown to
            the teacher, accuracy then being measured on the other half; or ``"out-of-distribution"``.
        transfer_data: data set of ``"out-of-distribution"``, at the host's input size.
        labels: what the teacher shows: ``"logits"``; ``"top-k"``, the `top` largest probabilities, the rest of 1
            taken as even over the other classes; or ``"hard"``, its answer alone, T -> 0 in the teacher and
            1 in the student, so that the only strength is 1.
        top: k of ``"top-k"``.
        mixing: a in [0, 1]. Out of distribution y is the teacher's answer, else the data's label.
        temp_power: p; 2 keeps the gradient's size while T grows.
        epochs: of training; None for as many as the host was trained.
        budget: share of the host's training, data and compute, of which the teacher's answers take a quarter
            (`bench.attacks.means`); as many images as that share of the training data, whatever the transfer set.
    """

    name: ClassVar[str] = "distill"
    strength: ClassVar[str] = "temperature"
    needs: ClassVar[frozenset[str]] = frozenset({DATA, NETWORKS})

    student: str = SAME
    transfer: str = TRAIN
    transfer_data: str = "textures"
    labels: str = LOGITS
    top: int = 3
    mixing: float = 1.0
    temp_power: float = 2.0
    epochs: int | None = None
    budget: float = 1.0

    def __post_init__(self) -> None:
        """Refuse unknown transfer data or labels, and shares that are none."""
        check_budget(self.name, self.budget, self.epochs)
        if self.transfer not in (TRAIN, HELD_OUT, ELSEWHERE):
            raise BadInput(f"distill: transfer is '{TRAIN}', '{HELD_OUT}' or '{ELSEWHERE}', not '{self.transfer}'")
        if self.labels not in (LOGITS, TOP_K, HARD):
            raise BadInput(f"distill: labels is '{LOGITS}', '{TOP_K}' or '{HARD}', not '{self.labels}'")
        if self.top < 1 or not 0 <= self.mixing <= 1 or not math.isfinite(self.temp_power):
            raise BadInput("distill needs top >= 1, mixing between 0 and 1 and a finite temp_power")

    @property
    def other_data(self) -> tuple[str, ...]:
        """Return the data set out of distribution, if that is what the attacker has."""
        return (self.transfer_data,) if self.transfer == ELSEWHERE else ()

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Distil `model`, which stays as it is, into a fresh student at one temperature.

        `achieved` has the share of test images on which student and teacher agree, the parameters of both, the
        size of the transfer set, and whether training diverged. No mask holds in the student.

        Raises:
            BadInput: unless the temperature is finite and above 0 (1 for hard labels), for a `top` that leaves
                no class, a context that cannot build networks, or a student or data set that is not known.
        """
        self.check_strength(strength)
        if self.labels == TOP_K and self.top >= (classes := context.data.classes):
            raise BadInput(f"distill: top {self.top} of {classes} classes are all of them; take labels: {LOGITS}")
        if context.build is None:
            raise BadInput("distill needs a fresh student; give AttackContext its build")
        offered, task = self._transfer(context)
        given = means(context, 1.0, self.epochs, self.budget, offered=offered, each=_EACH)
        student = context.build(None if self.student == SAME else self.student, derive_seed(student=context.seed))
        objective = self.objective(model, strength)
        cost, diverged = train_or_diverge(student, given, context, objective=objective, each=_EACH)
        if self.transfer != TRAIN:
            cost = replace(cost, data_fraction=0.0)
        achieved = {
            "agreement": agreement(model, student, task.test),
            "parameters_before": _parameters(model),
            "parameters": _parameters(student),
            "transfer": len(given.data),
            "diverged": diverged,
        }
        changed = None if task is context.data else task
        return Attacked(student, strength, achieved, {}, cost, changed)

    def objective(self, teacher: nn.Module, temperature: float) -> Objective:
        """Return the loss of a batch: (images, labels int64 (n,), student's logits (n, classes)) -> scalar."""
        softened = self._shown(temperature)

        def loss(x: Tensor, y: Tensor, logits: Tensor) -> Tensor:
            with evaluating(teacher):
                taught = teacher(x)
            named = taught.argmax(1) if self.transfer == ELSEWHERE else y
            soft = softened(taught, logits)
            return self.mixing * soft + (1 - self.mixing) * functional.cross_entropy(logits, named)

        return loss

    def _shown(self, temperature: float) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the loss of (teacher's logits, student's logits) by what the teacher shows."""
        if self.labels == HARD:
            return lambda taught, logits: functional.cross_entropy(logits, taught.argmax(1))
        top = self.top if self.labels == TOP_K else None
        return lambda taught, logits: distillation_loss(
            taught if top is None else top_only(taught, top), logits, temperature, self.temp_power
        )

    def check_strength(self, strength: float) -> None:
        """Refuse what is no temperature, and for hard labels any but 1."""
        if not 0 < strength < math.inf:
            raise BadInput(f"distill: a temperature is finite and above 0, not {strength:g}")
        if self.labels == HARD and strength != 1:
            raise BadInput(f"distill: hard labels have no temperature; its strength is 1, not {strength:g}")

    def _transfer(self, context: AttackContext) -> tuple[Split, Dataset]:
        """Return the attacker's images, and the task whose test set no student has seen."""
        data = context.data
        if self.transfer == TRAIN:
            return data.train, data
        if self.transfer == ELSEWHERE:
            return context.load(self.transfer_data).train, data
        return halves(data)


def distillation_loss(taught: Tensor, logits: Tensor, temperature: float, power: float) -> Tensor:
    """Return T^p KL(softmax(t / T) || softmax(s / T)), averaged over a batch, of logits (n, classes) both."""
    target, mine = ((values / temperature).log_softmax(1) for values in (taught, logits))
    loss: Tensor = temperature**power * functional.kl_div(mine, target, reduction="batchmean", log_target=True)
    return loss


def top_only(taught: Tensor, top: int) -> Tensor:
    """Return log-probabilities, (n, classes), of which only the `top` largest are the teacher's own.

    What is left of 1 is even over the other classes.
    """
    log_p = taught.log_softmax(1)
    kept = torch.zeros_like(log_p, dtype=torch.bool).scatter_(1, log_p.topk(top, dim=1).indices, True)
    rest = log_p.masked_fill(kept, -math.inf).logsumexp(1, keepdim=True) - math.log(log_p.shape[1] - top)
    return torch.where(kept, log_p, rest)


def halves(data: Dataset) -> tuple[Split, Dataset]:
    """Return every other test image as a split of its own, and the data set whose test set are the others."""
    x, y = data.test.x, data.test.y
    return Split(x[::2], y[::2]), replace(data, test=Split(x[1::2], y[1::2]))


def agreement(model: nn.Module, other: nn.Module, split: Split) -> float:
    """Return the share of images that both models answer alike; a NaN agrees with nothing."""
    return equal_answers(model, other, split)["equal"] / len(split)


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
