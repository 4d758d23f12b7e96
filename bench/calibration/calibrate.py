"""Fixes strengths once: of each tuned scheme, so that all marks of a host and payload cost alike, and of attacks.

What they cost is energy (squared change over squared norm), or the share of answers that they change: a suite says
which (`equal`). The common budget of a (model, payload) is the larger of the noise floor (the same between two
unmarked trainings of the same host) and the change by the suite's reference scheme. A scheme whose highest strength
stays below it, or whose mark has no pool to have an energy, is matched on accuracy instead.

A scheme with other parameters to choose (`Tune.choices`) is brought to the budget in each combination. Of these,
the one is taken whose message is recovered before any attack, that keeps the budget, and whose message is
recovered after most of a small fixed panel (`bench.calibration.panel`); of equal ones, and where none keeps the
budget, the one that costs least energy, then the first. Accuracy is that of the validation split.

An attack with levels of lost accuracy is tried on the unmarked control of each model: what a strength costs must
not depend on the mark that it is then measured against.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from bench.attacks import AttackContext
from bench.calibration.attack_levels import Losses, chosen, try_strengths
from bench.calibration.bisection import bisected, is_near
from bench.calibration.panel import ROWS, survived
from bench.calibration.search import Found, Trial, search
from bench.calibration.terms import CHANGES, answers_floor
from bench.execution.attacker import attacker_context
from bench.execution.model_factory import Marked, ModelFactory
from bench.metrics.accuracy import Accuracy
from bench.suite import AttackEntry, Suite, Tune
from bench.suite.calibration_file import AttackStrengths, Equal, Place, Target, read_strengths, strengths_path
from bench.suite.cell import HostSpec, MarkSpec
from bench.support.fingerprint import fingerprint, root
from cwwm.support.errors import BadInput
from cwwm.weights.view import as_weights

_SHOWN: Mapping[Equal, str] = {"energy": "energy", "answers": "answers changed"}


@dataclass(frozen=True)
class Calibrated:
    """One entry of the calibration file as it was written."""

    place: Place
    parameter: str
    found: Found
    chosen: Mapping[str, Any] = field(default_factory=dict)
    survived: int | None = None

    def __str__(self) -> str:
        """Return one line for who waits."""
        label, payload, model = self.place
        if (trial := self.found.trial) is None:
            return f"{model}, {label}, {payload} bits: refused: {self.found.reason}"
        state = "recovered" if trial.recovered else "NOT recovered"
        others = "".join(f", {name} {value}" for name, value in self.chosen.items())
        others += "" if self.survived is None else f", {self.survived} of {ROWS} attacks survived"
        return (
            f"{model}, {label}, {payload} bits: {self.parameter} {trial.strength:g}{others} by {self.found.by}, "
            f"{_SHOWN[self.found.equal]} {_show(trial.change)} for {_show(self.found.target)}, "
            f"{trial.lost:.2f} points lost, "
            f"message {state}, {self.found.trainings} trainings"
        )


@dataclass(frozen=True)
class CalibratedAttack:
    """One attack on one model in the calibration file, as it was written."""

    target: Target
    found: AttackStrengths

    def __str__(self) -> str:
        """Return one line for who waits."""
        label, model = self.target
        levels = ", ".join(f"{points:g} points: {self._told(points)}" for points in self.found.chosen)
        refused = f"; refused: {self.found.refused}" if self.found.refused else ""
        return f"{model}, {label}: {levels}{refused}"

    def _told(self, level: float) -> str:
        strength, tried = self.found.chosen[level], self.found.tried
        if strength is None:
            return "none"
        points = tried[strength]
        if strength != [*tried][-1] or is_near(points, level):
            return f"{strength:g}"
        return f"{strength:g}, the hardest, which loses {points:.2f}"


@dataclass(frozen=True)
class Waiting:
    """What is to be found: marks whose strength is left to choose, and attacks on unmarked hosts."""

    schemes: Sequence[MarkSpec]
    attacks: Sequence[tuple[HostSpec, AttackEntry]]

    def __len__(self) -> int:
        """Return how many entries of the calibration file are to be written."""
        return len(self.schemes) + len(self.attacks)


def waiting(
    suite: Suite,
    runtime: Mapping[str, Any],
    *,
    seed: int,
    again: bool,
    schemes: bool = True,
    attacks: bool = True,
) -> Waiting:
    """Return what is to be found of schemes and attacks, host by host; what is found already only if `again`.

    Raises:
        BadInput: if the suite tunes no scheme, and runs no attack at levels of lost accuracy, of those asked for.
    """
    own = [suite.tuned_as(entry) for entry in suite.schemes if entry.tune and schemes and not suite.tuned_in]
    tuned = {entry.label: entry for entry in own}  # several readings of the same marks are one
    levelled = [entry for entry in suite.attacks if entry.lost and attacks]
    if not tuned and not levelled:
        raise BadInput(
            f"suite {suite.name} tunes none of these schemes, and gives none of these attacks points to be lost; "
            + (
                f"its schemes are tuned in suite {suite.tuned_in}"
                if suite.tuned_in
                else "give a scheme a field 'tune', or an attack a field 'lost'"
            )
        )
    hosts = [HostSpec(model, seed, runtime) for model in suite.models]
    tuning = [
        MarkSpec(host, entry, payload)
        for host in hosts
        for payload in suite.payloads
        for entry in tuned.values()
        if payload in suite.payloads_of(entry)
    ]
    choosing = [
        (host, entry)
        for host in hosts
        for entry in levelled
        if again or not entry.is_settled(suite.calibrated.attacks.get((entry.label, host.model.name)))
    ]
    return Waiting([mark for mark in tuning if again or not _is_found(suite, mark)], choosing)


def _is_found(suite: Suite, mark: MarkSpec) -> bool:
    found = suite.calibrated
    return _tune(mark).is_settled(found.values.get(_place(mark), {}), found.choices.get(_place(mark), {}))


def calibrate(
    suite: Suite, marks: Sequence[MarkSpec], factory: ModelFactory, say: Callable[[str], None]
) -> Iterator[Calibrated]:
    """Find the strength of each mark that `waiting` gave, and yield it once it is in the calibration file.

    Args:
        suite: whose file beside it is written, and whose reference sets the budget.
        marks: from `waiting`.
        factory: makes and keeps the models; a run in the same folder then finds the marks of this seed made.
        say: told each budget and trial.
    """
    path = strengths_path(suite.path)
    budgets: dict[tuple[str, int], float | None] = {}
    for mark in marks:
        host = (mark.host.model.name, mark.payload)
        if host not in budgets:
            budgets[host] = _budget(suite, mark, factory, say)
        best = _best(mark, budgets[host], suite.equal, factory, say)
        panel = {} if best.survived is None else {"survived": best.survived, "attacks": ROWS}
        facts = {**best.found.facts(), **panel, "seed": mark.host.seed}
        value = {best.parameter: best.found.strength}
        strengths = replace(read_strengths(path), equal=suite.equal)
        strengths.adding(best.place, value, facts, best.chosen).write(path, fingerprint(root(calibrate)))
        yield best


def calibrate_attacks(
    suite: Suite,
    attacks: Sequence[tuple[HostSpec, AttackEntry]],
    factory: ModelFactory,
    say: Callable[[str], None],
) -> Iterator[CalibratedAttack]:
    """Choose the strengths of each attack that `waiting` gave, and yield them once they are in the file.

    Args:
        suite: whose file beside it is written.
        attacks: with the hosts that they are tried on, from `waiting`.
        factory: makes and keeps the controls; a run in the same folder then finds those of this seed made.
        say: told what each strength lost.
    """
    path = strengths_path(suite.path)
    for host, entry in attacks:
        target = (entry.label, host.model.name)
        control, context = factory.control(host).model, attacker_context(host, entry, factory, None)
        tried, refused = _tried(entry, control, context, say)
        found = AttackStrengths(
            tried, chosen(tried, entry.lost), repr(entry.attack), host.seed, refused, entry.between is not None
        )
        read_strengths(path).adding_attack(target, found).write(path, fingerprint(root(calibrate_attacks)))
        yield CalibratedAttack(target, found)


def _tried(
    entry: AttackEntry, control: nn.Module, context: AttackContext, say: Callable[[str], None]
) -> tuple[Losses, str]:
    """Return the losses of an entry's candidates, which it gives or bisection finds, and the first refusal."""
    if entry.between is None:
        return try_strengths(entry.attack, entry.strengths, control, context, say)
    refusals: list[str] = []

    def measure(strength: float) -> float | None:
        tried, refused = try_strengths(entry.attack, [strength], control, context, say)
        refusals.extend([refused] if refused else [])
        return tried[strength]

    tried = bisected(entry.attack, entry.between, entry.lost, measure)
    return tried, next(iter(refusals), "")


def _budget(suite: Suite, mark: MarkSpec, factory: ModelFactory, say: Callable[[str], None]) -> float | None:
    """Return the change that all schemes of a host and payload share; None leaves it to the noise floor.

    Raises:
        BadInput: if answers are to be equal, and there is no share of them to come to.
    """
    floor = answers_floor(mark.host, factory) if suite.equal == "answers" else None
    change = _of_reference(suite, mark, factory, say)
    budget = max((value for value in (floor, change) if value is not None), default=None)
    if budget == 0 and floor is not None:
        raise BadInput(f"unmarked trainings of {mark.host.model.name} answer alike: no share to come to")
    if budget is not None:
        place = f"{mark.host.model.name} at {mark.payload} bits"
        given = f"{suite.reference.label}, or " if suite.reference else ""
        say(f"budget {_SHOWN[suite.equal]} {budget:.3g} on {place}: {given}the noise floor")
    return budget


def _of_reference(suite: Suite, mark: MarkSpec, factory: ModelFactory, say: Callable[[str], None]) -> float | None:
    """Return the change by the reference scheme or the noise floor beside it, whichever is larger; None without."""
    if (reference := suite.reference) is None:
        return None
    factory.control(mark.host)
    try:
        marked = factory.marked(replace(mark, scheme=reference.fixed(mark.payload)))
    except BadInput as error:
        say(f"the reference {reference.label} refuses, the noise floor is the budget: {error}")
        return None
    change = CHANGES[suite.equal](marked, mark.host, factory)
    if change.marked is None or change.floor is None:
        say(f"the reference {reference.label} has no pool, the noise floor is the budget")
        return None
    return max(change.marked, change.floor)


def _best(
    mark: MarkSpec, budget: float | None, equal: Equal, factory: ModelFactory, say: Callable[[str], None]
) -> Calibrated:
    """Return the combination of a scheme's choices that holds best at the budget; see the head of this file."""
    tune, found = _tune(mark), []
    for others in tune.combinations:
        entry = replace(mark.scheme, parameters={**mark.scheme.parameters, **others})
        spec = replace(mark, scheme=entry)
        one = Calibrated(_place(mark), tune.parameter, _find(spec, budget, equal, factory, say), others)
        if tune.choices and one.found.trial is not None:
            strong = replace(mark, scheme=entry.fixed(mark.payload, {tune.parameter: one.found.strength}))
            one = replace(one, survived=survived(strong, factory))
            say(str(one))
        found.append(one)
    best = max(found, key=_merit)
    return best if best.found.trial is not None else replace(best, chosen={})


def _merit(one: Calibrated) -> tuple[bool, bool, int, float]:
    """Return what the best of several combinations has most of; `max` takes the first of equal ones.

    What outlives more because it spends more than the others may is no better: -1 attacks survived.
    """
    if (trial := one.found.trial) is None:
        return False, False, -1, 0.0
    return True, trial.recovered, (one.survived or 0) if one.found.keeps_target else -1, -trial.spent


def _find(
    mark: MarkSpec, budget: float | None, equal: Equal, factory: ModelFactory, say: Callable[[str], None]
) -> Found:
    factory.data(mark.host).to_choose_on()
    factory.control(mark.host)  # first: what is wrong with a host or its data is no refusal of the scheme

    def measure(strength: float) -> Trial:
        trial = _trial(mark, strength, equal, factory)
        change = f"{_SHOWN[equal]} {_show(trial.change)}"
        say(f"{_tune(mark).parameter} {strength:g}: {change}, {trial.lost:.2f} points lost")
        return trial

    try:
        return search(measure, _tune(mark), budget, equal)
    except BadInput as error:
        return Found(None, "refused", equal, reason=str(error))


def _trial(mark: MarkSpec, strength: float, equal: Equal, factory: ModelFactory) -> Trial:
    entry = mark.scheme.fixed(mark.payload, {_tune(mark).parameter: strength})
    marked, control = factory.marked(replace(mark, scheme=entry)), factory.control(mark.host)
    before, after = (Accuracy(**facts["validation"]).percent for facts in (control.facts, marked.facts))
    change = CHANGES[equal](marked, mark.host, factory)
    return Trial(strength, change.marked, change.floor, before - after, _recovered(marked))


def _recovered(marked: Marked) -> bool:
    extraction = marked.scheme.extract(as_weights(marked.model), marked.key, marked.mark)
    return extraction.ok and bool(np.array_equal(extraction.bits, marked.message))


def _tune(mark: MarkSpec) -> Tune:
    tune = mark.scheme.tune
    if tune is None:
        raise BadInput(f"scheme '{mark.scheme.label}' is not tuned")
    return tune


def _place(mark: MarkSpec) -> Place:
    return mark.scheme.label, mark.payload, mark.host.model.name


def _show(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"
