"""Finds the strengths of an attack that cost so many points, by halving between its mildest and its hardest value.

The loss is supposed to grow with the strength. Where it does not, for repair makes it uneven, each halving still
looks between the last strength found that costs at most so much and the next harder one that costs more, so that a
border is found, and never a strength that costs too much.
"""

import math
from collections.abc import Callable, Sequence

from bench.attacks import Attack
from bench.calibration.attack_levels import Losses, chosen
from cwwm.support.errors import BadInput

EVALUATIONS = 8  # at most, of a level: both ends, which all levels share, and halvings
NEAR = 0.1  # share of a level by which a loss may stay below it and is near enough
_FAR = 10.0  # a bracket whose ends are further apart than this factor is halved in logarithms


def middle(attack: Attack, low: float, high: float) -> float | None:
    """Return the strength halfway between two others, to four digits; None if the attack takes none there.

    It is the geometric mean of positive strengths that are far apart, else the arithmetic one, and a whole number
    where the attack takes no other.
    """
    least, largest = sorted((low, high))
    far = least > 0 and largest > _FAR * least
    exact = float(f"{math.sqrt(least * largest) if far else (least + largest) / 2:.4g}")
    tries = (exact, float(round(exact)))
    return next((s for s in tries if least < s < largest and takes(attack, s)), None)


def takes(attack: Attack, strength: float) -> bool:
    """Say whether an attack takes a strength on some model."""
    try:
        attack.check_strength(strength)
    except BadInput:
        return False
    return True


def bisected(
    attack: Attack, between: tuple[float, float], lost: Sequence[float], measure: Callable[[float], float | None]
) -> dict[float, float | None]:
    """Return what was tried, from the mildest to the hardest, and what it lost; `chosen` takes from these.

    Args:
        attack: says which strengths it takes.
        between: the mildest and the hardest strength.
        lost: levels, in percentage points.
        measure: gives the points that a strength loses; None where the attack refuses it, which counts as too much.
    """
    tried = {strength: measure(strength) for strength in between}
    for level in sorted(lost):
        for _ in range(EVALUATIONS - len(between)):
            if (strength := _halfway(attack, tried, level)) is None:
                break
            tried[strength] = measure(strength)
            tried = {s: tried[s] for s in sorted(tried, reverse=between[0] > between[1])}
    return tried


def _halfway(attack: Attack, tried: Losses, level: float) -> float | None:
    """Return the strength to try next for a level; None if it is found, or out of the range."""
    found, order = chosen(tried, [level])[level], list(tried)
    if found is None or found == order[-1] or is_near(tried[found], level):
        return None
    return middle(attack, found, order[order.index(found) + 1])


def is_near(points: float | None, level: float) -> bool:
    """Say whether a loss that is within a level is as good as that; nothing is near no loss at all."""
    return points is not None and 0 < level * (1 - NEAR) <= points
