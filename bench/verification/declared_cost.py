"""What a recipe asks for, by its own numbers: a stranger's cell that asks for too much work is not run again."""

from collections.abc import Iterator, Mapping
from typing import Any

from bench.attacks import ATTACKS
from bench.records.schema import RecipePart

#: the largest numbers that are run again; the largest of the suites here are 176, 4, 500 and 1,024
PARAMETER, COUNT, SCHEME_PARAMETER, PAYLOAD = 10_000, 1_000, 10_000_000, 1_000_000
STRENGTHS = 200  # of one attack
_COUNTED = "number of"  # leads what a strength means, where the work grows with it


def excess(made: RecipePart) -> str | None:
    """Return which number of a recipe asks for more work than is done for a stranger; None if none does.

    Bounds are wide: they keep out what could never end, and a limit of time keeps out the rest.
    """
    limits = [
        ("payload", [made.payload], PAYLOAD),
        ("attack", _numbers(made.attack), PARAMETER),
        ("scheme", _numbers(made.scheme.parameters), SCHEME_PARAMETER),
        ("strengths", [len(made.strengths)], STRENGTHS),
        ("strengths", made.strengths if _counts(made.attack) else [], COUNT),
    ]
    for where, numbers, limit in limits:
        if (largest := max(map(abs, numbers), default=0)) > limit:
            return f"their {where} asks for {largest:g}, above the {limit:,} that is run for strangers"
    return None


def _counts(value: Any) -> bool:  # noqa: ANN401 (JSON)
    """Say whether the strength of an attack, or of one that it is made of, counts things to be made."""
    if not isinstance(value, Mapping):
        return False
    attack = ATTACKS.get(str(value.get("name")))
    own = attack is not None and attack.strength.startswith(_COUNTED)
    return own or any(map(_counts, value.values()))


def _numbers(value: Any) -> Iterator[float]:  # noqa: ANN401 (JSON)
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _numbers(inner)
    elif isinstance(value, int | float):
        yield min(value, 1e300) if value > 0 else max(value, -1e300)  # JSON has integers beyond all floats
