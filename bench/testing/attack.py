"""`check_attack`: the contract of an attack, rule by rule."""

import json
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass

import torch
from torch import nn

from bench.attacks import Attack, AttackContext
from bench.testing.subject import AttackSubject, everything, network
from cwwm.support.errors import BadInput
from cwwm.testing.rules import BrokenRule, Rule, require, require_refusal


def _form(subject: AttackSubject) -> None:
    kind = type(subject.attack)
    require(isinstance(vars(kind).get("name"), str), f"{kind.__name__} has no name of its own")
    require(
        isinstance(getattr(kind, "strength", None), str), f"{kind.__name__} does not say what its strength means"
    )
    frozen = is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    require("__dataclass_fields__" in vars(kind) and frozen, "it is no @dataclass(frozen=True, kw_only=True)")


def _json(subject: AttackSubject) -> None:
    require(subject.rebuilt == subject.attack, f"its JSON gives {subject.rebuilt!r}")
    label = subject.attack.label
    require(subject.rebuilt.label == label, f"its label is '{label}', and '{subject.rebuilt.label}' after JSON")
    require(not set("{}[]'") & set(label), f"its label is no text to read: {label}")


def _strengths(subject: AttackSubject) -> None:
    for strength in subject.strengths:
        subject.attack.check_strength(strength)


def _one_each(subject: AttackSubject) -> None:
    found = [outcome.item.strength for outcome in subject.first]
    require(found == list(subject.strengths), f"it yields models for {found}")


def _target(subject: AttackSubject) -> None:
    targets = subject.targets(subject.strengths)
    before = [{name: value.clone() for name, value in target.state_dict().items()} for target in targets]
    for _ in subject.attack.curve(targets, subject.strengths, subject.context()):
        pass
    for target, state in zip(targets, before, strict=True):
        now = target.state_dict()
        changed = [name for name, value in state.items() if not torch.equal(value, now[name])]
        require(not changed, f"it changed {', '.join(changed[:3])} of the model that it was given")


def _repeats(subject: AttackSubject) -> None:
    again = subject.run(subject.rebuilt, subject.strengths)
    for one, other in zip(subject.first, again, strict=True):
        require(one.equals(other), f"two runs at strength {one.item.strength:g} give other weights")


def _alone(subject: AttackSubject) -> None:
    for outcome in subject.first:
        (alone,) = subject.run(subject.attack, [outcome.item.strength])
        require(
            outcome.equals(alone), f"strength {outcome.item.strength:g} alone gives other weights than in the curve"
        )


def _achieved(subject: AttackSubject) -> None:
    for outcome in subject.first:
        require(outcome.achieved, "it says nothing of what it achieved")
        json.dumps(outcome.achieved, allow_nan=False)
        cost = outcome.item.cost
        least = min(cost.seconds, cost.steps, cost.samples, cost.data_fraction, cost.passes)
        require(least >= 0 and cost.data_fraction <= 1, f"its cost is {cost}")
        require(not cost.samples or cost.passes > 0, f"its cost has {cost.samples} samples and no passes")


def _masks(subject: AttackSubject) -> None:
    for outcome in subject.first:
        for name, mask in outcome.item.masks.items():
            require(mask.dtype == torch.bool, f"the mask of {name} is {mask.dtype}, not bool")
            require(not outcome.state[name][~mask].any(), f"a weight of {name} that the mask holds at zero is none")


def _needs(subject: AttackSubject) -> None:
    attack, strengths = subject.attack, subject.strengths
    targets = subject.targets(strengths)
    call = lambda: list(attack(targets, strengths))  # noqa: E731
    if any(part.needs for part in attack.parts):
        require_refusal(call, "a call without a context", "needs")
    elif any(part.other_data for part in attack.parts):
        require_refusal(call, "a call without a context", "data set")
    else:
        _works_alone(call)


def _works_alone(call: Callable[[], object]) -> None:
    try:
        call()
    except BadInput as error:
        raise BrokenRule(f"it says that it needs nothing, and without a context refuses: {error}") from error


ATTACK_RULES: tuple[Rule[AttackSubject], ...] = (
    Rule("it is a frozen dataclass with a name of its own and a strength that says what it means", _form),
    Rule("it survives JSON, and its label can be read", _json),
    Rule("check_strength takes each strength that it is tried at", _strengths),
    Rule("it yields one model a strength, in the order asked for", _one_each),
    Rule("it leaves its target alone", _target),
    Rule("it repeats bit by bit", _repeats),
    Rule("a strength gives the same alone as in a curve", _alone),
    Rule("it says what it achieved and what it cost, in finite numbers", _achieved),
    Rule("the weights that its masks hold are zero", _masks),
    Rule("it works without a context, unless its class says what it needs", _needs),
)


def check_attack(
    attack: Attack | type[Attack],
    strengths: Sequence[float],
    *,
    model: Callable[[], nn.Module] = network,
    context: Callable[[], AttackContext] = everything,
) -> None:
    """Try every rule of the contract on an attack: for a plugin's own tests. Takes as long as a few runs of it.

    Args:
        attack: an object, or a class that is made without parameters.
        strengths: that it takes, one or more; two or more show that they do not mix.
        model: gives what is attacked, equal each time; by default an untrained convnet of 1,600 weights, for
            3x16x16 images. context: gives what the attacker has; by default digits and all else.

    Raises:
        BrokenRule: an AssertionError that says which rule is broken, and how, at the first one.
        BadInput: for no strength.
    """
    if not strengths:
        raise BadInput("check_attack tries an attack at one strength or more; give it some")
    made = attack if isinstance(attack, Attack) else attack()
    subject = AttackSubject(made, list(strengths), model, context)
    for rule in ATTACK_RULES:
        rule.check(subject)
