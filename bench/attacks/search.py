"""Search: the hardest strength of another attack that costs the attacker no more accuracy than accepted."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import nn

from bench.attacks.base import DATA, Attack, AttackContext, Attacked, Cost
from bench.metrics.accuracy import accuracy
from cwwm.support.errors import BadInput


@dataclass(frozen=True)
class Trial:
    """One run of the searched attack: what came of it, and the points of accuracy that it lost."""

    found: Attacked
    lost: float


@dataclass(frozen=True, kw_only=True)
class Search(Attack):
    """Bisects the strength of another attack on accuracy, on a logarithmic scale.

    So the papers choose how much each layer keeps: start from known fractions, scale all layers together, and
    bisect for the hardest setting without loss (arXiv 1804.03294, Sec. 4.3). Loss is taken to grow with strength;
    where repair makes it uneven, one of the borders is found. Each trial is a whole run from the model given, with
    the same seed, and levels share trials. The attacker judges on the validation split, as whoever chooses here.
    All attacked models of a curve are kept until it ends.

    Attributes:
        attack: that is searched.
        mildest, hardest: strengths above 0 between which to search; hardest may be the smaller number.
        resolution: the search ends when an affordable strength and one too hard are this factor apart.
    """

    name: ClassVar[str] = "search"
    strength: ClassVar[str] = "points of accuracy that the attacker accepts to lose"
    needs: ClassVar[frozenset[str]] = frozenset({DATA})

    attack: Attack
    mildest: float
    hardest: float
    resolution: float = 1.1

    def __post_init__(self) -> None:
        """Refuse a range without a logarithm or an extent."""
        if not (0 < self.mildest < math.inf and 0 < self.hardest < math.inf) or self.mildest == self.hardest:
            raise BadInput(
                f"{self.name}: mildest and hardest are two strengths above 0, not {self.mildest:g} and "
                f"{self.hardest:g}"
            )
        if not 1 < self.resolution < math.inf:
            raise BadInput(f"{self.name}: resolution is a factor above 1, not {self.resolution:g}")

    def check_strength(self, strength: float) -> None:
        """Refuse what is no number of points, and ends of the range that the searched attack refuses."""
        if not 0 <= strength < math.inf:
            raise BadInput(f"{self.name}: a strength is 0 or more points of accuracy, not {strength:g}")
        for end in (self.mildest, self.hardest):
            self.attack.check_strength(end)

    def curve(
        self, targets: Sequence[nn.Module], strengths: Sequence[float], context: AttackContext
    ) -> Iterator[Attacked]:
        """Yield the hardest affordable model at each number of points; the mildest where none is affordable.

        `achieved` is that of the searched attack, with ``searched``: the strength found, None if even the mildest
        lost more, and the points lost in each trial. The cost is that of all trials that the level took,
        judging included.

        Raises:
            BadInput: for a negative number of points, without validation images, or what the searched attack
                refuses.
        """
        trials: dict[float, Trial] = {}
        judged = context.data.to_choose_on()
        before = accuracy(targets[0], judged).percent

        def lost(strength: float) -> float:
            if strength not in trials:
                found = next(self.attack.curve(targets, [strength], context))
                if found.task:
                    raise BadInput(f"{self.name}: {self.attack.label} changes the task, so no loss can be compared")
                trials[strength] = Trial(found, before - accuracy(found.model, judged).percent)
            return trials[strength].lost

        for points in strengths:
            self.check_strength(points)
            tried = list(self._bisect(lost, points))
            affordable = [strength for strength in tried if trials[strength].lost <= points]
            hardest = max(affordable, key=lambda s: s * self._direction, default=None)
            chosen = trials[self.mildest if hardest is None else hardest].found
            facts = {"strength": hardest, "lost": {f"{s:g}": trials[s].lost for s in tried}}
            looked = Cost.of_looking(0.0, (1 + len(tried)) * len(judged), 0.0)
            cost = sum((trials[s].found.cost for s in tried), looked)
            yield replace(chosen, strength=points, achieved={**chosen.achieved, "searched": facts}, cost=cost)

    @property
    def _direction(self) -> int:
        return 1 if self.hardest > self.mildest else -1

    def _bisect(self, lost: Callable[[float], float], points: float) -> Iterator[float]:
        """Yield the strengths tried: both ends, then between the last affordable one and the last too hard."""
        low, high = self.mildest, self.hardest
        yield low
        if lost(low) > points:
            return
        yield high
        if lost(high) <= points:
            return
        while max(low / high, high / low) > self.resolution:
            middle = float(f"{math.sqrt(low * high):.4g}")  # as it is written in records
            if middle in (low, high):
                return
            yield middle
            low, high = (middle, high) if lost(middle) <= points else (low, middle)

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Search on a copy of `model` at one number of points."""
        return next(self.curve([model], [strength], context))

    def copies_needed(self, strengths: Sequence[float] = ()) -> int:
        """Return what the searched attack takes within its range."""
        return self.attack.copies_needed((self.mildest, self.hardest))

    @property
    def label(self) -> str:
        """Return the label of what is searched."""
        return f"search of {self.attack.label}"

    @property
    def parts(self) -> tuple[Attack, ...]:
        """Return the search itself and the parts of what it searches."""
        return (self, *self.attack.parts)

    def to_json(self) -> dict[str, Any]:
        """Return the search and its attack as a JSON object."""
        return {**super().to_json(), "attack": self.attack.to_json()}
