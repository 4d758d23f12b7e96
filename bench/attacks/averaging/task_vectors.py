"""Task vectors, what training added to a public base: summed (task arithmetic), trimmed (TIES), dropped (DARE)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.attacks.averaging.base import OnBase, Training
from bench.attacks.averaging.family import BASE_MODEL, Family, Sibling
from cwwm.support.errors import BadInput
from cwwm.weights.order_statistics import pruned_count


@dataclass(frozen=True, kw_only=True)
class _WithSiblings(Training, OnBase):
    """Merges the marked model's task vector with those of siblings.

    Attributes:
        others: how many models the attacker trains from the unmarked base, each on batches of its own.
    """

    others: int = 1

    def __post_init__(self) -> None:
        """Refuse no sibling."""
        super().__post_init__()
        if self.others < 1:
            raise BadInput(f"{self.name}: others is at least 1, not {self.others}")

    def siblings(self, family: Family, strength: float) -> list[Sibling]:
        """Return so many models trained from the base."""
        return family.siblings(self.others, BASE_MODEL)

    def task_vectors(self, family: Family, siblings: Sequence[Tensor]) -> Tensor:
        """Return the task vectors of the marked model and of its siblings, float32 (1 + `others`, n)."""
        return torch.stack([family.marked, *siblings]) - family.base


@dataclass(frozen=True, kw_only=True)
class TaskArithmetic(_WithSiblings):
    """Adds the marked model's task vector and those of siblings to the base: base + l sum_i (w_i - base).

    Arithmetic by addition (arXiv 2212.04089, section 4), where one scale l serves all; with one sibling l = 1/2 is
    the mean of both models. The mark is in one of the task vectors alone, so it is diluted to l, and the scale is a
    strength whose small values are the hard ones.
    """

    name: ClassVar[str] = "task-arithmetic"
    strength: ClassVar[str] = "scale of the sum of task vectors"

    def check_strength(self, strength: float) -> None:
        """Refuse what is no scale."""
        if not 0 <= strength < math.inf:
            raise BadInput(f"task-arithmetic: a scale is 0 or a positive number, not {strength:g}")

    def merged(self, family: Family, siblings: Sequence[Tensor], strength: float) -> Tensor:
        """Return the base with the scaled sum."""
        return family.base + strength * self.task_vectors(family, siblings).sum(0)


@dataclass(frozen=True, kw_only=True)
class Ties(_WithSiblings):
    """Trims task vectors, elects a sign for each weight and averages what agrees (arXiv 2306.01708, algorithm 1).

    Of each task vector the entries of smallest magnitude are set to zero, over all parameters together; the sign of
    a weight is that of the sum of what is left; its new value is the mean over the task vectors that are not zero
    there and of that sign, times `scale`, on top of the base. Law: a lift among a task vector's largest 1 - s that
    no other one has stays whole, undiluted, while what is spread thinly over all weights is trimmed: of a small
    pattern in a Gaussian task vector trimming leaves 2 t phi(t) + 2 Q(t), t being its threshold in sigmas (0.65 at
    s = 0.8).

    Attributes:
        scale: lambda of the paper, which has 1 where nothing is tuned.
    """

    name: ClassVar[str] = "ties"
    strength: ClassVar[str] = "share of each task vector that is trimmed; 0.8 in the paper"

    scale: float = 1.0

    def check_strength(self, strength: float) -> None:
        """Refuse what is no share."""
        self.share(strength, "the share that is trimmed", below=True)

    def merged(self, family: Family, siblings: Sequence[Tensor], strength: float) -> Tensor:
        """Return the base with what agrees of the trimmed task vectors."""
        kept = torch.stack([trimmed(row, strength) for row in self.task_vectors(family, siblings)])
        return family.base + self.scale * disjoint_mean(kept)


@dataclass(frozen=True, kw_only=True)
class Dare(OnBase):
    """Drops entries of the task vector at random, and rescales the others by 1 / (1 - p) (arXiv 2311.03099).

    Law: a random pruning of the *difference*: each weight goes back to the base with probability p, wherever the
    mark is, and else moves 1 / (1 - p) times as far; the expectation is the marked model. A code whose symbols are
    single weights loses a share p of them, sums keep their mean and get noise of p / (1 - p) t^2 from each entry t.
    A stronger attack drops all that a weaker one drops.
    """

    name: ClassVar[str] = "dare"
    strength: ClassVar[str] = "share of the task vector that is dropped; 0.9 in the paper"

    def check_strength(self, strength: float) -> None:
        """Refuse what is no share."""
        self.share(strength, "the share that is dropped", below=True)

    def merged(self, family: Family, siblings: Sequence[Tensor], strength: float) -> Tensor:
        """Return the base with what is left of the task vector; dropped weights are the base's own."""
        task = family.task_vector
        draws = torch.rand(task.shape, generator=torch.Generator().manual_seed(family.context.seed))
        kept = (draws >= strength).to(task.device)
        return torch.where(kept, family.base + task / (1 - strength), family.base)


def trimmed(task: Tensor, share: float) -> Tensor:
    """Return a task vector (n,) whose floor(share n) entries of smallest magnitude are zero; of equals some."""
    kept = task.abs().topk(len(task) - pruned_count(share, len(task))).indices
    return torch.zeros_like(task).index_copy_(0, kept, task[kept])


def disjoint_mean(tasks: Tensor) -> Tensor:
    """Return for each entry of (k, n) the mean over rows that are not zero there and of the elected sign, (n,)."""
    agree = (tasks.sign() == tasks.sum(0).sign()) & (tasks != 0)
    return torch.where(agree, tasks, 0).sum(0) / agree.sum(0).clamp(min=1)
