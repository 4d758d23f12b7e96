"""`check_scheme`: the contract of a scheme, rule by rule."""

from collections.abc import Callable, Collection

from cwwm.schemes.base import Scheme
from cwwm.support.errors import unknown_name
from cwwm.testing.reading import ANY_HOST
from cwwm.testing.rules import Rule
from cwwm.testing.subject import Host, Subject
from cwwm.testing.tensors import ON_TENSORS

SCHEME_RULES: tuple[Rule[Subject], ...] = (*ANY_HOST, *ON_TENSORS)
_PAYLOAD = 64


def scheme_rules(subject: Subject, *, control: bool = False, without: Collection[str] = ()) -> list[Rule[Subject]]:
    """Return the rules that a scheme has to keep, to run them one at a time; see `check_scheme`.

    Raises:
        BadInput: for a rule in `without` that is none.
    """
    known = {rule.says for rule in SCHEME_RULES}
    for says in without:
        if says not in known:
            raise unknown_name("rule", says, known)
    kept = [rule for rule in SCHEME_RULES if rule.says not in without and (rule.of_controls or not control)]
    return [rule for rule in kept if rule.of_modules or subject.on_tensors]


def check_scheme(
    scheme: Scheme | type[Scheme],
    *,
    host: Callable[[], Host] | None = None,
    control: bool = False,
    without: Collection[str] = (),
) -> None:
    """Try every rule of the contract on a scheme: for a plugin's own tests. Takes a second, minutes if it trains.

    Args:
        scheme: an object, or a class, which gets a payload of 64 bits.
        host: gives what is marked, equal each time: a module, or tensors by name (the names of
            `cwwm.testing.subject.LAYERS`). By default 60,000 weights by name, or a small network with data where
            the scheme needs that. The rules on tensors are for hosts by name alone.
        control: it reads nothing back, by intention; the rules of a message that comes back are left out.
        without: rules, in their words, that it is known not to keep.

    Raises:
        BrokenRule: an AssertionError that says which rule is broken, and how, at the first one.
        BadInput: for a rule in `without` that is none.
    """
    made = scheme if isinstance(scheme, Scheme) else scheme(payload_bits=_PAYLOAD)
    subject = Subject.of(made, host)
    for rule in scheme_rules(subject, control=control, without=without):
        rule.check(subject)
