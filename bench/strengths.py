"""The calibration file beside a suite: strengths fixed once, read strictly, written whole after every entry."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from bench.config import check_fields, read_yaml
from cwwm.errors import BadInput
from cwwm.files import write_atomic

SUFFIX = ".calibration.yaml"

_HEADER = """\
# Made by: cwwm-bench calibrate {suite}
# Source digest when last written: {source}
# values: scheme label, payload bits, model: the strength that the plan gives the scheme there; null where it
#   refuses the host, which a run then records as refused.
# reached: how it was found. by energy: squared change over squared norm of the pool, within 10 % of the target
#   that all schemes of a host and payload share, or as near as the search came. by accuracy: even the highest
#   strength stays below the target, or the mark has no pool; the largest one tried that costs at most 0.5 points.
# attacks: attack label, model: strengths chosen once on the unmarked control, for all schemes, payloads and seeds.
#   tried: candidate strengths from the mildest to the hardest, and the points of test accuracy each one lost;
#   null from where the attack refused the model, for the reason in 'refused'. chosen: points, and the last
#   candidate that lost at most so many; null if even the mildest lost more. Cells run the chosen candidates
#   once each, or, where all are null, the mildest one. by: the attack that was tried.
"""

#: scheme label, payload bits, model
Place = tuple[str, int, str]

#: attack label, model
Target = tuple[str, str]


@dataclass(frozen=True)
class AttackStrengths:
    """What an attack costs on the unmarked control of a model, and the strengths chosen for it.

    Attributes:
        tried: candidates from the mildest to the hardest, each with the points lost; None where it refused.
        chosen: for each number of points one of the candidates, or None.
        by: repr of the attack, so that a change of its parameters is noticed.
        seed: of the control and of the attack.
        refused: the reason if the attack refused, else empty.
    """

    tried: Mapping[float, float | None]
    chosen: Mapping[float, float | None]
    by: str
    seed: int
    refused: str = ""

    def to_tree(self) -> dict[str, Any]:
        """Return the entry as YAML has it."""
        tree = {"tried": dict(self.tried), "chosen": dict(self.chosen), "by": self.by, "seed": self.seed}
        return tree | ({"refused": self.refused} if self.refused else {})


@dataclass(frozen=True)
class Strengths:
    """What a calibration file holds.

    Attributes:
        values: at each place the calibrated parameter and its value, None where the scheme refused.
        reached: at each place the facts of its search, for the reader.
        attacks: the strengths chosen for an attack on a model.
    """

    values: Mapping[Place, Mapping[str, float | None]] = field(default_factory=dict)
    reached: Mapping[Place, Mapping[str, Any]] = field(default_factory=dict)
    attacks: Mapping[Target, AttackStrengths] = field(default_factory=dict)

    def adding(self, place: Place, value: Mapping[str, float | None], reached: Mapping[str, Any]) -> "Strengths":
        """Return these strengths with one place set."""
        return replace(self, values={**self.values, place: value}, reached={**self.reached, place: reached})

    def adding_attack(self, target: Target, found: AttackStrengths) -> "Strengths":
        """Return these strengths with those of one attack on one model set."""
        return replace(self, attacks={**self.attacks, target: found})

    def write(self, path: Path, source: str) -> None:
        """Write the file atomically, sorted; `source` is the digest of the source that found the last entry."""
        attacks: dict[str, dict[str, Any]] = {}
        for (label, model), found in sorted(self.attacks.items(), key=lambda item: item[0]):
            attacks.setdefault(label, {})[model] = found.to_tree()
        tree = {"values": _nested(self.values), "reached": _nested(self.reached), "attacks": attacks}
        text = yaml.safe_dump(tree, default_flow_style=None, sort_keys=False, width=1000)
        write_atomic(path, (_HEADER.format(suite=path.name.removesuffix(SUFFIX), source=source) + text).encode())


def strengths_path(suite: Path) -> Path:
    """Return where the calibration of a suite's YAML file lies: beside it."""
    return suite.with_name(suite.stem + SUFFIX)


def read_strengths(path: Path) -> Strengths:
    """Read a calibration file; a missing one holds nothing.

    Raises:
        BadInput: if it is no YAML, has unknown fields, or is not nested as its header says.
    """
    if not path.exists():
        return Strengths()
    tree = check_fields(read_yaml(path), {"values", "reached", "attacks"}, str(path), required={"values"})
    values = _flat(tree["values"], f"{path}: values")
    for place, strength in values.items():
        for value in strength.values():
            if value is not None and not _is_number(value):
                raise BadInput(
                    f"{path}: values: {', '.join(map(str, place))}: {value!r} is neither a number nor null"
                )
    attacks = _attacks(tree.get("attacks", {}), f"{path}: attacks")
    return Strengths(values, _flat(tree.get("reached", {}), f"{path}: reached"), attacks)


def _attacks(tree: Any, where: str) -> dict[Target, AttackStrengths]:  # noqa: ANN401 (what YAML gave)
    return {
        (label, model): _attack(leaf, f"{where}.{label}.{model}")
        for label, models in _mapping(tree, str, where).items()
        for model, leaf in _mapping(models, str, f"{where}.{label}").items()
    }


def _attack(leaf: Any, where: str) -> AttackStrengths:  # noqa: ANN401
    known = {"tried", "chosen", "by", "seed"}
    leaf = check_fields(leaf, {*known, "refused"}, where, required=known)
    tried, chosen = (_numbers(leaf[part], f"{where}.{part}") for part in ("tried", "chosen"))
    if type(leaf["seed"]) is not int:
        raise BadInput(f"{where}.seed: {leaf['seed']!r} is not an integer; calibrate the suite again")
    for strength in chosen.values():
        if strength is not None and strength not in tried:
            raise BadInput(f"{where}.chosen: {strength:g} is none of those tried; calibrate the suite again")
    return AttackStrengths(tried, chosen, str(leaf["by"]), leaf["seed"], str(leaf.get("refused", "")))


def _numbers(value: Any, where: str) -> dict[float, float | None]:  # noqa: ANN401
    """Return a mapping from numbers to numbers or None."""
    if not isinstance(value, Mapping) or not value:
        raise BadInput(f"{where}: expected a mapping from numbers, found {value!r}; calibrate the suite again")
    for item in (*value, *(item for item in value.values() if item is not None)):
        if not _is_number(item):
            raise BadInput(f"{where}: {item!r} is not a number; calibrate the suite again")
    return {float(key): None if item is None else float(item) for key, item in value.items()}


def _is_number(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _nested(places: Mapping[Place, Mapping[str, Any]]) -> dict[str, dict[int, dict[str, dict[str, Any]]]]:
    tree: dict[str, dict[int, dict[str, dict[str, Any]]]] = {}
    for (label, payload, model), leaf in sorted(places.items(), key=lambda item: item[0]):
        tree.setdefault(label, {}).setdefault(payload, {})[model] = dict(leaf)
    return tree


def _flat(tree: Any, where: str) -> dict[Place, dict[str, Any]]:  # noqa: ANN401 (what YAML gave)
    return {
        (label, payload, model): dict(_mapping(leaf, str, f"{where}.{label}.{payload}.{model}"))
        for label, payloads in _mapping(tree, str, where).items()
        for payload, models in _mapping(payloads, int, f"{where}.{label}").items()
        for model, leaf in _mapping(models, str, f"{where}.{label}.{payload}").items()
    }


def _mapping(value: Any, kind: type, where: str) -> Mapping[Any, Any]:  # noqa: ANN401
    if not isinstance(value, Mapping) or not all(isinstance(key, kind) for key in value):
        keys = "payloads in bits" if kind is int else "names"
        raise BadInput(f"{where}: expected a mapping from {keys}, found {value!r}; calibrate the suite again")
    return value
