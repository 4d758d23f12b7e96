"""Records as curves: what each seed of a (model, scheme, payload, attack) gave, a reading a strength."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.records.fields import Record

UNATTACKED, UNMARKED = "no attack", "no mark"
EXACT, EVIDENCE, ACCURACY = "exact match", "log10 p", "accuracy"

Floats = NDArray[np.float64]


class Place(NamedTuple):
    """What a curve is of. The control has UNMARKED for a scheme, the marked model UNATTACKED for an attack."""

    model: str
    scheme: str
    payload: int
    attack: str


@dataclass(frozen=True)
class Curve:
    """The readings of each seed, by strength; an unattacked model has the strength 0 only."""

    seeds: dict[int, dict[float, Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def strengths(self) -> set[float]:
        """Return the strengths that any seed has."""
        return {strength for readings in self.seeds.values() for strength in readings}

    def values(self, metric: str, strengths: Iterable[float]) -> Floats:
        """Return a metric, shape (seeds, strengths), of all seeds that have every one of these strengths."""
        chosen = sorted(strengths)
        whole = [readings for _, readings in sorted(self.seeds.items()) if set(chosen) <= readings.keys()]
        values = [[_VALUE[metric](readings[strength]) for strength in chosen] for readings in whole]
        return np.array(values, dtype=np.float64).reshape(len(whole), len(chosen))

    def has(self, metric: str) -> bool:
        """Say whether the metric was measured: an unmarked model holds no message."""
        return all(_FIELD[metric] in reading for readings in self.seeds.values() for reading in readings.values())


_FIELD = {EXACT: "exact", EVIDENCE: "log10_p", ACCURACY: "accuracy"}
_VALUE: dict[str, Callable[[Mapping[str, Any]], float]] = {
    EXACT: lambda reading: float(reading["exact"]),
    EVIDENCE: lambda reading: float(reading["log10_p"]),
    ACCURACY: lambda reading: 100.0 * reading["accuracy"]["correct"] / reading["accuracy"]["total"],
}


def deviations(log10_p: Floats) -> Floats:
    """Return evidence as about so many standard deviations, larger for more: log10 p is near -z^2 / (2 ln 10).

    Sums of many counts vary by about one deviation whatever the strength of the proof, while log10 p varies the
    more, the stronger it is.
    """
    return np.sqrt(2 * math.log(10) * np.maximum(0.0, -log10_p))


def curves(records: Iterable[Record]) -> dict[Place, Curve]:
    """Return the curves of all records that are ok; among them those of unattacked and of unmarked models."""
    found: dict[Place, Curve] = {}
    for record in records:
        if record["status"] != "ok":
            continue
        key, seed = record["key"], record["key"]["seed"]
        mark = (key["model"], key["scheme"], key["payload"])
        readings: dict[Place, dict[float, Mapping[str, Any]]] = {
            Place(*mark, key["attack"]): {row["strength"]: row for row in record["rows"]},
            Place(*mark, UNATTACKED): {0.0: record["marked"]},
            Place(key["model"], UNMARKED, 0, UNATTACKED): {0.0: {"accuracy": record["host"]["accuracy"]}},
        }
        for place, own in readings.items():
            found.setdefault(place, Curve()).seeds[seed] = own
    return dict(sorted(found.items()))
