"""The same reading of the same seed in two runs: what must be equal bit by bit, what changed, and what got worse.

On one processor, with the same versions, records repeat bit by bit; with portable numerics on all x86-64 ones. A
reading that changed there was changed by the source, and each one is named. It is worse if its message is lost, if
its mark can no longer be proven, or if fewer of the same test images are answered right than chance allows.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import hypergeom

from bench.records.record import Record
from bench.records.schema import HostResult, Json, MarkedResult, Reading, Row, TrainedResult
from bench.regression.curves import ACCURACY, EVIDENCE, EXACT, UNATTACKED, UNMARKED, Place
from bench.regression.multiplicity import holm
from cwwm.ownership.evidence import PROOF_RATE

_OF_HOST = ("device", "threads", "torch", "timm", "numerics", "processor", "instruction_set")
_OF_ENVIRONMENT = ("python", "numpy")
_NOT_COMPARED = ("timing", "null", "covertness")  # by the clock, and what is measured beside results


class Spot(NamedTuple):
    """A reading: that of one strength and seed of a curve."""

    place: Place
    seed: int
    strength: float


@dataclass(frozen=True)
class Found:
    """What one run read at a spot.

    Attributes:
        part: of the record. written: the same as its file has it, but for times.
        conditions: versions, device, threads and processor; None where a record does not say all of them.
    """

    part: Row | MarkedResult | HostResult
    written: Json
    conditions: tuple[Any, ...] | None


@dataclass(frozen=True)
class Changed:
    """A reading that is another under equal conditions.

    Attributes:
        spot: which one. what: the fields of the record that differ.
        worse: the metrics that got worse, of EXACT, EVIDENCE and ACCURACY.
    """

    spot: Spot
    what: tuple[str, ...]
    worse: tuple[str, ...]


@dataclass(frozen=True)
class Repeated:
    """The spots that two runs read under equal conditions, and those of them that changed."""

    spots: frozenset[Spot]
    changed: Mapping[Spot, Changed]

    def worse_at(self, place: Place, metric: str) -> bool:
        """Say whether a reading of this curve got worse in this metric."""
        return any(one.spot.place == place and metric in one.worse for one in self.changed.values())


def repeated(old: Iterable[Record], new: Iterable[Record], level: float) -> Repeated:
    """Return what two runs read under equal conditions.

    Args:
        old, new: the records. level: chance of one false alarm over the accuracies of all readings that changed.
    """
    before, after = found_at(old), found_at(new)
    spots = frozenset(spot for spot, one in before.items() if spot in after and _alike(one, after[spot]))
    what = {spot: _differing(before[spot].written, after[spot].written) for spot in spots}
    changed = sorted(spot for spot in spots if what[spot])
    lower = _lower_accuracy([(before[spot].part, after[spot].part) for spot in changed], level)
    worse = {
        spot: (*_lost(before[spot].part, after[spot].part), *([ACCURACY] if fell else []))
        for spot, fell in zip(changed, lower, strict=True)
    }
    return Repeated(spots, {spot: Changed(spot, what[spot], worse[spot]) for spot in changed})


def found_at(records: Iterable[Record]) -> dict[Spot, Found]:
    """Return all readings of trained models' records, those of unattacked and of unmarked models among them."""
    return {spot: found for record in records if isinstance(record, TrainedResult) for spot, found in _all(record)}


def _all(record: TrainedResult) -> Iterator[tuple[Spot, Found]]:
    key, written, conditions = record.key, record.to_json(), _conditions(record)
    for number, row in enumerate(record.rows):
        yield Spot(Place(*key.curve), key.seed, row.strength), Found(row, written["rows"][number], conditions)
    marked = Place(*key.curve[:3], UNATTACKED)
    yield Spot(marked, key.seed, 0.0), Found(record.marked, written["marked"], conditions)
    unmarked = Place(key.model, UNMARKED, 0, UNATTACKED)
    yield Spot(unmarked, key.seed, 0.0), Found(record.host, written["host"], conditions)


def _conditions(record: TrainedResult) -> tuple[Any, ...] | None:
    said = [getattr(record.recipe.host, name) for name in _OF_HOST]
    return None if None in said else (*said, *(getattr(record.environment, name) for name in _OF_ENVIRONMENT))


def _alike(old: Found, new: Found) -> bool:
    return old.conditions is not None and old.conditions == new.conditions


def _differing(old: Json, new: Json) -> tuple[str, ...]:
    """Return the fields that both have, and have otherwise; those of older records may lack some."""
    return tuple(name for name in old if name in new and name not in _NOT_COMPARED and old[name] != new[name])


def _lost(old: Row | MarkedResult | HostResult, new: Row | MarkedResult | HostResult) -> Iterator[str]:
    if isinstance(old, Reading) and isinstance(new, Reading):
        if old.recovered and not new.recovered:
            yield EXACT
        if old.log10_p <= math.log10(PROOF_RATE) < new.log10_p:
            yield EVIDENCE


_Parts = tuple[Row | MarkedResult | HostResult, Row | MarkedResult | HostResult]


def _lower_accuracy(pairs: Sequence[_Parts], level: float) -> list[bool]:
    """Return of which pairs the new model answers fewer test images right, at this family-wise error.

    By Fisher's exact test on the counts. Both models see the same images, and agree on most of them more often than
    independent ones would; what the counts alone do not show makes the test too careful rather than too bold.
    """
    if not pairs:
        return []
    counts = np.array(
        [[old.accuracy.correct, old.accuracy.total, new.accuracy.correct, new.accuracy.total] for old, new in pairs]
    ).T
    old_right, old_total, right, total = counts
    p = hypergeom.cdf(right, old_total + total, old_right + right, total)
    return [bool(one <= level) for one in holm(p)]
