"""Hosts of a suite of untrained models: an architecture, its weights as they begin or perturbed, and no data."""

from collections.abc import Iterable
from dataclasses import replace

from bench.models.registry import HostRecipe, ModelSpec
from cwwm.training import Recipe

NO_DATA = "none"
WEIGHTS = {
    "initial": "as the architecture begins",
    "perturbed": "initial ones, each tensor with noise of 0.3 of its root mean square, or of 0.02 if it is zero",
}
_UNTRAINED = HostRecipe(mark=Recipe(epochs=1))  # never used, but every attacker has a recipe


def architectures(models: Iterable[ModelSpec]) -> tuple[ModelSpec, ...]:
    """Return each architecture among the models once, as its first entry builds it, without data and recipe."""
    found: dict[str, ModelSpec] = {}
    for model in models:
        bare = replace(model, name=model.timm, data=NO_DATA, weights="random", recipe=_UNTRAINED)
        found.setdefault(model.timm, bare)
    return tuple(found.values())
