"""Records as points: one a (model, scheme, payload, attack, strength), its seeds gathered."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, median

from bench.metrics.accuracy import rate_interval
from bench.records.record import Record
from bench.records.schema import Row, TrainedResult
from cwwm.ownership.evidence import PROOF_RATE

PROOF = math.log10(PROOF_RATE)  # log10 of the false-positive rate that a proof may have
ALL_MODELS = "all models"  # the model of pooled points

_interval = cache(rate_interval)  # few counts, many points


@dataclass(frozen=True)
class Run:
    """One row of one record: one seed at one strength.

    Attributes:
        lost: accuracy points that the attack cost the attacker, below 0 if it gained; None if the task changed.
    """

    seed: int
    row: Row
    record: TrainedResult
    lost: float | None

    @property
    def removed(self) -> bool:
        """Say whether the message no longer comes back."""
        return not self.row.recovered

    @property
    def unprovable(self) -> bool:
        """Say whether the mark can no longer be proven at `PROOF_RATE`, by the p-value as recorded."""
        return self.row.log10_p > PROOF


@dataclass(frozen=True)
class Point:
    """All seeds of one (model, scheme, payload, attack, strength)."""

    model: str
    scheme: str
    payload: int
    attack: str
    strength: float
    runs: tuple[Run, ...]

    @property
    def exact(self) -> tuple[int, int]:
        """Return (messages recovered, messages)."""
        return sum(not run.removed for run in self.runs), len(self.runs)

    @property
    def exact_interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the exact-match rate."""
        return _interval(*self.exact)

    @property
    def lost(self) -> float | None:
        """Return the mean accuracy points lost, or None if the task changed."""
        return self.mean(lambda run: run.lost)

    def useful(self, points: float) -> bool:
        """Say whether the attacked model is still useful: at most so many points lost, or put to a new task."""
        return self.lost is None or self.lost <= points

    def mean(self, value: Callable[[Run], float | None]) -> float | None:
        """Return the mean of a value over the seeds that have it."""
        return mean_known(map(value, self.runs))

    def median(self, value: Callable[[Run], float]) -> float:
        """Return the median of a value over the seeds."""
        return median(value(run) for run in self.runs)

    @property
    def evidence(self) -> float:
        """Return the median log10 of the p-value: the lower, the stronger."""
        return self.median(lambda run: run.row.log10_p)

    @property
    def law(self) -> float | None:
        """Return the predicted probability that the message comes back: of pooled models the mean."""
        return self.mean(lambda run: run.row.law)


def mean_known(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are known, None if none is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def gather(records: Iterable[Record]) -> list[Point]:
    """Return the points of trained models' ok records, sorted by model, scheme, payload, attack, strength."""
    found: dict[tuple[str, str, int, str, float], list[Run]] = {}
    for record in records:
        if not isinstance(record, TrainedResult):
            continue
        for row in record.rows:
            run = Run(record.key.seed, row, record, record.points_lost(row))
            found.setdefault((*record.key.curve, row.strength), []).append(run)
    ordered = sorted(found.items(), key=lambda item: item[0])
    return [Point(*place, tuple(sorted(runs, key=lambda run: run.seed))) for place, runs in ordered]


def pooled(points: Iterable[Point]) -> list[Point]:
    """Return points with the runs of all models gathered, sorted by scheme, payload, attack, strength."""
    found: dict[tuple[str, int, str, float], list[Run]] = {}
    for point in points:
        found.setdefault((point.scheme, point.payload, point.attack, point.strength), []).extend(point.runs)
    return [Point(ALL_MODELS, *place, tuple(runs)) for place, runs in sorted(found.items(), key=lambda i: i[0])]


def by_scheme(points: Sequence[Point]) -> dict[tuple[str, int], list[Point]]:
    """Return the points of each (scheme, payload)."""
    groups: dict[tuple[str, int], list[Point]] = {}
    for point in points:
        groups.setdefault((point.scheme, point.payload), []).append(point)
    return groups
