"""Records as curves: what each seed of a (model, scheme, payload, attack) gave, a reading a strength."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.records.record import Record
from bench.records.schema import HostResult, MarkedResult, Reading, Row, TrainedResult

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
    """The metrics of each seed, by strength; an unattacked model has the strength 0 only."""

    seeds: dict[int, dict[float, dict[str, float]]] = field(default_factory=dict)

    @property
    def strengths(self) -> set[float]:
        """Return the strengths that any seed has."""
        return {strength for readings in self.seeds.values() for strength in readings}

    def seeds_with(self, strengths: Iterable[float]) -> tuple[int, ...]:
        """Return the seeds that have every one of these strengths, in order."""
        chosen = set(strengths)
        return tuple(seed for seed, readings in sorted(self.seeds.items()) if chosen <= readings.keys())

    def values(self, metric: str, strengths: Iterable[float]) -> Floats:
        """Return a metric, shape (seeds, strengths), of `seeds_with` these strengths, which it has in order."""
        chosen = sorted(strengths)
        whole = [self.seeds[seed] for seed in self.seeds_with(chosen)]
        values = [[readings[strength][metric] for strength in chosen] for readings in whole]
        return np.array(values, dtype=np.float64).reshape(len(whole), len(chosen))

    def has(self, metric: str) -> bool:
        """Say whether the metric was measured: an unmarked model holds no message."""
        return all(metric in reading for readings in self.seeds.values() for reading in readings.values())


def deviations(log10_p: Floats) -> Floats:
    """Return evidence as about so many standard deviations, larger for more: log10 p is near -z^2 / (2 ln 10).

    Sums of many counts vary by about one deviation whatever the strength of the proof, while log10 p varies the
    more, the stronger it is.
    """
    return np.sqrt(2 * math.log(10) * np.maximum(0.0, -log10_p))


def curves(records: Iterable[Record]) -> dict[Place, Curve]:
    """Return the curves of trained models' ok records; among them those of unattacked and of unmarked models."""
    found: dict[Place, Curve] = {}
    for record in records:
        if not isinstance(record, TrainedResult):
            continue
        key = record.key
        readings = {
            Place(*key.curve): {row.strength: _metrics(row) for row in record.rows},
            Place(*key.curve[:3], UNATTACKED): {0.0: _metrics(record.marked)},
            Place(key.model, UNMARKED, 0, UNATTACKED): {0.0: _metrics(record.host)},
        }
        for place, own in readings.items():
            found.setdefault(place, Curve()).seeds[key.seed] = own
    return dict(sorted(found.items()))


def _metrics(of: Row | MarkedResult | HostResult) -> dict[str, float]:
    read = {EXACT: float(of.recovered), EVIDENCE: of.log10_p} if isinstance(of, Reading) else {}
    return {ACCURACY: of.accuracy.percent, **read}
