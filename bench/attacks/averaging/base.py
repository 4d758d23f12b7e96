"""What averaging attacks share: batch norms estimated anew, the attacker's own training, merging of vectors."""

import copy
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.averaging.family import Family, Sibling, write
from bench.attacks.base import BASE, DATA, FORWARD, Attack, AttackContext, Attacked, Cost, measure_change, timed
from bench.attacks.means import Means, check_budget, means
from bench.attacks.pruning import apply_masks, prunable_tensors
from bench.attacks.training import BatchNormReestimation
from bench.metrics.tiers import Tier, tier_of_share
from cwwm.support.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Averaging(Attack):
    """What averaging attacks share.

    Averages are of parameters. Running statistics of batch norms belong to no average of networks (arXiv
    1803.05407, section 3), so they are estimated anew on the attacker's data, and the cost says so; a network
    without batch norm takes no data for it.

    Attributes:
        statistics: share of the training data for this, up to 1; 0 keeps the marked model's own statistics.
    """

    needs: ClassVar[frozenset[str]] = frozenset({DATA})

    statistics: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not 0 <= self.statistics <= 1:
            raise BadInput(f"{self.name}: statistics is a share between 0 and 1, not {self.statistics:g}")

    @property
    def own_tier(self) -> Tier:
        """Return the tier of an attack that uses data for statistics alone."""
        return tier_of_share(self.statistics)

    def training(self, context: AttackContext) -> Means | None:
        """Return what the attacker trains with, None for an attack that trains nothing."""
        return None

    @property
    def statistics_share(self) -> float:
        """The share of the training data that statistics are estimated on."""
        return self.statistics

    def share(self, strength: float, meaning: str, *, below: bool = False) -> None:
        """Refuse a strength that is not between 0 and 1, 1 left out if it is to be `below`."""
        if not 0 <= strength <= 1 or (below and strength == 1):
            bounds = "at least 0 and below 1" if below else "between 0 and 1"
            raise BadInput(f"{self.name}: {meaning} is {bounds}, not {strength:g}")

    def attacked(
        self, model: nn.Module, values: Tensor, strength: float, facts: Mapping[str, Any], cost: Cost,
        context: AttackContext,
    ) -> Attacked:  # fmt: skip
        """Return a copy of `model` with parameters `values`, float32 (n,), and statistics of its own.

        `facts` and the change go into what was achieved, and what the statistics take comes on top of `cost`.
        """
        merged = copy.deepcopy(model)
        write(merged, values)
        apply_masks(merged, dict(context.masks))
        if self.statistics_share:
            cost += BatchNormReestimation().apply(merged, self.statistics_share, context).cost
        change = measure_change(prunable_tensors(model), prunable_tensors(merged))
        return Attacked(merged, strength, {**facts, **change}, context.masks, cost)


@dataclass(frozen=True, kw_only=True)
class Training(Averaging):
    """What averaging attacks share that train, with the host's own recipe.

    Attributes:
        rate: learning rate, relative to that of training.
        epochs: of each training; None for as many as the host was trained.
        budget: of each training, and of the statistics after one: share of the host's, data and compute
            (`bench.attacks.means`). All siblings are trained on the same images.
    """

    rate: float = 1.0
    epochs: int | None = None
    budget: float = 1.0

    @property
    def own_tier(self) -> Tier:
        """Return the tier by the budget, which bounds the statistics too."""
        return tier_of_share(self.budget)

    def __post_init__(self) -> None:
        """Refuse what is no learning rate, no number of epochs or no budget."""
        super().__post_init__()
        check_budget(self.name, self.budget, self.epochs)
        if not 0 < self.rate < math.inf or (self.epochs is not None and self.epochs < 1):
            raise BadInput(f"{self.name}: rate is a finite number above 0, and epochs are at least 1")

    def training(self, context: AttackContext) -> Means:
        """Return data, and the host's recipe at that rate, for so many epochs."""
        beside = FORWARD if self.statistics else 0.0
        return means(context, self.rate, self.epochs, self.budget, beside=beside)

    @property
    def statistics_share(self) -> float:
        """The share of the training data that statistics are estimated on, within the budget."""
        return min(self.statistics, self.budget)


@dataclass(frozen=True, kw_only=True)
class Merging(Averaging):
    """Makes one vector of parameters of several; each strength pays for the siblings that it takes."""

    def curve(
        self, targets: Sequence[nn.Module], strengths: Sequence[float], context: AttackContext
    ) -> Iterator[Attacked]:
        """Yield the merged model at each strength; a list of them trains each sibling once.

        Raises:
            BadInput: for a strength that the attack does not take, and a public base that it lacks or of other
                shapes.
        """
        for strength in strengths:
            self.check_strength(strength)
        family = Family(targets[0], context, self.training(context))
        for strength in strengths:
            siblings = self.siblings(family, strength)
            with timed(context.device) as watch, torch.no_grad():
                values = self.merged(family, [sibling.values for sibling in siblings], strength)
            cost = sum((sibling.cost for sibling in siblings), Cost(seconds=watch.seconds))
            facts = self.facts(family, siblings, values)
            yield self.attacked(targets[0], values, strength, facts, cost, context)

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Merge at one strength; `model` is left alone."""
        return next(self.curve([model], [strength], context))

    def siblings(self, family: Family, strength: float) -> list[Sibling]:
        """Return the siblings that a strength takes."""
        return []

    @abstractmethod
    def merged(self, family: Family, siblings: Sequence[Tensor], strength: float) -> Tensor:
        """Return the parameters, float32 (n,), that the attacked model has."""

    def facts(self, family: Family, siblings: Sequence[Sibling], values: Tensor) -> dict[str, Any]:
        """Return what the attack measures of `values`: whether a sibling ``diverged``, if it takes some."""
        return {"diverged": any(sibling.diverged for sibling in siblings)} if siblings else {}


@dataclass(frozen=True, kw_only=True)
class OnBase(Merging):
    """Merges with the public base that the marked model was trained from, or with siblings trained from it."""

    needs: ClassVar[frozenset[str]] = frozenset({DATA, BASE})

    def facts(self, family: Family, siblings: Sequence[Sibling], values: Tensor) -> dict[str, Any]:
        """Return as well what is ``kept`` of the marked model's task vector t: <v - base, t> / <t, t>, or None.

        Of t as a whole, the training in it included: siblings add what their training has in common with it.
        """
        task = family.task_vector.double()
        kept = float((values.double() - family.base) @ task / (task @ task))
        return {**super().facts(family, siblings, values), "kept": kept if math.isfinite(kept) else None}
