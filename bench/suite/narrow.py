"""A suite made narrower, as the options of the command line ask for."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from typing import TypeVar

from bench.suite.entries import AttackEntry, SchemeEntry
from bench.suite.fields import check_payloads
from bench.suite.load import Suite, models_of
from cwwm.schemes import SCHEMES
from cwwm.support.errors import BadInput, unknown_name

Named = TypeVar("Named", SchemeEntry, AttackEntry)


def narrow(
    suite: Suite,
    *,
    models: Sequence[str] = (),
    schemes: Sequence[str] = (),
    attacks: Sequence[str] = (),
    payloads: Sequence[int] = (),
    seeds: int | None = None,
) -> Suite:
    """Return the suite with some lists narrowed (by label, name or wildcard) or replaced.

    Models may be any timm names, schemes any registered ones; attacks and payloads are picked from the suite's.

    Raises:
        BadInput: for a name that matches nothing, or seeds below 1.
    """
    if models:
        suite = replace(suite, models=models_of(models, suite.untrained))
    if schemes:
        suite = replace(suite, schemes=_once(e for s in schemes for e in _pick_schemes(suite, s)))
    if attacks:
        suite = replace(suite, attacks=_once(e for a in attacks for e in _pick_attacks(suite, a)))
    if payloads:
        check_payloads(payloads, suite.payloads, "--payload")
        suite = replace(suite, payloads=tuple(payloads))
    if seeds is not None:
        if seeds < 1:
            raise BadInput(f"--seeds is at least 1, not {seeds}")
        suite = replace(suite, seeds=seeds)
    return suite


def _once(entries: Iterable[Named]) -> tuple[Named, ...]:
    """Return entries without those whose label was there before: two names may pick the same one."""
    return tuple({entry.label: entry for entry in entries}.values())


def _pick_schemes(suite: Suite, name: str) -> list[SchemeEntry]:
    found = [entry for entry in suite.schemes if fnmatch(entry.label, name) or fnmatch(entry.name, name)]
    if not found and name not in SCHEMES:
        raise unknown_name("scheme", name, {*SCHEMES, *(entry.label for entry in suite.schemes)})
    return found or [SchemeEntry(name, name, {})]


def _pick_attacks(suite: Suite, name: str) -> list[AttackEntry]:
    found = [e for e in suite.attacks if fnmatch(e.label, name) or fnmatch(e.attack.name, name)]
    if not found:
        raise unknown_name("attack of this suite", name, {entry.label for entry in suite.attacks})
    return found
