"""Capacity: the largest payload that is recovered in every run, by scheme and strength of pruning."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.leaderboard.points import Point, mean_known

ABOUT_CAPACITY = (
    "The largest payload in bits that was recovered in every run (models x seeds; a host that refused it counts "
    'as lost) at each strength, with the mean energy of its marks; "-": none did.'
)

_CHANNELS = ("magnitude", "random")  # pruning of single weights, all layers ranked together


@dataclass(frozen=True)
class Capacity:
    """What one scheme carried through one attack at one strength.

    Attributes:
        scheme, attack: labels.
        strength: of the attack.
        payload: bits, the largest that was recovered in every run (models x seeds); 0 if none did.
        energy: mean of the marks of that payload; None if none came back or they have no pool.
    """

    scheme: str
    attack: str
    strength: float
    payload: int
    energy: float | None


def several_payloads(points: Iterable[Point]) -> bool:
    """Say whether there is more than one payload to compare."""
    return len({point.payload for point in points}) > 1


def capacities(points: Sequence[Point]) -> list[Capacity]:
    """Return the capacities under global magnitude and random pruning, by attack, scheme, strength.

    A payload counts where it came back in as many runs as any scheme and payload had at that strength: a host
    that refused it, or a cell that failed, counts as lost.
    """
    groups: dict[tuple[str, float], list[Point]] = {}
    for point in filter(_is_channel, points):
        groups.setdefault((point.attack, point.strength), []).append(point)
    found = [capacity for own in groups.values() for capacity in _at_strength(own)]
    return sorted(found, key=lambda c: (c.attack, c.scheme, c.strength))


def _is_channel(point: Point) -> bool:
    attack = point.runs[0].record.recipe.attack  # its own parameters, by their names
    return attack["name"] in _CHANNELS and attack["ranking"] == "global"


def _at_strength(points: Sequence[Point]) -> list[Capacity]:
    by_mark: dict[tuple[str, int], list[Point]] = {}
    for point in points:
        by_mark.setdefault((point.scheme, point.payload), []).append(point)
    runs = {mark: sum(len(p.runs) for p in own) for mark, own in by_mark.items()}
    whole = {mark: sum(p.exact[0] for p in own) == max(runs.values()) for mark, own in by_mark.items()}
    found = []
    for scheme in sorted({scheme for scheme, _ in by_mark}):
        payload = max((bits for (name, bits), good in whole.items() if name == scheme and good), default=0)
        runs_of = [run for point in by_mark.get((scheme, payload), ()) for run in point.runs]
        energy = mean_known(run.record.marked.energy for run in runs_of)
        found.append(Capacity(scheme, points[0].attack, points[0].strength, payload, energy))
    return found


def capacity_tables(points: Sequence[Point]) -> dict[str, tuple[list[str], list[list[object]]]]:
    """Return for each attack a table (headers, rows): a line a scheme, a column a strength."""
    found = capacities(points)
    tables = {}
    for attack in sorted({c.attack for c in found}):
        own = {(c.scheme, c.strength): c for c in found if c.attack == attack}
        strengths = sorted({strength for _, strength in own})
        rows: list[list[object]] = [
            [scheme, *(_cell(own.get((scheme, strength))) for strength in strengths)]
            for scheme in sorted({scheme for scheme, _ in own})
        ]
        tables[attack] = (["scheme", *(f"{strength:g}" for strength in strengths)], rows)
    return tables


def _cell(capacity: Capacity | None) -> str:
    if capacity is None:
        return ""
    if not capacity.payload:
        return "-"
    return f"{capacity.payload}" + ("" if capacity.energy is None else f" ({capacity.energy:.1e})")
