"""Finds the strength at which a mark changes a host by so much, or else costs no accuracy, in a few trainings.

What it changes is energy, or the share of its answers (`bench.calibration.terms`). Energy grows with strength from
the start, so the strength is looked for whose energy is nearest to the budget. Answers change by the noise of
training alone, whatever the strength, until a mark is strong: the largest strength within the budget is looked for.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.suite import Tune
from bench.suite.calibration_file import Equal
from cwwm.support.errors import BadInput

TRAININGS = 5  # a search marks at most so many models
NEAR = 0.10  # and stops at an energy within this share of the budget
SPREAD = 0.25  # share by which changed answers may exceed theirs: at one strength, trainings differ by 10 to 20 %
LOST = 0.5  # accuracy points that a mark matched on accuracy may cost
_SQUARED = 2.0  # energy grows with the square of an amplitude: supposed until there is a bracket
_MARGIN = 0.1  # share of a bracket, in logarithms, that a secant keeps off its ends


@dataclass(frozen=True)
class Trial:
    """One marked model at one strength.

    Attributes:
        strength: that it was marked with.
        change: of the host, in the quantity of the suite's equal terms; inf if it diverged, None if the mark has no
            pool.
        floor: the same between two unmarked trainings, None if the mark has no pool.
        lost: accuracy points below the unmarked control; negative if it gained; inf if it was too strong to be
            trained, -inf if it was refused below a strength that was not.
        recovered: whether the message is recovered.
    """

    strength: float
    change: float | None
    floor: float | None
    lost: float
    recovered: bool

    @property
    def spent(self) -> float:
        """Return the change, inf where there is none to compare."""
        return math.inf if self.change is None else self.change


Measure = Callable[[float], Trial]
Good = Callable[[Trial], bool]
_SLACK: Mapping[Equal, float] = {"energy": NEAR, "answers": SPREAD}
_FACTS: Mapping[Equal, tuple[str, str]] = {
    "energy": ("energy", "noise_floor"),
    "answers": ("answers_changed", "answers_floor"),
}


@dataclass(frozen=True)
class Found:
    """The outcome of a search.

    Attributes:
        trial: the one chosen; None if the scheme refused.
        by: "energy" or "answers", what was met; "accuracy" or "refused".
        equal: the suite's equal terms, whose quantity the changes are.
        target: the change aimed at, None if there was none.
        trainings: models marked.
        reason: of a refusal, else empty.
    """

    trial: Trial | None
    by: str
    equal: Equal = "energy"
    target: float | None = None
    trainings: int = 0
    reason: str = ""

    @property
    def strength(self) -> float | None:
        """Return the strength to fix, None where the scheme refused."""
        return self.trial.strength if self.trial else None

    @property
    def keeps_target(self) -> bool:
        """Say whether the change is within the target, and what it may exceed it by; so it is without a target."""
        if self.trial is None or self.target is None:
            return self.trial is not None
        return self.trial.spent <= self.target * (1 + _SLACK[self.equal])

    def facts(self) -> dict[str, Any]:
        """Return what the calibration file tells its reader, to four digits."""
        if self.trial is None:
            return {"by": self.by, "reason": self.reason}
        change, floor = _FACTS[self.equal]
        return {
            "by": self.by,
            "target": _rounded(self.target),
            change: _rounded(self.trial.change),
            floor: _rounded(self.trial.floor),
            "lost": _rounded(self.trial.lost),
            "whole": self.trial.recovered,
            "trainings": self.trainings,
        }


def search(measure: Measure, tune: Tune, budget: float | None, equal: Equal = "energy") -> Found:
    """Return the strength whose change comes to the budget, or else the largest that costs no accuracy.

    Energy is taken to grow with strength: one step by a square law, then the end of the range, then secants in
    log-log. Of answers, the largest strength that changes no more than the budget and its `SPREAD` is looked for,
    by halving in logarithms. A strength at which training diverges, or that is refused above one that was taken, is
    too strong; one that is refused below it is too weak.

    Args:
        measure: marks and measures one model; raises BadInput if the scheme refuses, FloatingPointError if it
            diverges.
        tune: the range searched.
        budget: the change to come to; None takes the noise floor that the first trial reports.
        equal: the quantity of the changes.

    Raises:
        BadInput: if the scheme refuses, or diverges at all strengths tried.
    """
    if equal == "answers":
        return _by_answers(measure, tune, budget)
    trials: list[Trial] = []
    strength: float | None = _middle(tune)
    target = budget or 0.0  # 0: not known yet
    while strength is not None and len(trials) < TRAININGS:
        trial = _attempt(measure, strength, trials)
        trials.append(trial)
        target = target or trial.floor or 0.0
        if trial.change is None or (target == 0 and math.isfinite(trial.lost)):
            return _by_accuracy(measure, tune, trials, None, equal)
        strength = _towards(target, trials, tune)
    trained = _trained(trials)
    best = min(trained, key=lambda trial: _distance(trial, target))
    strongest = max(trials, key=lambda trial: trial.strength)
    if strongest.strength == tune.high and strongest.spent < target and _distance(best, target) > NEAR:
        return _by_accuracy(measure, tune, trials, target, equal)
    return Found(best, "energy", equal, target, len(trials))


def _middle(tune: Tune) -> float:
    return _digits(math.sqrt(tune.low * tune.high), tune)


def _attempt(measure: Measure, strength: float, trials: Sequence[Trial]) -> Trial:
    try:
        return measure(strength)
    except FloatingPointError:
        pass
    except BadInput:
        trained = [trial.strength for trial in trials if math.isfinite(trial.lost)]
        if not trained:
            raise
        if strength < min(trained):
            return Trial(strength, 0.0, None, -math.inf, recovered=False)
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


def _by_accuracy(measure: Measure, tune: Tune, trials: list[Trial], target: float | None, equal: Equal) -> Found:
    """Return the largest strength tried that costs at most `LOST` points, searched downwards from the highest."""
    found = _largest(measure, tune, trials, lambda trial: trial.lost <= LOST)
    return Found(found or min(_trained(trials), key=lambda t: t.strength), "accuracy", equal, target, len(trials))


def _by_answers(measure: Measure, tune: Tune, budget: float | None) -> Found:
    """Return the largest strength tried that changes few enough answers, or else the one that changes fewest."""
    trials = [_attempt(measure, _middle(tune), [])]
    target = trials[0].floor if budget is None else budget
    if not target:
        raise BadInput("unmarked trainings answer alike: no share to come to")
    limit = target * (1 + SPREAD)
    found = _largest(measure, tune, trials, lambda trial: trial.spent <= limit)
    if found is not None and found.strength == tune.high and found.spent * (1 + SPREAD) < target:
        return _by_accuracy(measure, tune, trials, target, "answers")
    best = found or min(_trained(trials), key=lambda trial: trial.spent)
    return Found(best, "answers", "answers", target, len(trials))


def _largest(measure: Measure, tune: Tune, trials: list[Trial], good: Good) -> Trial | None:
    """Try more strengths, from the highest downwards; return the largest that trained and is good, or None."""
    strength: float | None = tune.high
    while strength is not None and len(trials) < TRAININGS:
        if all(trial.strength != strength for trial in trials):
            trials.append(_attempt(measure, strength, trials))
        strength = _border(trials, tune, good)
    return max(filter(good, _trained(trials)), key=lambda trial: trial.strength, default=None)


def _border(trials: Sequence[Trial], tune: Tune, good: Good) -> float | None:
    """Return the strength to try next: halfway, in logarithms, from the largest good to the next that is not."""
    low = max((t.strength for t in trials if good(t)), default=tune.low)
    high = min((t.strength for t in trials if not good(t) and t.strength > low), default=None)
    if high is None or high <= low * (1 + NEAR):
        return None
    return _digits(math.sqrt(low * high), tune)


def _distance(trial: Trial, target: float) -> float:
    """Return how far a change is from the target, as a share of it; above and below count alike."""
    if not 0 < trial.spent < math.inf or target <= 0:
        return math.inf
    return max(trial.spent / target, target / trial.spent) - 1


def _digits(strength: float, tune: Tune) -> float:
    """Return a strength to four digits, in the range: what is written is exactly what was tried."""
    return min(max(float(f"{strength:.4g}"), tune.low), tune.high)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
