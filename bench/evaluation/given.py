"""What a caller of `evaluate` may give, made into a scheme, attacks and a data set; or refused in one line."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.attacks import Attack, make_attack
from bench.data import Dataset, Split
from bench.models.registry import HostRecipe
from cwwm.schemes import Scheme, make_scheme
from cwwm.support.errors import BadInput
from cwwm.training import Recipe

GivenScheme = str | Mapping[str, Any] | Scheme
GivenAttack = str | Mapping[str, Any] | Attack
GivenAttacks = Mapping[str, Sequence[float]] | Iterable[Mapping[str, Any] | tuple[GivenAttack, Sequence[float]]]
GivenData = Dataset | tuple[Tensor, Tensor]
Curve = tuple[Attack, Sequence[float]]


def scheme_from(given: GivenScheme) -> Scheme:
    """Return a scheme from its name, ``{"name": ..., parameters}``, or an object; BadInput as `make_scheme`."""
    if isinstance(given, Scheme):
        return given
    fields = {"name": given} if isinstance(given, str) else dict(given)
    name = fields.pop("name", None)
    if not isinstance(name, str):
        raise BadInput(f"evaluate: a scheme is a name, a mapping with a name, or an object, not {given!r:.60}")
    return make_scheme(name, fields, "evaluate")


def curves_from(given: GivenAttacks) -> list[Curve]:
    """Return each attack with its strengths; BadInput for an unknown attack, or a strength that it never takes."""
    pairs = given.items() if isinstance(given, Mapping) else map(_pair, given)
    curves: list[Curve] = [
        (_attack(attack), [float(strength) for strength in strengths]) for attack, strengths in pairs
    ]
    for attack, strengths in curves:
        for strength in strengths:
            attack.check_strength(strength)
    return curves


def _pair(given: Mapping[str, Any] | tuple[GivenAttack, Sequence[float]]) -> tuple[GivenAttack, Sequence[float]]:
    if isinstance(given, Mapping) and "strengths" in given:
        return {key: value for key, value in given.items() if key != "strengths"}, given["strengths"]
    if isinstance(given, tuple) and len(given) == 2:
        return given
    raise BadInput(f"evaluate: an attack is (attack, strengths) or a mapping with strengths, not {given!r:.60}")


def _attack(given: GivenAttack) -> Attack:
    return given if isinstance(given, Attack) else make_attack(given, "evaluate")


def dataset_from(given: GivenData) -> Dataset:
    """Return a data set; of tensors every fourth sample is for tests, every eighth is what attackers choose on.

    Raises:
        BadInput: unless x is float (n, ...) and y int64 (n,) from 0 up, of 8 samples or more.
    """
    if isinstance(given, Dataset):
        return given
    x, y = given
    if not x.is_floating_point() or y.dtype != torch.int64 or y.shape != x.shape[:1]:
        raise BadInput(
            "evaluate: data is (x, y) with x float (n, ...) and y int64 (n,), not "
            f"{_told(x)} and {_told(y)}"
        )  # fmt: skip
    if len(y) < 8 or int(y.min()) < 0:
        raise BadInput(f"evaluate: data has 8 samples or more with labels from 0 up, not {len(y)} samples")
    place = torch.arange(len(y), device=y.device) % 8
    test, validation = place % 4 == 0, place == 1
    parts = (~(test | validation), validation, test)
    train, chosen_on, measured_on = (Split(x[part], y[part]) for part in parts)
    return Dataset("given tensors", int(y.max()) + 1, train, chosen_on, measured_on, identity="")


def _told(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def recipe_from(given: HostRecipe | Recipe | None) -> HostRecipe:
    """Return how a mark is trained in, and what an attacker trains with; by default five epochs."""
    if isinstance(given, HostRecipe):
        return given
    return HostRecipe(mark=given or Recipe(epochs=5))
