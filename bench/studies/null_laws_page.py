"""What the study of null laws found, and the page that shows it."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, TypeVar

import torch
from tabulate import tabulate

from bench.null_laws import (
    RATES,
    STATISTICS,
    Counted,
    Form,
    comparisons,
    excesses,
    family_limit,
    heaviest,
    pooled,
)
from bench.null_laws.counts import FAMILY_WISE
from bench.null_laws.exact import Tail
from bench.null_laws.tilting import Estimate
from bench.studies.output import measured_on

T_co = TypeVar("T_co", covariant=True)
EXACT = 1e-9  # relative difference that summing in floating point may leave
FAR = 4.0  # standard errors beyond which an estimate contradicts the law


@dataclass(frozen=True)
class Measured:
    """The counts of one form on all its suspects, and the CPU seconds that they took."""

    form: Form
    seconds: float
    counts: tuple[Counted, ...]


@dataclass(frozen=True)
class Timed(Generic[T_co]):
    """A result and the CPU seconds that it took."""

    found: T_co
    seconds: float


def count_rows(measured: Sequence[Measured], family: int) -> Iterator[tuple[object, ...]]:
    """Yield a row for each statistic of each form: all suspects together, then the one nearest to its limit."""
    for one in measured:
        for total in pooled(one.counts):
            single = [count for count in one.counts if count.statistic == total.statistic]
            worst, index = heaviest(single, family)
            yield (
                str(one.form),
                total.statistic,
                f"{total.claims:,}",
                *(_cell(total, place, family) for place in range(len(RATES))),
                f"{worst.suspect}: {_cell(worst, index, family)} at {RATES[index]:g}",
                f"{one.seconds:.0f}",
            )


def law_rows(measured: Sequence[Measured]) -> Iterator[tuple[object, ...]]:
    """Yield a row for each law: forms, claims, and the share of p-values below each rate, over the rate."""
    counts = [count for one in measured for count in one.counts]
    for law in dict.fromkeys(STATISTICS.values()):
        mine = [count for count in counts if STATISTICS.get(count.statistic) == law]
        claims = sum(count.claims for count in mine)
        shares = [sum(c.below[i] for c in mine) / max(1, claims) / rate for i, rate in enumerate(RATES)]
        yield (law, len({count.form for count in mine}), f"{claims:,}", *(f"{share:.2f}" for share in shares))


def exact_rows(tails: Sequence[Tail]) -> Iterator[tuple[object, ...]]:
    """Yield a row for each code: how many tails were counted, and the ratios of the truth to the p-value."""
    for case, group in groupby(tails, key=lambda tail: tail.case):
        ratios = [tail.ratio for tail in group]
        worst = max(abs(ratio - 1) for ratio in ratios)
        yield (case, len(ratios), _flagged(f"{worst:.1e}", worst > EXACT))


def estimate_rows(estimates: Sequence[Estimate]) -> Iterator[tuple[object, ...]]:
    """Yield a row for each tail estimated by importance sampling."""
    for one in estimates:
        deviation = _flagged(f"{one.deviation:+.1f}", abs(one.deviation) > FAR)
        yield (
            one.case,
            f"{one.matched} of {one.trials}",
            f"{one.p:.3e}",
            f"{one.error:.0e}",
            f"{one.law:.3e}",
            deviation,
        )


def page(
    measured: Sequence[Measured],
    exact: Timed[list[Tail]],
    estimates: Timed[list[Estimate]],
    representatives: Collection[str],
    device: torch.device,
) -> str:
    """Return the whole study as Markdown; what exceeds its limit stands in bold."""
    counts = [count for one in measured for count in one.counts]
    family = comparisons(counts)
    rates = tuple(f"p <= {rate:g}" for rate in RATES)
    columns = ("form", "statistic", "claims", *rates, "suspect nearest to its limit", "CPU s")
    chosen = [one for one in measured if one.form.identity in representatives]
    fewer = sorted(
        {sum(c.claims for c in one.counts if c.statistic == one.counts[0].statistic) for one in measured}
    )
    return PAGE.format(
        measured=measured_on(device),
        forms=len(measured),
        least=f"{fewer[0]:,}",
        comparisons=f"{family:,}",
        sure=f"{100 * (1 - FAMILY_WISE):g}",
        verdict=_verdict(measured, counts),
        by_law=_table(law_rows(measured), ("law", "forms", "claims", *(f"{rate} / nominal" for rate in rates))),
        representatives=_table(count_rows(chosen, family), columns),
        all_forms=_table(count_rows(measured, family), columns),
        exact=_table(exact_rows(exact.found), ("code", "tails", "largest relative difference")),
        estimates=_table(
            estimate_rows(estimates.found),
            ("drawn", "tail", "estimate", "standard error", "p-value of evidence", "errors apart"),
        ),
        claims_seconds=f"{sum(one.seconds for one in measured):,.0f}",
        exact_seconds=f"{exact.seconds:.1f}",
        estimate_seconds=f"{estimates.seconds:.1f}",
    )


def _verdict(measured: Sequence[Measured], counts: Sequence[Counted]) -> str:
    found = excesses(counts)
    if not found:
        return "No count exceeds its limit."
    names = {one.form.identity: str(one.form) for one in measured}
    lines = [f"- {names[one.form]}: {one.statistic} on {one.suspect}, at {rate:g}" for one, rate in found]
    return "\n".join([f"**{len(found)} counts exceed their limits:**", "", *lines])


def _cell(one: Counted, index: int, family: int) -> str:
    """Return a count beside its limit, and the rate found over the nominal one; bold beyond the limit."""
    limit, rate = family_limit(one.claims, RATES[index], family), RATES[index]
    text = f"{one.below[index]} / {limit} ({one.below[index] / one.claims / rate:.2f})"
    return _flagged(text, one.below[index] > limit)


def _flagged(text: str, wrong: bool) -> str:
    return f"**{text}**" if wrong else text


def _table(rows: Iterator[tuple[object, ...]], columns: Sequence[str]) -> str:
    return str(tabulate(list(rows), columns, tablefmt="github", disable_numparse=True))


PAGE = """\
# Null laws: are the p-values right?

A p-value of evidence is right if, over random keys and messages, it is at most p with probability at most p, on
whatever model the mark is not in. Here random claims are read from small networks trained on digits: unmarked;
marked under another key than the claim's; derived from the unmarked one (fine-tuned, pruned, noised); sparse (97 %
exact zeros, the rest on eight levels); blank (zeros alone, everything tied); foreign (in bfloat16, with another
classifier, where that is part of the pool). For `structural`, of which widths are read, they are unmarked, marked
and narrowed. {measured}, one thread.

{forms} forms: every scheme of every suite at every payload, and what `cwwm plan` can choose. Forms that differ only
in how they write are one, and `wrong-key` reads as the scheme that it stands around. Of plain codes
all densities are tried at 256 bits, both ends and 0.1 at 64 and 1,024; of protected ones all kinds of blocks at 16
bits, corners at 256 and 1,024, with the fewest blocks that stand random pruning of 0.5 (or of 0.3, 0.1, 0). Each
form has 10,000 claims over all suspects, the slowest fewer (at least {least}), one of each law 100,000. A few forms
are in no suite: their readers have more branches.

Each count stands beside its limit, one-sided at {sure} % over all {comparisons} comparisons of this page, and in
brackets over what the rate says. Counts are discrete, so many lie below 1. In bold: beyond the limit.

{verdict}

## By law

All forms together, over the nominal rate.

{by_law}

`combined` below is the smallest p-value of a claim times their number, 1 at most.

## 100,000 claims on one form of each law

{representatives}

## All forms

{all_forms}

## Small codes, counted exactly

All equally likely words, placements, hosts, pads, generators or turns of labels are counted one by one, in
fractions and without a formula. Known ones stand above all others, which are tied; a tied place counts as no one.
Coded words are padded once more than their messages, so that the word of all zeros is as fair as any.

{exact}

## Deep tails by importance sampling

Ideal fair coins are tilted, not the keyed stream, in which such tails could not be found; that the stream's chips
are fair is shown by the counts above, at larger p. Sums of chips are those of the spreading code over the weights
of a trained network: tilted coins say which sums fit the claim, and the chips, drawn fair, are turned over where
they do not.

{estimates}

## Run times

CPU seconds of one thread: claims {claims_seconds}, exact counts {exact_seconds}, deep tails {estimate_seconds}. The
quick part of all this, `tests/bench/test_null_laws.py`, takes some 20.
"""
