"""The calibration file beside a suite: strengths fixed once, read strictly, written whole after every entry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
"""

#: scheme label, payload bits, model
Place = tuple[str, int, str]


@dataclass(frozen=True)
class Strengths:
    """What a calibration file holds.

    Attributes:
        values: at each place the calibrated parameter and its value, None where the scheme refused.
        reached: at each place the facts of its search, for the reader.
    """

    values: Mapping[Place, Mapping[str, float | None]] = field(default_factory=dict)
    reached: Mapping[Place, Mapping[str, Any]] = field(default_factory=dict)

    def adding(self, place: Place, value: Mapping[str, float | None], reached: Mapping[str, Any]) -> "Strengths":
        """Return these strengths with one place set."""
        return Strengths({**self.values, place: value}, {**self.reached, place: reached})

    def write(self, path: Path, source: str) -> None:
        """Write the file atomically, sorted; `source` is the digest of the source that found the last entry."""
        tree = {"values": _nested(self.values), "reached": _nested(self.reached)}
        text = yaml.safe_dump(tree, default_flow_style=None, sort_keys=False, width=1000)
        write_atomic(path, (_HEADER.format(suite=path.name.removesuffix(SUFFIX), source=source) + text).encode())


def strengths_path(suite: Path) -> Path:
    """Return where the calibration of a suite's YAML file lies: beside it."""
    return suite.with_name(suite.stem + SUFFIX)


def read_strengths(path: Path) -> Strengths:
    """Read a calibration file; a missing one holds nothing.

    Raises:
        BadInput: if it is no YAML, has unknown fields, or is not nested as label, payload, model, parameter.
    """
    if not path.exists():
        return Strengths()
    tree = check_fields(read_yaml(path), {"values", "reached"}, str(path), required={"values"})
    values = _flat(tree["values"], f"{path}: values")
    for place, strength in values.items():
        for value in strength.values():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise BadInput(
                    f"{path}: values: {', '.join(map(str, place))}: {value!r} is neither a number nor null"
                )
    return Strengths(values, _flat(tree.get("reached", {}), f"{path}: reached"))


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
