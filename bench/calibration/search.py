"""Finds the strength at which a mark costs a given energy, or else no accuracy, in a handful of trainings."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.suite import Tune
from cwwm.support.errors import BadInput

TRAININGS = 5  # a search marks at most so many models
NEAR = 0.10  # and stops at an energy within this share of the budget
LOST = 0.5  # accuracy points that a mark matched on accuracy may cost
_SQUARED = 2.0  # energy grows with the square of an amplitude: supposed until there is a bracket
_MARGIN = 0.1  # share of a bracket, in logarithms, that a secant keeps off its ends


@dataclass(frozen=True)
class Trial:
    """One marked model at one strength.

    Attributes:
        strength: that it was marked with.
        energy: squared change over squared norm of the pool; inf if it diverged, None if the mark has no pool.
        noise_floor: the same between two unmarked trainings, None if the mark has no pool.
        lost: accuracy points below the unmarked control; negative if it gained.
        recovered: whether the message is recovered.
    """

    strength: float
    energy: float | None
    noise_floor: float | None
    lost: float
    recovered: bool

    @property
    def spent(self) -> float:
        """Return the energy, inf where there is none to compare."""
        return math.inf if self.energy is None else self.energy


Measure = Callable[[float], Trial]


@dataclass(frozen=True)
class Found:
    """The outcome of a search.

    Attributes:
        trial: the one chosen; None if the scheme refused.
        by: "energy", "accuracy" or "refused".
        target: the energy aimed at, None if there was none.
        trainings: models marked.
        reason: of a refusal, else empty.
    """

    trial: Trial | None
    by: str
    target: float | None = None
    trainings: int = 0
    reason: str = ""

    @property
    def strength(self) -> float | None:
        """Return the strength to fix, None where the scheme refused."""
        return self.trial.strength if self.trial else None

    def facts(self) -> dict[str, Any]:
        """Return what the calibration file tells its reader, to four digits."""
        if self.trial is None:
            return {"by": self.by, "reason": self.reason}
        return {
            "by": self.by,
            "target": _rounded(self.target),
            "energy": _rounded(self.trial.energy),
            "noise_floor": _rounded(self.trial.noise_floor),
            "lost": _rounded(self.trial.lost),
            "whole": self.trial.recovered,
            "trainings": self.trainings,
        }


def search(measure: Measure, tune: Tune, budget: float | None) -> Found:
    """Return the strength whose energy comes to the budget, or else the largest that costs no accuracy.

    Energy is taken to grow with strength: one step by a square law, then the end of the range, then secants in
    log-log. A strength at which training diverges, or that is refused above one that was taken, is too strong.

    Args:
        measure: marks and measures one model; raises BadInput if the scheme refuses, FloatingPointError if it
            diverges.
        tune: the range searched.
        budget: the energy to come to; None takes the noise floor that the first trial reports.

    Raises:
        BadInput: if the scheme refuses, or diverges at all strengths tried.
    """
    trials: list[Trial] = []
    strength: float | None = _digits(math.sqrt(tune.low * tune.high), tune)
    target = budget or 0.0  # 0: not known yet
    while strength is not None and len(trials) < TRAININGS:
        trial = _attempt(measure, strength, trials)
        trials.append(trial)
        target = target or trial.noise_floor or 0.0
        if trial.energy is None or (target == 0 and math.isfinite(trial.lost)):
            return _by_accuracy(measure, tune, trials, None)
        strength = _towards(target, trials, tune)
    trained = _trained(trials)
    best = min(trained, key=lambda trial: _distance(trial, target))
    strongest = max(trials, key=lambda trial: trial.strength)
    if strongest.strength == tune.high and strongest.spent < target and _distance(best, target) > NEAR:
        return _by_accuracy(measure, tune, trials, target)
    return Found(best, "energy", target, len(trials))


def _attempt(measure: Measure, strength: float, trials: Sequence[Trial]) -> Trial:
    try:
        return measure(strength)
    except FloatingPointError:
        pass
    except BadInput:
        if not any(trial.strength < strength and math.isfinite(trial.lost) for trial in trials):
            raise
    return Trial(strength, math.inf, None, math.inf, recovered=False)


def _trained(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that trained; BadInput if there is none."""
    trained = [trial for trial in trials if math.isfinite(trial.lost)]
    if not trained:
        raise BadInput(f"it diverges at every strength tried, down to {min(t.strength for t in trials):g}")
    return trained


def _towards(target: float, trials: Sequence[Trial], tune: Tune) -> float | None:
    """Return the strength to try next, or None if the search is over."""
    if any(_distance(trial, target) <= NEAR for trial in trials):
        return None
    above = min((t for t in trials if t.spent >= target), key=lambda t: t.strength, default=None)
    weaker = [t for t in trials if above is None or t.strength < above.strength]
    below = max(weaker, key=lambda t: t.strength, default=None)
    if below and above:
        strength = _secant(below, above, target)
    elif above:
        strength = _outwards(above, tune.low, target, len(trials))
    elif below:
        strength = _outwards(below, tune.high, target, len(trials))
    strength = _digits(strength, tune)
    return None if any(trial.strength == strength for trial in trials) else strength


def _secant(below: Trial, above: Trial, target: float) -> float:
    """Return the strength at which the line through two trials, in log-log, meets the target."""
    share = 0.5
    if below.spent > 0 and math.isfinite(above.spent):
        share = math.log(target / below.spent) / math.log(above.spent / below.spent)
    share = min(max(share, _MARGIN), 1 - _MARGIN)
    return float(below.strength ** (1 - share) * above.strength**share)


def _outwards(trial: Trial, end: float, target: float, trials: int) -> float:
    """Return a strength beyond all trials: by the square law once, then the end of the range."""
    if trials > 1:
        return end
    if not 0 < trial.spent < math.inf:
        return math.sqrt(trial.strength * end)
    return float(trial.strength * (target / trial.spent) ** (1 / _SQUARED))


def _by_accuracy(measure: Measure, tune: Tune, trials: list[Trial], target: float | None) -> Found:
    """Return the largest strength tried that costs at most `LOST` points, searched downwards from the highest."""
    strength: float | None = tune.high
    while strength is not None and len(trials) < TRAININGS:
        if all(trial.strength != strength for trial in trials):
            trials.append(_attempt(measure, strength, trials))
        strength = _harmless(trials, tune)
    trained = _trained(trials)
    good = [trial for trial in trained if trial.lost <= LOST]
    chosen = max(good, key=lambda t: t.strength) if good else min(trained, key=lambda t: t.strength)
    return Found(chosen, "accuracy", target, len(trials))


def _harmless(trials: Sequence[Trial], tune: Tune) -> float | None:
    """Return the strength to try next: halfway, in logarithms, from the largest harmless to the next harmful."""
    good = max((t.strength for t in trials if t.lost <= LOST), default=tune.low)
    bad = min((t.strength for t in trials if t.lost > LOST and t.strength > good), default=None)
    if bad is None or bad <= good * (1 + NEAR):
        return None
    return _digits(math.sqrt(good * bad), tune)


def _distance(trial: Trial, target: float) -> float:
    """Return how far an energy is from the target, as a share of it; above and below count alike."""
    if not 0 < trial.spent < math.inf or target <= 0:
        return math.inf
    return max(trial.spent / target, target / trial.spent) - 1


def _digits(strength: float, tune: Tune) -> float:
    """Return a strength to four digits, in the range: what is written is exactly what was tried."""
    return min(max(float(f"{strength:.4g}"), tune.low), tune.high)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
