"""Training anew: the yardstick beside all attacks, what it takes to need no stolen model at all."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from bench.attacks.base import DATA, NETWORKS, Attack, AttackContext, Attacked
from bench.attacks.means import check_budget, means, train_or_diverge
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed


@dataclass(frozen=True, kw_only=True)
class TrainingAnew(Attack):
    """Trains a fresh network of the host's architecture, with the host's recipe; nothing stolen is used.

    No weight and no answer of the marked model goes into it, so no mark is in it. Its accuracy at a budget is what
    an attacker with so much data and compute can have without any theft: what loses more is not worth making.

    Attributes:
        budget: share of the host's training, data and compute (`bench.attacks.means`).
    """

    name: ClassVar[str] = "train-anew"
    strength: ClassVar[str] = "learning rate, relative to that of training"
    needs: ClassVar[frozenset[str]] = frozenset({DATA, NETWORKS})

    budget: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no budget."""
        check_budget(self.name, self.budget)

    def check_strength(self, strength: float) -> None:
        """Refuse what is no learning rate."""
        if not strength > 0:
            raise BadInput(
                f"{self.name}: a learning rate relative to that of training is above 0, not {strength:g}"
            )

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Train a fresh network, the same at each strength, and leave `model` as it is; no mask is held.

        Raises:
            BadInput: for what is no learning rate, and a context that cannot build networks.
        """
        self.check_strength(strength)
        if context.build is None:
            raise BadInput(f"{self.name} needs a fresh network; give AttackContext its build")
        fresh = context.build(None, derive_seed(anew=context.seed))
        given = means(context, strength, None, self.budget)
        cost, diverged = train_or_diverge(fresh, given, context)
        achieved = {"lr": given.recipe.lr, "epochs": given.recipe.epochs, "diverged": diverged}
        return Attacked(fresh, strength, achieved, {}, cost)
