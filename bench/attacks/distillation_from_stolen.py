"""Distillation that starts from the stolen weights: fine-tuning towards the marked model's own answers."""

import copy
import math
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from bench.attacks.base import DATA, AttackContext, Attacked
from bench.attacks.distillation import HARD, SAME, Distillation
from cwwm.support.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class DistillationFromStolen(Distillation):
    """Distils the marked model as `distill` does, into a student that starts as a copy of it.

    At the start student and teacher agree, so on the teacher's own logits the loss and its gradient are zero in
    evaluation mode: what moves the weights is that a student in training differs (batch statistics, drop-out) and,
    with hard labels or ``mixing`` below 1, the labels. Weights that no image uses stay where they are. So this
    keeps far more of any mark than a fresh student, and is nearer to fine-tuning without labels. Images out of
    distribution move the weights most. Masks that a pruning before left are not held.
    """

    name: ClassVar[str] = "distill-stolen"
    strength: ClassVar[str] = "temperature"
    needs: ClassVar[frozenset[str]] = frozenset({DATA})

    def __post_init__(self) -> None:
        """Refuse what `distill` does, and a student of another architecture."""
        super().__post_init__()
        if self.student != SAME:
            raise BadInput(f"{self.name}: the student is the stolen model itself, '{SAME}', not '{self.student}'")

    def check_strength(self, strength: float) -> None:
        """Refuse what is no temperature, and for hard labels any but 1."""
        if not 0 < strength < math.inf or (self.labels == HARD and strength != 1):
            raise BadInput(
                f"{self.name}: a temperature is finite and above 0, and 1 for hard labels, not {strength:g}"
            )

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Distil `model`, which stays as it is, into a copy of it; see `Distillation.apply`."""
        stolen = replace(context, build=lambda name, seed: copy.deepcopy(model))
        return super().apply(model, strength, stolen)
