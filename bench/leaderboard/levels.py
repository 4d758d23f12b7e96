"""Attacks at equal cost: points of accuracy lost on the unmarked model in place of each attack's own strengths."""

from collections.abc import Sequence
from dataclasses import replace

from bench.leaderboard.points import Point, by_scheme
from bench.records.store import Levels

ABOUT_LEVELS = (
    "Share of messages recovered, percent, over models and seeds, after each attack at the hardest "
    "strength that cost an unmarked model at most {levels} points of accuracy; what the marked ones lost is in the "
    'tables above. "-": even the mildest strength cost more.'
)


def at_levels(points: Sequence[Point], levels: Levels) -> list[Point]:
    """Return the points of attacks that were run at levels, with the level as their strength.

    A strength that was chosen for several levels gives a point at each.
    """
    return [
        replace(point, strength=level)
        for point in points
        for level, strength in levels.get((point.attack, point.model), {}).items()
        if strength == point.strength
    ]


def levels_table(points: Sequence[Point], levels: Levels) -> tuple[list[str], list[list[object]]]:
    """Return the share of recovered messages of each scheme at each attack and level."""
    groups = by_scheme(at_levels(points, levels))
    attacks = sorted({attack for attack, _ in levels})
    asked = levels_asked(levels)
    rows: list[list[object]] = [
        [*entry, *(_shares(own, attack, asked) for attack in attacks)] for entry, own in sorted(groups.items())
    ]
    return ["scheme", "bits", *attacks], rows


def levels_asked(levels: Levels) -> list[float]:
    """Return all levels, in order."""
    return sorted({level for chosen in levels.values() for level in chosen})


def _shares(points: Sequence[Point], attack: str, levels: Sequence[float]) -> str:
    return " ".join(_share([p for p in points if (p.attack, p.strength) == (attack, level)]) for level in levels)


def _share(points: Sequence[Point]) -> str:
    hits, total = (sum(point.exact[i] for point in points) for i in (0, 1))
    return f"{100 * hits / total:.0f}" if total else "-"
