"""Attacks `admm-prune` and `admm-structured`: systematic pruning by ADMM, then masked retraining."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.attacks.base import DATA, Attack, AttackContext, Attacked, Cost, measure_sparsity, timed
from bench.attacks.compression.admm import Projections, Schedule, harden, pull
from bench.attacks.compression.allocation import MAGNITUDE, compressible, group_counts, weight_counts
from bench.attacks.compression.projections import TopK
from bench.attacks.means import attacker_recipe
from bench.attacks.removal import remove_empty
from bench.metrics.accuracy import accuracy
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed
from cwwm.training import train

Masks = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Admm(Attack):
    """What ADMM attacks share: stages of pulling and hard projection, then masked retraining.

    Attributes:
        updates, steps, rho, growth: see `Schedule`; 0 updates is the one-shot control, magnitude pruning at
            the same layout.
        lr: learning rate of the pulling, relative to that of training.
        stages: ratios reached one after another, in equal factors, the zeros of each held in the next
            (progressive ADMM, arXiv 1810.07378).
        retrain: epochs after the last hard projection, None for as many as the host was trained, 0 for none.
        retrain_lr: relative to that of training.
    """

    strength: ClassVar[str] = "ratio: weights before over weights kept"
    needs: ClassVar[frozenset[str]] = frozenset({DATA})

    updates: int = 10
    steps: int = 100
    rho: float = 1e-2
    growth: float = 1.3
    lr: float = 1.0
    stages: int = 1
    retrain: int | None = None
    retrain_lr: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a schedule that cannot run."""
        if self.stages < 1 or not self.lr > 0 or not self.retrain_lr > 0 or (self.retrain or 0) < 0:
            raise BadInput(f"{self.name}: stages is at least 1, lr and retrain_lr above 0, retrain not below 0")
        self.schedule()

    def check_strength(self, strength: float) -> None:
        """Refuse a ratio that would leave more weights than there are; how large it may be depends on the model."""
        if not strength >= 1:
            raise BadInput(f"{self.name}: a ratio is at least 1, not {strength:g}")

    def schedule(self) -> Schedule:
        """Return the ADMM schedule of one stage."""
        return Schedule(self.updates, self.steps, self.rho, self.growth)

    @abstractmethod
    def projections(self, model: nn.Module, ratio: float, masks: Masks) -> Projections:
        """Return the sets that reach `ratio`, inside the zeros of an earlier stage, by parameter name."""

    def prune(self, model: nn.Module, ratio: float, context: AttackContext) -> tuple[Masks, dict[str, Any], Cost]:
        """Prune `model` in place without retraining; return masks, the log of each stage, and the cost."""
        masks: Masks = {}
        self.projections(model, ratio, masks)  # an impossible last stage is refused before the first is trained
        cost, log = Cost(), []
        recipe = attacker_recipe(context, self.lr, None)
        for stage in range(1, self.stages + 1):
            projections = self.projections(model, ratio ** (stage / self.stages), masks)
            held = {**context.masks, **masks}
            seed = derive_seed(part="stage", seed=context.seed, stage=stage)
            updates, spent = pull(
                model, projections, context.data.train, recipe, self.schedule(), seed=seed, masks=held
            )
            masks = harden(model, projections)
            cost += spent
            log.append([update.to_json() for update in updates])
        hard = accuracy(model, context.data.test).percent
        facts = {**measure_ratio(model), "hard_accuracy": hard, "stages": log}
        return self.settled(model, masks, context), facts, cost

    def settled(self, model: nn.Module, masks: Masks, context: AttackContext) -> Masks:
        """Return the masks to hold in retraining, once the last stage is projected."""
        return masks

    def repair(self, model: nn.Module, masks: Mapping[str, Tensor], context: AttackContext) -> Cost:
        """Retrain `model` in place with its zeros held; return the cost."""
        if self.retrain == 0:
            return Cost()
        recipe = attacker_recipe(context, self.retrain_lr, self.retrain)
        seed = derive_seed(part="retrain", seed=context.seed)
        report = train(model, context.data.train, recipe, seed=seed, masks=held_masks(model, masks, context))
        return Cost.of(report)

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Compress to a ratio, in place; a run that diverges is yielded as it is, and says so."""
        diverged = False
        with timed(context.device) as watch:
            try:
                achieved, masks, cost = self.compress(model, strength, context)
            except FloatingPointError:  # an attacker's bad luck is a result, not a failure of the bench
                diverged = True
        if diverged:
            achieved, masks, cost = {}, {}, Cost(data_fraction=1.0)
        facts = {**achieved, **measure_sparsity(model), "diverged": diverged}
        cost = replace(cost, seconds=watch.seconds)
        return Attacked(model, strength, facts, held_masks(model, masks, context), cost)

    def compress(
        self, model: nn.Module, ratio: float, context: AttackContext
    ) -> tuple[dict[str, Any], Masks, Cost]:
        """Prune `model` in place to a ratio and retrain it; return what was achieved, the masks and the cost."""
        masks, log, cost = self.prune(model, ratio, context)
        return log, masks, cost + self.repair(model, masks, context)


def held_masks(model: nn.Module, masks: Mapping[str, Tensor], context: AttackContext) -> Masks:
    """Return this attack's masks with those held before it, but for layers that it gave other shapes."""
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    before = {name: mask for name, mask in context.masks.items() if mask.shape == shapes[name]}
    return {**before, **masks}


def measure_ratio(model: nn.Module) -> dict[str, float]:
    """Return compressible weights over those that are not zero."""
    tensors = compressible(model)
    kept = sum(int((tensor != 0).sum()) for tensor in tensors.values())
    return {"kept": kept, "ratio": sum(t.numel() for t in tensors.values()) / max(1, kept)}


def _refuse_fractions(where: str, fractions: Mapping[str, float]) -> None:
    if not isinstance(fractions, Mapping):
        raise BadInput(f"{where}: expected fractions to keep by name, not {fractions!r:.60}")
    for name, fraction in fractions.items():
        if not 0 < fraction <= 1:
            raise BadInput(f"{where}: '{name}' is a fraction to keep, above 0 and at most 1, not {fraction:g}")


@dataclass(frozen=True, kw_only=True)
class AdmmPruning(Admm):
    """Unstructured ADMM pruning (arXiv 1804.03294; the pruning half of arXiv 1811.01907).

    Attributes:
        keep: fractions by layer name or wildcard, which the ratio scales together, or ``"magnitude"``.
    """

    name: ClassVar[str] = "admm-prune"

    keep: str | Mapping[str, float] = MAGNITUDE

    def __post_init__(self) -> None:
        """Refuse an unknown rule."""
        super().__post_init__()
        if isinstance(self.keep, str) and self.keep != MAGNITUDE:
            raise BadInput(f"{self.name}: keep is '{MAGNITUDE}' or fractions by layer, not '{self.keep}'")
        if not isinstance(self.keep, str):
            _refuse_fractions(f"{self.name}: keep", self.keep)

    def projections(self, model: nn.Module, ratio: float, masks: Masks) -> Projections:
        """Return the top-k set of each layer."""
        counts = weight_counts(compressible(model), self.keep, ratio)
        return {name: TopK(count, masks.get(name)) for name, count in counts.items()}


@dataclass(frozen=True, kw_only=True)
class AdmmStructured(Admm):
    """Structured ADMM pruning: filters, channels and shapes as whole groups (arXiv 1807.11091).

    The ratio counts the dense blocks of kept filters and columns.

    Attributes:
        groups: of "filters", "channels", "shapes", those that are removed.
        layout: fractions to keep of each, by layer name or wildcard; see `group_counts`.
        physical: remove what no filter gives or no layer reads before retraining, which leaves a smaller dense
            model; see `remove_empty`. False keeps all shapes.
    """

    name: ClassVar[str] = "admm-structured"
    strength: ClassVar[str] = "ratio: weights before over weights in the kept blocks"

    groups: tuple[str, ...] = ("filters", "shapes")
    layout: Mapping[str, Mapping[str, float]] | None = None
    physical: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown groups."""
        super().__post_init__()
        object.__setattr__(self, "groups", tuple(self.groups))  # YAML and JSON have lists
        if not self.groups or set(self.groups) - {"filters", "channels", "shapes"}:
            raise BadInput(f"{self.name}: groups are some of filters, channels, shapes, not {list(self.groups)}")
        for layer, fractions in (self.layout or {}).items():
            _refuse_fractions(f"{self.name}: layout of '{layer}'", fractions)
            unknown = sorted(map(str, set(fractions) - set(self.groups)))
            if unknown:
                raise BadInput(
                    f"{self.name}: layout of '{layer}' has '{unknown[0]}', but groups are {', '.join(self.groups)}"
                )

    def projections(self, model: nn.Module, ratio: float, masks: Masks) -> Projections:
        """Return the group set of each layer; weights that a stage before removed have no norm."""
        return dict(group_counts(model, compressible(model), self.groups, self.layout, ratio))

    def settled(self, model: nn.Module, masks: Masks, context: AttackContext) -> Masks:
        """Remove what is empty if so asked; return the masks of the zeros that are left."""
        if not self.physical:
            return masks
        remove_empty(model, context.data.test.x, self.name)
        return {name: weight != 0 for name, weight in compressible(model).items()}
