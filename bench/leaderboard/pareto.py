"""The attacker's trade: what evidence each attack leaves for the accuracy it costs, and which are worth making."""

from collections.abc import Sequence

from bench.leaderboard.points import Point, by_scheme


def frontier(points: Sequence[Point]) -> list[Point]:
    """Return the attacks no other of which leaves as little evidence for as few points, cheapest first.

    Args:
        points: of one scheme and payload; those that put the model to a new task have no price and are left out.
    """
    priced = [(lost, point.evidence, point) for point in points if (lost := point.lost) is not None]
    found: list[Point] = []
    for _, evidence, point in sorted(priced, key=lambda p: (p[0], -p[1])):
        if not found or evidence > found[-1].evidence:
            found.append(point)
    return found


def frontiers(points: Sequence[Point]) -> list[Point]:
    """Return the frontiers of all schemes and payloads."""
    return [point for own in by_scheme(points).values() for point in frontier(own)]
