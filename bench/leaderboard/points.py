"""Records as points: one a (model, scheme, payload, attack, strength), its seeds gathered."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, median

from bench.leaderboard.older_costs import complete_cost
from bench.metrics.accuracy import rate_interval
from bench.metrics.tiers import tier
from bench.records.record import Record
from bench.records.schema import Cost, Row, TrainedResult
from cwwm.ownership.evidence import PROOF_RATE

PROOF = math.log10(PROOF_RATE)  # log10 of the false-positive rate that a proof may have
ALL_MODELS = "all models"  # the model of pooled points
USEFUL = 3.0  # accuracy points that an attacker may lose and still have a useful model

_interval = cache(rate_interval)  # few counts, many points


@dataclass(frozen=True)
class RunRow:
    """One row of one record: one run under one attack at one strength.

    Attributes:
        lost: test accuracy that the attack cost, in points with sign; None if the task changed.
        chosen_by: the same on validation, by which a removing row is chosen; on test where there was no validation.
        cost: of the attack, with what older records lack derived.
        tier: of the attacker, by that cost.
    """

    seed: int
    row: Row
    record: TrainedResult
    lost: float | None
    chosen_by: float | None
    cost: Cost
    tier: int

    @classmethod
    def of(cls, record: TrainedResult, row: Row) -> "RunRow":
        """Return a row with what follows from its record."""
        lost, validation, cost = record.points_lost(row), record.validation_lost(row), complete_cost(record, row)
        chosen_by = lost if validation is None else validation
        return cls(record.key.seed, row, record, lost, chosen_by, cost, tier(cost))

    @property
    def attack(self) -> str:
        """Return the label of the attack."""
        return self.record.key.attack

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
    runs: tuple[RunRow, ...]

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

    @property
    def tiers(self) -> tuple[int, ...]:
        """Return the tiers of the attack on these runs, which differ where hosts do."""
        return tuple(sorted({run.tier for run in self.runs}))

    def mean(self, value: Callable[[RunRow], float | None]) -> float | None:
        """Return the mean of a value over the seeds that have it."""
        return mean_known(map(value, self.runs))

    def median(self, value: Callable[[RunRow], float]) -> float:
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
    found: dict[tuple[str, str, int, str, float], list[RunRow]] = {}
    for record in records:
        if not isinstance(record, TrainedResult):
            continue
        for row in record.rows:
            found.setdefault((*record.key.curve, row.strength), []).append(RunRow.of(record, row))
    ordered = sorted(found.items(), key=lambda item: item[0])
    return [Point(*place, tuple(sorted(runs, key=lambda run: run.seed))) for place, runs in ordered]


def pooled(points: Iterable[Point]) -> list[Point]:
    """Return points with the runs of all models gathered, sorted by scheme, payload, attack, strength."""
    found: dict[tuple[str, int, str, float], list[RunRow]] = {}
    for point in points:
        found.setdefault((point.scheme, point.payload, point.attack, point.strength), []).extend(point.runs)
    return [Point(ALL_MODELS, *place, tuple(runs)) for place, runs in sorted(found.items(), key=lambda i: i[0])]


def by_scheme(points: Sequence[Point]) -> dict[tuple[str, int], list[Point]]:
    """Return the points of each (scheme, payload)."""
    groups: dict[tuple[str, int], list[Point]] = {}
    for point in points:
        groups.setdefault((point.scheme, point.payload), []).append(point)
    return groups


def exact_text(point: Point) -> str:
    """Return messages recovered of how many, with the interval of that share."""
    hits, total = point.exact
    low, high = point.exact_interval
    return f"{hits}/{total} [{low:.2f}, {high:.2f}]"
