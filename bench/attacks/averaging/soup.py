"""Model soups: the mean of several models that were fine-tuned from the marked one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.attacks.averaging.base import Merging, Training
from bench.attacks.averaging.family import MARKED, Family, Sibling
from cwwm.support.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Soup(Training, Merging):
    """Averages k siblings, each fine-tuned from the marked model on batches of its own (arXiv 2203.05482).

    The uniform soup of section 2: w = sum_i w_i / k. Siblings share the marked model, so the mark is in each of
    them and in their mean. Law: where drifts w_i - w have the mean m and the variance v about it (a squared
    distance over all weights), the soup's drift has the mean m and the variance v / k: it moves less than one
    sibling does, for k times the compute.
    """

    name: ClassVar[str] = "soup"
    strength: ClassVar[str] = "number of siblings, each fine-tuned from the marked model"

    def check_strength(self, strength: float) -> None:
        """Refuse what is no number of siblings."""
        if not (strength >= 2 and float(strength).is_integer()):
            raise BadInput(f"soup: the number of siblings is an integer of at least 2, not {strength:g}")

    def siblings(self, family: Family, strength: float) -> list[Sibling]:
        """Return so many siblings of the marked model."""
        return family.siblings(int(strength), MARKED)

    def merged(self, family: Family, siblings: Sequence[Tensor], strength: float) -> Tensor:
        """Return their mean."""
        return torch.stack(list(siblings)).mean(0)
