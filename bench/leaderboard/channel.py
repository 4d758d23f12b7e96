"""Recovered bits a weight beside the capacity of the channel that an attack is by its law."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.leaderboard.points import Point, RunRow, mean_known
from bench.leaderboard.table_text import Table
from bench.metrics.channel_capacity import binary_noise, erasure
from bench.records.schema import MarkedResult

ABOUT_CHANNEL = (
    "Bits of the largest payload that came back in every run, for each weight that carries it, and after the "
    "slash the capacity of the channel for such a weight: random pruning erases (1 - p), noise adds to two "
    "levels (binary input, Gaussian noise) at the mark's energy, all of it in the weights that carry. No code "
    "can do better on that channel. Magnitude pruning is no such channel: whoever lifts the weights above what "
    'is pruned loses none of them, see the law above. "-": no payload came back in every run.'
)
_CHANNELS = ("random", "noise")


@dataclass(frozen=True)
class Throughput:
    """What a scheme carried through a channel, and what could be, in bits a weight.

    Attributes:
        scheme, attack, strength: where.
        recovered: payload over weights that carry it; 0 if no payload came back in every run.
        capacity: of the channel; None if the mark's energy is unknown.
    """

    scheme: str
    attack: str
    strength: float
    recovered: float
    capacity: float | None

    def __str__(self) -> str:
        limit = "?" if self.capacity is None else f"{self.capacity:.2g}"
        return f"{self.recovered:.2g} / {limit}" if self.recovered else "-"


def throughputs(points: Sequence[Point]) -> list[Throughput]:
    """Return what schemes carried through random pruning and noise, by attack, scheme and strength.

    Schemes whose marks do not say which weights carry them are left out.
    """
    groups: dict[tuple[str, str, float], list[Point]] = {}
    for point in points:
        if point.runs[0].record.recipe.attack["name"] in _CHANNELS:
            groups.setdefault((point.attack, point.scheme, point.strength), []).append(point)
    found = [_throughput(own) for _, own in sorted(groups.items(), key=lambda item: item[0])]
    return [one for one in found if one is not None]


def _throughput(points: Sequence[Point]) -> Throughput | None:
    by_payload: dict[int, list[RunRow]] = {}
    for point in points:
        by_payload.setdefault(point.payload, []).extend(point.runs)
    whole = [bits for bits, rows in by_payload.items() if all(row.row.recovered for row in rows)]
    payload = max(whole, default=max(by_payload))
    rows = by_payload[payload]
    touched = mean_known(_carrying(row.record.marked) for row in rows)
    if not touched:
        return None
    first = points[0]
    capacity = mean_known(map(_capacity, rows))
    return Throughput(first.scheme, first.attack, first.strength, payload / touched if whole else 0.0, capacity)


def _carrying(marked: MarkedResult) -> float | None:
    return marked.report.touched or None


def _capacity(row: RunRow) -> float | None:
    """Return the capacity of the channel of one row; of noise, at the mark's energy over the noise's."""
    if row.record.recipe.attack["name"] == "random":
        return erasure(min(1.0, row.row.strength))
    report, energy, change = row.record.marked.report, row.record.marked.energy, row.row.achieved.change
    if not (report.touched and report.pool and energy and change):
        return None
    return binary_noise(energy / change * report.pool / report.touched)


def channel_tables(points: Sequence[Point]) -> dict[str, Table]:
    """Return a table for each channel: a line a scheme, a column a strength."""
    found = throughputs(points)
    return {attack: _table([t for t in found if t.attack == attack]) for attack in _unique(t.attack for t in found)}


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _table(found: Sequence[Throughput]) -> Table:
    strengths = sorted({t.strength for t in found})
    at = {(t.scheme, t.strength): str(t) for t in found}
    rows: list[list[object]] = [
        [scheme, *(at.get((scheme, strength), "") for strength in strengths)]
        for scheme in _unique(t.scheme for t in found)
    ]
    return ["scheme", *(f"{strength:g}" for strength in strengths)], rows
