"""One cell of a suite of untrained models: an architecture, its weights as they begin or perturbed, and no data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench.cell import Cell
from bench.sources import attack_source, host_source, mark_source
from bench.zoo import HostRecipe, ModelSpec
from cwwm.training import Recipe

NO_DATA = "none"
WEIGHTS = {
    "initial": "as the architecture begins",
    "perturbed": "initial ones, each tensor with noise of 0.3 of its root mean square, or of 0.02 if it is zero",
}
KIND = "compatibility"  # in a record
_UNTRAINED = HostRecipe(mark=Recipe(epochs=1))  # never used, but every thief has a recipe


def is_untrained(record: Mapping[str, Any]) -> bool:
    """Say whether a record is of an `UntrainedCell`."""
    return record.get("kind") == KIND


def architectures(models: Iterable[ModelSpec]) -> tuple[ModelSpec, ...]:
    """Return each architecture among the models once, as its first entry builds it, without data and recipe."""
    found: dict[str, ModelSpec] = {}
    for model in models:
        bare = replace(model, name=model.timm, data=NO_DATA, weights="random", recipe=_UNTRAINED)
        found.setdefault(model.timm, bare)
    return tuple(found.values())


@dataclass(frozen=True)
class UntrainedCell(Cell):
    """One architecture under one scheme and attack.

    Attributes:
        weights: a key of `WEIGHTS`.
    """

    weights: str = "initial"

    @property
    def host_recipe(self) -> dict[str, Any]:
        """Return what identifies the host: its architecture, seed and weights, and the source of the trial."""
        source = host_source(self.model.data, untrained=True)
        return {
            "model": self.model.to_json(),
            "seed": self.seed,
            "weights": self.weights,
            "source": source,
            **self.runtime,
        }

    @property
    def attack_recipe(self) -> dict[str, Any]:
        """Return what identifies the attack, the source of it and of the trial included."""
        parts, data = self.attack.classes, self.attack.attack.other_data
        return {**super().attack_recipe, "source": attack_source(parts, data, untrained=True)}

    @property
    def _mark_source(self) -> str:
        return mark_source(self.scheme.classes, untrained=True)

    @property
    def key(self) -> dict[str, Any]:
        """Return the row key of every cell, and which weights."""
        return {**super().key, "weights": self.weights}
