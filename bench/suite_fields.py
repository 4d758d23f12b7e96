"""Reads the lists, numbers and payloads in a suite's YAML strictly; errors name the file and the key."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cwwm.errors import BadInput


def read_list(value: Any, where: str) -> list[Any]:  # noqa: ANN401 (what YAML gave)
    """Return a list that is not empty."""
    if not isinstance(value, list) or not value:
        raise BadInput(f"{where}: expected a list with at least one entry, found {value!r}")
    return value


def read_numbers(value: Any, where: str) -> tuple[float, ...]:  # noqa: ANN401
    """Return the finite numbers of a list that is not empty."""
    return tuple(_number(item, where) for item in read_list(value, where))


def _number(value: Any, where: str) -> float:  # noqa: ANN401
    """Return a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInput(f"{where}: {value!r} is not a finite number")
    return float(value)


def read_payload(value: Any, where: str, payloads: Collection[int]) -> int:  # noqa: ANN401
    """Return a payload in bits that is one of the suite's."""
    if value not in payloads:
        raise BadInput(f"{where}: {value!r} is none of the suite's payloads, {' '.join(map(str, payloads))}")
    return int(value)


def read_payloads(value: Mapping[str, Any], where: str, payloads: Collection[int]) -> tuple[int, ...]:
    """Return the payloads that an entry of a suite is restricted to, or ()."""
    if "payloads" not in value:
        return ()
    where = f"{where}.payloads"
    return tuple(read_payload(payload, where, payloads) for payload in read_list(value["payloads"], where))


def read_at(value: Any, where: str, payloads: Collection[int]) -> dict[int, dict[str, Any]]:  # noqa: ANN401
    """Return the parameters of a scheme for single payloads."""
    if not isinstance(value, dict) or not all(isinstance(parameters, dict) for parameters in value.values()):
        raise BadInput(f"{where}: expected a mapping from payloads to parameters, found {value!r}")
    return {read_payload(payload, where, payloads): dict(parameters) for payload, parameters in value.items()}


def check_labels(labels: Sequence[str], unique: Collection[str], kind: str, where: str) -> None:
    """Raise BadInput if one of the `unique` labels is given to two entries of a kind."""
    for label in labels:
        if label in unique and labels.count(label) > 1:
            raise BadInput(f"{where}: two {kind} are labelled '{label}'; give one of them another label")
