"""The contract of every attack: marked models in, attacked models out, over a list of strengths."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor, nn

from bench.data import Dataset, Split
from bench.metrics.tiers import Tier, tier_of_share
from bench.models.registry import HostRecipe
from cwwm.schemes import Scheme
from cwwm.support.errors import BadInput
from cwwm.support.timing import Stopwatch
from cwwm.training import Recipe, TrainingReport

Masks = Mapping[str, Tensor]

DATA = "data"
NETWORKS = "a builder of fresh networks"
BASE = "the model's public base"
FORWARD = 1 / 3  # of a forward and a backward pass: the latter multiplies with the weights twice


@dataclass(frozen=True)
class Cost:
    """What an attack costs an attacker.

    Attributes:
        seconds: wall time. steps: of an optimiser. samples: seen, in all passes together.
        data_fraction: share of the training split that it used, labelled or not, calibration included.
        passes: samples that went through a forward and a backward pass; those of a forward pass alone count a
            third.
    """

    seconds: float = 0.0
    steps: int = 0
    samples: int = 0
    data_fraction: float = 0.0
    passes: float = 0.0

    @classmethod
    def of(cls, report: TrainingReport, data_fraction: float = 1.0) -> "Cost":
        """Return the cost of a training on so large a share of the training split."""
        return cls(report.seconds, report.steps, report.samples, data_fraction, report.samples)

    @classmethod
    def of_looking(cls, seconds: float, samples: int, data_fraction: float) -> "Cost":
        """Return the cost of forward passes alone."""
        return cls(seconds, 0, samples, data_fraction, FORWARD * samples)

    def __add__(self, other: "Cost") -> "Cost":
        """Return the cost of both, one after the other."""
        return Cost(
            self.seconds + other.seconds,
            self.steps + other.steps,
            self.samples + other.samples,
            max(self.data_fraction, other.data_fraction),  # all draw in one order: see `bench.attacks.means`
            self.passes + other.passes,
        )


@dataclass(frozen=True)
class AttackContext:
    """What an attacker has: data, a training recipe, a device, the public encoding; never a key or a mark.

    Attributes:
        data: the task's data set, on the device.
        recipe: how the model was trained; its learning rate is the unit of fine-tuning strengths.
        seed: of everything random in the attack.
        device: where the models are.
        load: gives another data set of the same input size, for attacks that change the task.
        masks: held pruning masks by parameter name (bool, True is kept), when this attack follows another.
        scheme: the encoding of the mark with its parameters, which are public (Kerckhoffs' principle), or None.
        build: gives a fresh network for the task on the device: (timm name, or None for the host's own; seed).
        base: gives the public model that the marked one was trained from, unmarked, where there is one.
    """

    data: Dataset
    recipe: HostRecipe
    seed: int
    device: torch.device
    load: Callable[[str], Dataset]
    masks: Masks = field(default_factory=dict)
    scheme: Scheme | None = None
    build: Callable[[str | None, int], nn.Module] | None = None
    base: Callable[[], nn.Module] | None = None

    @classmethod
    def bare(cls, device: torch.device, seed: int = 0) -> "AttackContext":
        """Return the context of an attacker who has the model and nothing else."""
        nothing = Split(torch.zeros(0, 1, 1, 1), torch.zeros(0, dtype=torch.int64))
        data = Dataset("none", 0, nothing, nothing, nothing, identity="", labelled=False)
        return cls(data.to(device), HostRecipe(mark=Recipe(epochs=1)), seed, device, _no_other_data)

    @property
    def has(self) -> frozenset[str]:
        """Return what an attack may need that is here; see `Attack.needs`."""
        found = {
            DATA: len(self.data.test) > 0,
            NETWORKS: self.build is not None,
            BASE: self.base is not None,
        }
        return frozenset(need for need, there in found.items() if there)

    def compute_fraction(self, cost: Cost) -> float:
        """Return the passes of an attack over those of the host's whole training, the phase before its mark's."""
        recipe = self.recipe.train or self.recipe.mark
        return cost.passes / (recipe.epochs * len(self.data.train)) if cost.passes else 0.0


def _no_other_data(name: str) -> NoReturn:
    raise BadInput(f"the attack asks for data set '{name}'; give AttackContext a `load` that knows it")


@dataclass(frozen=True)
class Attacked:
    """One attacked model; valid until the next is asked for, since weights may be rewritten in place.

    Attributes:
        model: the attacked model.
        strength: as asked for.
        achieved: what was measured: overall values by name, and ``layers`` with a value each.
        masks: the zeros that a repair should hold, by parameter name.
        cost: what it took.
        task: the data set that the model answers now, if the attack changed it.
    """

    model: nn.Module
    strength: float
    achieved: Mapping[str, Any]
    masks: Masks
    cost: Cost
    task: Dataset | None = None

    def kept(self) -> "Attacked":
        """Return a copy that stays valid when the next is asked for."""
        return replace(self, model=copy.deepcopy(self.model))


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """An attack with its parameters; small, immutable, its repr rebuilds it.

    Class attributes:
        name: as registered; strength: what the number means, with its unit;
        changes_weights: False if host weights stay as they were, so that a law that held still holds;
        free: True if it preserves the function or is an honest change of format, as anybody makes it;
        needs: what it cannot do without (`DATA`, `NETWORKS`, `BASE`); `other_data` names data sets that it loads.
    """

    name: ClassVar[str]
    strength: ClassVar[str]
    changes_weights: ClassVar[bool] = True
    free: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()

    def __call__(
        self,
        model: nn.Module | Sequence[nn.Module],
        strengths: Sequence[float],
        context: AttackContext | None = None,
    ) -> Iterator[Attacked]:
        """Check what is asked for, and return the `curve` over it.

        Args:
            model: the model to attack, which is left alone; several marked copies for attacks that compare them.
            strengths: what they mean is in `strength`.
            context: what the attacker has; by default the model alone, enough unless the attack `needs` more.

        Raises:
            BadInput: for what the attack needs and the context lacks, or a strength that it takes on no model.
        """
        targets = [model] if isinstance(model, nn.Module) else list(model)
        for strength in strengths:
            self.check_strength(strength)
        if context is None:
            context = AttackContext.bare(_device(targets[0]))
        self.require(context)
        return self.curve(targets, strengths, context)

    def require(self, context: AttackContext) -> None:
        """Raise BadInput unless a context has all that this attack, or a part of it, needs."""
        for part in self.parts:
            if lacking := sorted(part.needs - context.has):
                raise BadInput(f"attack '{part.name}' needs {' and '.join(lacking)}: give it, or drop the attack")

    def curve(
        self, targets: Sequence[nn.Module], strengths: Sequence[float], context: AttackContext
    ) -> Iterator[Attacked]:
        """Yield the attacked model at each strength, each from a fresh copy of the first target."""
        for strength in strengths:
            yield self.apply(copy.deepcopy(targets[0]), strength, context)

    @abstractmethod
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Attack `model` in place (or return another in `Attacked.model`) at one strength."""

    def check_strength(self, strength: float) -> None:  # noqa: B027 (an attack may take any strength)
        """Raise BadInput for a strength that the attack takes on no model; the plan asks before anything is run."""

    def copies_needed(self, strengths: Sequence[float] = ()) -> int:
        """Return how many differently marked copies, the `targets` of `curve`, these strengths take; at least 1.

        Without strengths the fewest with which the attack can do anything.
        """
        return 1

    @property
    def label(self) -> str:
        """Return the name with the parameters that differ from their defaults, for tables; mappings as given."""
        values = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}
        changed = [_shown(name, value) for name, (value, default) in values.items() if value != default]
        return f"{self.name} ({', '.join(changed)})" if changed else self.name

    def to_json(self) -> dict[str, Any]:
        """Return name and parameters as a JSON object."""
        return {"name": self.name, **{f.name: getattr(self, f.name) for f in fields(self)}}

    @property
    def parts(self) -> "tuple[Attack, ...]":
        """Return the attacks that this one runs, itself if it is one of its own."""
        return (self,)

    def spent(self, cost: Cost, context: AttackContext) -> dict[str, Any]:
        """Return a cost but for the seconds, as a record has it; free if all parts of the attack are."""
        return {
            "steps": cost.steps,
            "samples": cost.samples,
            "data_fraction": cost.data_fraction,
            "compute_fraction": context.compute_fraction(cost),
            "free": all(part.free for part in self.parts),
        }

    @property
    def declared_tier(self) -> Tier:
        """Return the tier that the attack is tried at, known before it is run: the highest of its parts.

        No row of it is of a lower one, but that an attack which looks at data may turn out to need none: tier 1.
        """
        return max(part.own_tier for part in self.parts)

    @property
    def own_tier(self) -> Tier:
        """Return the declared tier of this part alone."""
        budget: float | None = getattr(self, "budget", None)
        if self.free:
            return 0
        if budget is not None:
            return tier_of_share(budget)
        if self.other_data:
            return 3
        return 2 if self.needs else 1

    @property
    def other_data(self) -> tuple[str, ...]:
        """Return the names of data sets that the attack loads beside the task's own."""
        return ()

    def predicted(self, strength: float) -> tuple[str, float] | None:
        """Return the (channel, strength) that a scheme's law speaks of, such as ("magnitude", 0.9), or None."""
        return None


def _device(model: nn.Module) -> torch.device:
    return next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))


def _shown(name: str, value: Any) -> str:  # noqa: ANN401 (any parameter)
    """Return a parameter for a label, in a word or two."""
    if isinstance(value, Mapping):
        return f"{name}=given"
    if isinstance(value, tuple):
        return f"{name}={'+'.join(map(str, value))}"
    return value if isinstance(value, str) else f"{name}={value}"


@torch.no_grad()
def restore(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy a state into a model of the same shapes, in place."""
    own = model.state_dict()
    for name, value in state.items():
        own[name].copy_(value)


@dataclass(frozen=True, kw_only=True)
class Then(Attack):
    """One attack, then a second at a fixed strength with the first one's masks held: prune, then repair."""

    name: ClassVar[str] = "then"
    strength: ClassVar[str] = "strength of the first attack"

    first: Attack
    second: Attack
    second_strength: float = 1.0

    def curve(
        self, targets: Sequence[nn.Module], strengths: Sequence[float], context: AttackContext
    ) -> Iterator[Attacked]:
        """Yield each model of the first attack's curve after the second."""
        for item in self.first.curve(targets, strengths, context):
            followed = replace(context, masks={**context.masks, **item.masks}, data=item.task or context.data)
            repaired = next(self.second.curve([item.model], [self.second_strength], followed))
            yield replace(
                repaired,
                strength=item.strength,
                achieved={**item.achieved, **measure_sparsity(repaired.model), **repaired.achieved},
                masks=repaired.masks,
                cost=item.cost + repaired.cost,
                task=repaired.task or item.task,
            )

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Attack a copy of `model` at one strength."""
        return next(self.curve([model], [strength], context))

    def check_strength(self, strength: float) -> None:
        """Refuse what the first attack does, or the second at its fixed strength."""
        self.first.check_strength(strength)
        self.second.check_strength(self.second_strength)

    def copies_needed(self, strengths: Sequence[float] = ()) -> int:
        """Return what the first attack takes; the second has its outcome alone."""
        return self.first.copies_needed(strengths)

    @property
    def label(self) -> str:
        """Return both labels."""
        return f"{self.first.label} + {self.second.label}"

    @property
    def parts(self) -> tuple[Attack, ...]:
        """Return the parts of both."""
        return (*self.first.parts, *self.second.parts)

    def predicted(self, strength: float) -> tuple[str, float] | None:
        """Return the first attack's channel if the second leaves the weights alone."""
        return None if self.second.changes_weights else self.first.predicted(strength)

    def to_json(self) -> dict[str, Any]:
        """Return both attacks as a JSON object."""
        return {
            "name": self.name,
            "first": self.first.to_json(),
            "second": self.second.to_json(),
            "second_strength": self.second_strength,
        }


def timed(device: torch.device) -> Stopwatch:
    """Return the timer of an attack's own work."""
    return Stopwatch(device)


def measure_sparsity(model: nn.Module) -> dict[str, Any]:
    """Return the share of exact zeros over all prunable weights, and by layer."""
    from cwwm.weights.carrier import prunable
    from cwwm.weights.view import as_weights

    weights = as_weights(model)
    zeros = {name: int((weights.tensor(name) == 0).sum()) for name in prunable(weights)}
    sizes = {name: weights.tensor(name).numel() for name in zeros}
    layers = {name: round(zeros[name] / sizes[name], 6) for name in zeros}
    return {"sparsity": sum(zeros.values()) / max(1, sum(sizes.values())), "layers": layers}


def measure_change(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return squared change over squared norm of all prunable weights, and by layer.

    Args:
        before: the weights by name, as they were.
        after: the weights of the attacked model; layers that are gone or of another shape do not count.

    Returns:
        ``change`` and ``layers``; None where the norm is zero or a weight is not finite.
    """
    kept = [name for name in before if name in after and after[name].shape == before[name].shape]
    norms = {name: float(before[name].double().square().sum()) for name in kept}
    moved = {name: float((after[name].double() - before[name].double()).square().sum()) for name in norms}
    layers = {name: _ratio(moved[name], norms[name]) for name in norms}
    return {"change": _ratio(sum(moved.values()), sum(norms.values())), "layers": layers}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 and math.isfinite(part) and math.isfinite(whole) else None
