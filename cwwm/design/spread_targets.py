"""What a spread mark is asked to survive, by name and strength, and the least gain that meets each, by law."""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cwwm.design.standing import SURE, Code, Stand, recovery
from cwwm.residual.law import CHANNELS, Change, Pattern, blind, drift, low_rank
from cwwm.support.errors import BadInput, unknown_name

LEAST_GAIN, MOST_GAIN = 1e-4, 0.1
_HALVINGS = 24  # of the logarithm of a gain
_STEPS = 1000  # in which a strength that is near is looked for
_MOST_BITS = 16
_MOST_COPIES = 10_000


@dataclass(frozen=True)
class _Kind:
    """A kind of target.

    Attributes:
        change: at a strength. takes: whether a strength makes sense. range: in words.
        easier: strengths below one, each easier than the one before.
    """

    change: Callable[[float], Change]
    takes: Callable[[float], bool]
    range: str
    easier: Callable[[float], Sequence[float]]


def _lower(strength: float) -> Sequence[float]:
    return [float(f"{strength * step / _STEPS:.3g}") for step in range(_STEPS - 1, -1, -1)]


def _share(change: Callable[[float], Change]) -> _Kind:
    return _Kind(change, lambda share: 0 <= share < 1, "a share of at least 0 and below 1", _lower)


def _size(change: Callable[[float], Change]) -> _Kind:
    return _Kind(change, lambda size: 0 <= size < math.inf, "finite and at least 0", _lower)


def _whole(change: Callable[[float], Change], least: int, most: int, *, up: bool) -> _Kind:
    def easier(strength: float) -> Sequence[float]:
        return range(int(strength) + 1, most + 1) if up else range(int(strength) - 1, least - 1, -1)

    def takes(strength: float) -> bool:
        return strength in range(least, most + 1)

    return _Kind(change, takes, f"a whole number from {least:,} to {most:,}", easier)


KINDS: Mapping[str, _Kind] = {
    "magnitude": _share(CHANNELS["magnitude"]),
    "random": _share(CHANNELS["random"]),
    "noise": _size(CHANNELS["noise"]),
    "quantise": _whole(CHANNELS["quantise"], 2, _MOST_BITS, up=True),
    "average": _whole(CHANNELS["average"], 1, _MOST_COPIES, up=False),
    "drift": _size(drift),
    "low-rank": _share(low_rank),
    "blind": _Kind(lambda _: blind, lambda strength: strength == 1, "1: without the original", lambda _: ()),
}


@dataclass(frozen=True)
class Target:
    """A change that a mark shall survive.

    Attributes:
        kind: of `KINDS`.
        strength: magnitude, random: the share of weights pruned; noise: its deviation in root mean squares of the
            pool; quantise: bits; average: copies; drift: the share of each layer's norm by which training on moves
            it; low-rank: the share of singular values dropped; blind: 1.
    """

    kind: str
    strength: float

    def __post_init__(self) -> None:
        """Refuse unknown kinds, and strengths that a kind does not have."""
        if self.kind not in KINDS:
            raise unknown_name("target", self.kind, KINDS, "--survive")
        if not KINDS[self.kind].takes(self.strength):
            raise BadInput(f"the target {self.kind} is {KINDS[self.kind].range}, not {self.strength:g}")

    def __str__(self) -> str:
        """Return the target as it is written."""
        return f"{self.kind}={self.strength:g}"

    @property
    def change(self) -> Change:
        """Return the change that it is."""
        return KINDS[self.kind].change(self.strength)


@dataclass(frozen=True)
class TargetStand(Stand):
    """What is left of a mark after a target.

    Attributes:
        least_gain: at which the message is recovered; None if a gain was given.
    """

    least_gain: float | None


def parse_targets(text: str) -> tuple[Target, ...]:
    """Read ``drift=0.2,low-rank=0.5``; a bare number is the rate of magnitude pruning.

    Raises:
        BadInput: for unknown names, with the nearest ones, strengths that are none, and no target at all.
    """
    parts = [part for part in map(str.strip, text.split(",")) if part]
    if not parts:
        raise BadInput("--survive names no target; it takes some as drift=0.2,low-rank=0.5; see cwwm plan --help")
    return tuple(dict.fromkeys(map(_parsed, parts)))


def _parsed(part: str) -> Target:
    name, equals, number = part.partition("=")
    name, number = (name.strip(), number) if equals else ("magnitude", name)
    if name not in KINDS:
        raise unknown_name("target", name, KINDS, "--survive")
    try:
        return Target(name, float(number))
    except ValueError as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"--survive: '{number}' in '{part}' is no number") from None


def least_gains(unit: Pattern, code: Code, targets: Sequence[Target], where: str) -> list[float]:
    """Return for each target by itself the least gain, in four digits, at which the message is recovered.

    Args:
        unit: the pattern at a gain of 1. code: of the message.
        where: what carries which message, in words.

    Raises:
        BadInput: if no gain up to `MOST_GAIN` meets a target; it names the nearest strength that one does.
    """
    found = {target: _least_gain(unit, code, target.change) for target in targets}
    unmet = [f"{target}: {_nearest(unit, code, target)}" for target, gain in found.items() if gain is None]
    if unmet:
        raise BadInput(f"{where} meet no such target at any gain up to {MOST_GAIN:g}: {'; '.join(unmet)}")
    return [gain for gain in found.values() if gain is not None]


def _meets(unit: Pattern, code: Code, change: Change, gain: float) -> bool:
    return recovery(code, unit.times(gain).after(change)) >= SURE


def _least_gain(unit: Pattern, code: Code, change: Change) -> float | None:
    """Bisect on the logarithm of the gain, with which SNR2 grows."""
    low, high = math.log(LEAST_GAIN), math.log(MOST_GAIN)
    if not _meets(unit, code, change, MOST_GAIN):
        return None
    if _meets(unit, code, change, LEAST_GAIN):
        return LEAST_GAIN
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _meets(unit, code, change, math.exp(middle)) else (middle, high)
    return min(MOST_GAIN, _rounded_up(math.exp(high)))


def _rounded_up(gain: float) -> float:
    """Return the next number of four digits, so that a gain is met as it is printed."""
    digit = 10.0 ** (math.floor(math.log10(gain)) - 3)
    return float(f"{math.ceil(gain / digit) * digit:.4g}")


def _nearest(unit: Pattern, code: Code, target: Target) -> str:
    """Return the hardest strength below a target's that the largest gain meets, in words."""
    kind = KINDS[target.kind]
    easier = kind.easier(target.strength)
    index = bisect_left(easier, True, key=lambda value: _meets(unit, code, kind.change(value), MOST_GAIN))
    if index == len(easier):
        return "nothing near; take a larger carrier or a shorter payload"
    return f"nearest is {Target(target.kind, easier[index])}"
