"""Records as lines with a value a seed, each with an interval: what all formats but Parquet and JUnit tell."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean

import numpy as np

from bench.leaderboard.bootstrap import Floats, estimate, mean_of, redraw
from bench.metrics.accuracy import rate_interval
from bench.records.record import Record
from bench.records.schema import Found, HostResult, MarkedResult, Row, TrainedResult
from bench.records.untrained_schema import MarkedFound, UntrainedResult, UntrainedRow
from bench.regression.curves import UNATTACKED, UNMARKED, Place

_DIGITS = 9  # significant ones of what is derived: the last bits differ from processor to processor


@dataclass(frozen=True)
class Measure:
    """What is measured: its name, a short one in kebab case, its unit, and whether more of it is better."""

    name: str
    slug: str
    unit: str
    bigger_is_better: bool


EXACT = Measure("exact message recovery", "exact-message", "share of messages", True)
EVIDENCE = Measure("log10 p", "log10-p", "log10", False)
ACCURACY = Measure("accuracy", "accuracy", "%", True)
SECONDS = Measure("seconds", "seconds", "s", False)  # of the attack; of embedding where there is none
MEASURES = (EXACT, EVIDENCE, ACCURACY, SECONDS)

_Values = dict[Measure, float]
_Key = tuple[Place, float, str]


@dataclass(frozen=True)
class Line:
    """All seeds of one strength of a curve.

    Attributes:
        place: model, scheme, payload and attack, as nightly runs compare them. strength: of the attack, else 0.
        weights: how those of an untrained model begin; empty for trained ones.
        values: of each measure, by seed in order. record: of the first seed, for what all of them share.
    """

    place: Place
    strength: float
    weights: str
    values: Mapping[Measure, Mapping[int, float]]
    record: TrainedResult | UntrainedResult

    @property
    def where(self) -> tuple[object, ...]:
        """Return what the line is of, to find it in another run."""
        return *self.place, self.strength, self.weights

    @property
    def name(self) -> str:
        """Return what the line is of in words; the same in every run."""
        model = f"{self.place.model} ({self.weights})" if self.weights else self.place.model
        bits = [f"{self.place.payload} bits"] if self.place.payload else []
        strength = [] if self.place.attack == UNATTACKED else [f"{self.strength:g}"]
        return " / ".join([model, self.place.scheme, *bits, " ".join([self.place.attack, *strength])])

    def mean(self, measure: Measure) -> float:
        """Return the mean over the seeds."""
        return rounded(fmean(self.values[measure].values()))

    def interval(self, measure: Measure) -> tuple[float, float] | None:
        """Return the 95 % interval that the leaderboard has of it, or None where one seed says nothing of spread.

        Of messages it is Clopper and Pearson's, else that of seeds drawn again (`bench.leaderboard.bootstrap`).
        """
        values = list(self.values[measure].values())
        if measure == EXACT:
            low, high = rate_interval(round(sum(values)), len(values))
            return rounded(low), rounded(high)
        if len(values) < 2:
            return None
        draws = mean_of(np.array([values]), _draws(len(values)))[:, 0]
        found = estimate(fmean(values), draws)
        return None if found is None else (rounded(found.low), rounded(found.high))


@cache
def _draws(seeds: int) -> Floats:
    return redraw([("one model", seed) for seed in range(seeds)])


def rounded(value: float) -> float:
    """Return a derived value with the digits that every processor agrees on; no negative zero."""
    return float(f"{value:.{_DIGITS}g}") + 0.0


def lines_of(records: Iterable[Record]) -> list[Line]:
    """Return the lines of ok records in order: attacked, marked and, of trained models, unmarked ones."""
    found: dict[_Key, dict[int, _Values]] = {}
    first: dict[_Key, TrainedResult | UntrainedResult] = {}
    for record in sorted(records, key=lambda record: (record.key.seed, record.identity)):
        if isinstance(record, TrainedResult | UntrainedResult):
            for place, strength, values in _readings(record):
                key = place, strength, _weights(record)
                found.setdefault(key, {})[record.key.seed] = values
                first.setdefault(key, record)
    return [Line(*key, _by_measure(list(seeds.items())), first[key]) for key, seeds in sorted(found.items())]


def _weights(record: TrainedResult | UntrainedResult) -> str:
    return record.key.weights if isinstance(record, UntrainedResult) else ""


def _by_measure(seeds: Sequence[tuple[int, _Values]]) -> dict[Measure, dict[int, float]]:
    by = {measure: {seed: own[measure] for seed, own in seeds if measure in own} for measure in MEASURES}
    return {measure: values for measure, values in by.items() if values}


def _readings(record: TrainedResult | UntrainedResult) -> Iterator[tuple[Place, float, _Values]]:
    key = record.key
    for row in record.rows:
        yield Place(*key.curve), row.strength, _measured(row) | {SECONDS: _attack_seconds(row)}
    embedding = {SECONDS: record.timing.embed_ms / 1000}
    yield Place(*key.curve[:3], UNATTACKED), 0.0, _measured(record.marked) | embedding
    if isinstance(record, TrainedResult):
        yield Place(key.model, UNMARKED, 0, UNATTACKED), 0.0, _measured(record.host)


def _attack_seconds(row: Row | UntrainedRow) -> float:
    return row.timing.attack_s if isinstance(row, Row) else sum(row.timing.values())


def _measured(part: Row | UntrainedRow | MarkedResult | MarkedFound | HostResult) -> _Values:
    read = {EXACT: float(part.recovered), EVIDENCE: part.log10_p} if isinstance(part, Found) else {}
    return read | ({ACCURACY: part.accuracy.percent} if isinstance(part, Row | MarkedResult | HostResult) else {})
