"""Attack `admm-compress`: prune by ADMM, then quantise or cluster the survivors (arXiv 1811.01907)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import nn

from bench.attacks.base import AttackContext, Cost
from bench.attacks.compression.admm import Projections, harden, pull
from bench.attacks.compression.allocation import by_pattern, compressible
from bench.attacks.compression.levels import LEVEL_BITS, best_interval
from bench.attacks.compression.projections import Clusters, Levels
from bench.attacks.compression.pruning import AdmmPruning, Masks, held_masks
from bench.attacks.compression.snapping import retrain_centroids, snap_in_rounds
from bench.attacks.compression.storage import measure_storage
from bench.attacks.means import attacker_recipe
from bench.metrics.accuracy import accuracy
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed

LEVELS, CLUSTERS = "levels", "clusters"


@dataclass(frozen=True, kw_only=True)
class AdmmCompression(AdmmPruning):
    """Prunes first, then pulls the survivors to few values; zero is no value (arXiv 1811.01907, Sec. 4).

    Attributes:
        bits: a surviving weight, for all layers or by layer name or wildcard.
        values: ``"levels"``, evenly spaced, snapped in rounds, or ``"clusters"``, shared and retrained.
        quantise_updates: ADMM updates of the second stage, 0 to snap without pulling.
        rounds: of snapping `share` of the free weights and retraining the others, 0 for all at once.
        round_epochs: epochs of each round, and of retraining the centroids.
    """

    name: ClassVar[str] = "admm-compress"

    bits: int | Mapping[str, int] = 4
    values: str = LEVELS
    quantise_updates: int = 8
    share: float = 0.3
    rounds: int = 6
    round_epochs: int = 3

    def __post_init__(self) -> None:
        """Refuse unknown values, empty rounds and impossible bits."""
        super().__post_init__()
        if self.values not in (LEVELS, CLUSTERS):
            raise BadInput(f"{self.name}: values are '{LEVELS}' or '{CLUSTERS}', not '{self.values}'")
        if self.quantise_updates < 0 or self.rounds < 0 or self.round_epochs < 1 or not 0 < self.share <= 1:
            raise BadInput(
                f"{self.name}: quantise_updates and rounds are at least 0, round_epochs 1, share in (0, 1]"
            )

        for bits in self.bits.values() if isinstance(self.bits, Mapping) else [self.bits]:
            if bits not in LEVEL_BITS:
                low, high = LEVEL_BITS[0], LEVEL_BITS[-1]
                raise BadInput(f"{self.name}: bits are an integer from {low} to {high}, not {bits}")

    def compress(
        self, model: nn.Module, ratio: float, context: AttackContext
    ) -> tuple[dict[str, Any], Masks, Cost]:
        """Prune to a ratio, retrain, and put what is left on few values, in place."""
        bits = self.layer_bits(model)
        log, masks, cost = super().compress(model, ratio, context)
        log["pruned_accuracy"] = accuracy(model, context.data.test).percent
        pulled, spent = self.quantise(model, masks, bits, context)
        storage = measure_storage(compressible(model), bits).to_json()
        return {**log, **storage, **pulled}, masks, cost + spent

    def layer_bits(self, model: nn.Module) -> dict[str, int]:
        """Return the bits of each layer."""
        given = self.bits if isinstance(self.bits, Mapping) else {"*": self.bits}
        return by_pattern(list(compressible(model)), given, f"{self.name}: bits")

    def quantise(
        self, model: nn.Module, masks: Masks, bits: Mapping[str, int], context: AttackContext
    ) -> tuple[dict[str, Any], Cost]:
        """Put the survivors on few values, in place; return the log of the updates and the cost."""
        recipe, data = attacker_recipe(context, self.lr, None), context.data.train
        held = held_masks(model, masks, context)
        seed = derive_seed(part="quantise", seed=context.seed)
        sets = self.sets(model, masks, bits)
        schedule = replace(self.schedule(), updates=self.quantise_updates)
        updates, cost = pull(model, sets, data, recipe, schedule, seed=seed, masks=held)
        if self.values == CLUSTERS:
            harden(model, sets)
            clusters = {name: layer for name, layer in sets.items() if isinstance(layer, Clusters)}
            cost += retrain_centroids(model, clusters, data, replace(recipe, epochs=self.round_epochs), seed=seed)
        else:
            cost += snap_in_rounds(
                model,
                sets,
                data,
                recipe,
                share=self.share,
                rounds=self.rounds,
                epochs=self.round_epochs,
                seed=seed,
                masks=held,
            )
        return {"quantise": [update.to_json() for update in updates]}, cost

    def sets(self, model: nn.Module, masks: Masks, bits: Mapping[str, int]) -> Projections:
        """Return the set of values of each layer, chosen on the weights as they are now."""
        tensors = compressible(model)
        if self.values == CLUSTERS:
            return {name: Clusters(tensor, bits[name], masks[name]) for name, tensor in tensors.items()}
        return {
            name: Levels(best_interval(tensor[masks[name]], bits[name]), bits[name], masks[name])
            for name, tensor in tensors.items()
        }
