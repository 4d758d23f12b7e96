"""Chooses the strengths of an attack by what they cost: points of accuracy lost on an unmarked model."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import nn

from bench.attacks import Attack, AttackContext
from bench.attacks.overwriting import Overwriting
from bench.attacks.training import NewHead
from bench.metrics.accuracy import accuracy
from cwwm.support.errors import BadInput

#: strength: percentage points of accuracy lost, negative if it gained; None where the attack refused
Losses = Mapping[float, float | None]

_DIGITS = 6  # decimals of a loss: what is written is exactly what the choice was made from


def chosen(tried: Losses, lost: Sequence[float]) -> dict[float, float | None]:
    """Return for each level the hardest candidate that loses at most so many points, None if none does.

    The hardest is the last in the order of `tried`, whatever milder ones lost: repair makes losses noisy, and
    an attacker takes the hardest attack that is affordable.

    Args:
        tried: the candidates from the mildest to the hardest, with their losses.
        lost: levels, in percentage points.
    """
    return {level: _hardest(tried, level) for level in lost}


def _hardest(tried: Losses, level: float) -> float | None:
    affordable = [strength for strength, points in tried.items() if points is not None and points <= level]
    return affordable[-1] if affordable else None


def strengths_to_run(candidates: Sequence[float], levels: Mapping[float, float | None]) -> tuple[float, ...]:
    """Return the chosen candidates once each, in their order; the mildest if no level was reached."""
    wanted = set(levels.values())
    return tuple(strength for strength in candidates if strength in wanted) or (candidates[0],)


def points_lost(
    attack: Attack, strengths: Sequence[float], control: nn.Module, context: AttackContext
) -> Iterator[tuple[float, float]]:
    """Yield each strength with what it loses of an unmarked model, from one curve.

    Args:
        attack: one that `check_comparable` lets pass.
        strengths: candidates, from the mildest to the hardest.
        control: the unmarked model, on the device; left as it is.
        context: of the attacker; its validation split gives the accuracies, and its scheme is None: there is no
            mark.

    Yields:
        (strength, accuracy before minus accuracy after, in percentage points).

    Raises:
        BadInput: if the attack cannot be compared so, or refuses the model or a strength, or without validation
            images.
    """
    check_comparable(attack)
    validation = context.data.to_choose_on()
    before = accuracy(control, validation)
    for item in attack.curve([control], strengths, context):
        after = accuracy(item.model, validation)
        yield item.strength, round(100.0 * (before.correct - after.correct) / before.total, _DIGITS)


def try_strengths(
    attack: Attack,
    strengths: Sequence[float],
    control: nn.Module,
    context: AttackContext,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[dict[float, float | None], str]:
    """Return the losses of all candidates, and the reason if the attack refused the model or one of them.

    A refused candidate, and those after it on the same curve, have no loss. `say` is told each loss.
    """
    tried: dict[float, float | None] = dict.fromkeys(strengths)
    try:
        for strength, points in points_lost(attack, strengths, control, context):
            tried[strength] = points
            say(f"{attack.label} {strength:g}: {points:.2f} points lost")
    except BadInput as error:
        return tried, str(error)
    return tried, ""


def check_comparable(attack: Attack) -> None:
    """Raise BadInput for an attack that says nothing on one unmarked model, whole or in part."""
    for part in attack.parts:
        if (copies := part.copies_needed()) > 1:
            raise BadInput(f"{part.name} needs {copies} marked copies, so it cannot be tried on one control")
        if isinstance(part, Overwriting):
            raise BadInput(f"{part.name} needs the scheme of a mark, so it cannot be tried on an unmarked control")
        if isinstance(part, NewHead):
            raise BadInput(f"{part.name} changes the task, so no accuracy is lost that could be compared")
