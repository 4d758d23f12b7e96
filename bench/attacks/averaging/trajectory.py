"""Averages of the attacker's own training: an exponential moving average of fine-tuning from the marked model."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from bench.attacks.averaging.base import Training
from bench.attacks.averaging.family import vector
from bench.attacks.base import AttackContext, Attacked
from bench.attacks.means import train_or_diverge
from cwwm.training import Batch


class MovingAverage:
    """Follows a training, as its hook: v_t = d v_(t-1) + (1 - d) w_t of the parameters w_t after step t.

    Attributes:
        values: v_t, float32 (n,). steps: t.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from the model that is trained."""
        self.model, self.decay = model, decay
        self.values, self.steps = vector(model), 0

    def parameters(self) -> list[dict[str, Any]]:
        """Return no parameter more."""
        return []

    def loss(self, batch: Batch) -> None:
        """Return no loss more."""

    @torch.no_grad()
    def project(self) -> None:
        """Take the parameters of one more step into the average."""
        self.values.lerp_(vector(self.model), 1 - self.decay)
        self.steps += 1


@dataclass(frozen=True, kw_only=True)
class TrajectoryAverage(Training):
    """Fine-tunes, and keeps the exponential moving average (EMA) of the parameters over the steps.

    v_t = d v_(t-1) + (1 - d) w_t after each step t, v_0 being the marked model (as `torch.optim.swa_utils` has it;
    no warm-up). Law: after n steps v_n = d^n v_0 + (1 - d) sum_t d^(n-t) w_t. The larger d is, the less an average
    moves away from the marked model and the more of its steps' noise it cancels, so that an EMA removes less of a
    mark than the fine-tuning that it averages, which is d = 0.
    """

    name: ClassVar[str] = "ema"
    strength: ClassVar[str] = "decay of the average a step, from 0 (plain fine-tuning) to below 1"

    def check_strength(self, strength: float) -> None:
        """Refuse what is no decay."""
        self.share(strength, "the decay", below=True)

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Fine-tune a copy, and return its average; `achieved` has d^n, the weight of the ``start``.

        Raises:
            BadInput: for what is no decay.
        """
        self.check_strength(strength)
        trained = copy.deepcopy(model)
        average = MovingAverage(trained, strength)
        given = self.training(context)
        cost, diverged = train_or_diverge(trained, given, context, masks=context.masks, hook=average)
        facts = {"steps": average.steps, "start": strength**average.steps, "diverged": diverged}
        return self.attacked(model, average.values, strength, facts, cost, context)
