"""What the study of forgeries found, and the page that shows it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import binom
from tabulate import tabulate

from bench.metrics.accuracy import rate_interval
from bench.metrics.false_positives import Floats
from bench.studies.fitted_claims import Judged
from bench.studies.grinding import best_of, grinding_rows
from bench.studies.output import measured_on
from cwwm.ownership.evidence import PROOF_RATE, Verdict

RATE = PROOF_RATE
COMMITMENTS = (10, 100, 1000)
LEAST_CLAIMANTS = 100
SPAM_RATES = (1e-2, 1e-3)
KINDS = ("base", "derived", "others", "untrained")  # of suspects of fitted claims
LEVELS = (1e-2, 1e-3, 1e-4, 1e-6)
SURE = 0.999  # of the binomial bound on a count


@dataclass(frozen=True)
class Searched:
    """The p-values that a forger's claims got on one suspect, and what the best of them was worth."""

    form: str
    suspect: str
    log10_p: Floats
    seconds: float
    verdict: Verdict

    def count(self, level: float) -> int:
        """Return how many claims have p at most `level`."""
        return _below(self.log10_p, level)


@dataclass(frozen=True)
class Extracted:
    """Claims of what came out: how many keys read anything, the lowest corrected log10 p, how many are proven."""

    form: str
    suspect: str
    keys: int
    presented: int
    log10_p: float
    proven: int


@dataclass(frozen=True)
class Found:
    """All results of a study; `stretch` is the seconds of one owner's stretch, 0 where it was not measured."""

    searched: tuple[Searched, ...] = ()
    spammed: tuple[Searched, ...] = ()
    extracted: tuple[Extracted, ...] = ()
    fitted: tuple[Judged, ...] = ()
    stretch: float = 0.0

    def __add__(self, other: "Found") -> "Found":
        """Return the results of both."""
        return Found(
            self.searched + other.searched,
            self.spammed + other.spammed,
            self.extracted + other.extracted,
            self.fitted + other.fitted,
            self.stretch or other.stretch,
        )


def fitted_rows(found: Sequence[Judged]) -> list[tuple[object, ...]]:
    """Return a row for each fitted claim: the numbers alone by kind of suspect, and what a judge makes of them."""
    rows: list[tuple[object, ...]] = []
    for one in found:
        numbers = [f"{one.log10_p[kind]:.1f}" if kind in one.log10_p else "-" for kind in KINDS]
        innocent = "yes" if one.innocent else "no"
        rows.append(
            (one.fit, one.salt, *numbers, f"{one.believed}/{one.tried}", innocent, f"{one.proven}/{one.tried}")
        )
    return rows


def search_rows(found: Sequence[Searched]) -> list[tuple[object, ...]]:
    """Return a row for each search: counts with the most that chance explains, and the best claim's verdict."""
    rows: list[tuple[object, ...]] = []
    for one in found:
        keys = len(one.log10_p)
        counts = [f"{one.count(level)} / {_most(keys, level)}" for level in LEVELS]
        low, high = rate_interval(one.count(LEVELS[-1]), keys)
        interval = f"[{low:.1e}, {high:.1e}]"
        best = f"{one.log10_p.min():.1f} -> {one.verdict.log10_p:.1f}"
        rows.append(
            (one.form, one.suspect, f"{keys:,}", *counts, interval, best, one.verdict.proven, f"{one.seconds:.0f}")
        )
    return rows


def spam_rows(found: Sequence[Searched]) -> list[tuple[object, ...]]:
    """Return a row for each number of commitments: claimants proven at some rates, with and without the factor.

    Numbers of which a search holds under 100 claimants tell nothing and are left out.
    """
    rows: list[tuple[object, ...]] = []
    for one in found:
        for commitments in COMMITMENTS:
            best = one.log10_p[: len(one.log10_p) // commitments * commitments].reshape(-1, commitments).min(axis=1)
            corrected = best + np.log10(commitments)
            counts = [f"{_below(corrected, rate)} / {_most(len(best), rate)}" for rate in SPAM_RATES]
            plain = [_below(best, rate) for rate in SPAM_RATES]
            if len(best) >= LEAST_CLAIMANTS:
                rows.append((one.form, one.suspect, commitments, f"{len(best):,}", *counts, *plain))
    return rows


def _below(log10_p: Floats, rate: float) -> int:
    return int(np.sum(log10_p <= np.log10(rate)))


def _most(trials: int, rate: float) -> int:
    """Return the count that exact p-values exceed with probability 0.001 at most."""
    return int(binom.ppf(SURE, trials, rate))


def page(found: Found, model: str, device: torch.device) -> str:
    """Return the tables as Markdown."""
    fitted = tabulate(
        fitted_rows(found.fitted),
        ("scheme: chosen to fit", "salt", *KINDS, "believed by numbers", "fits an innocent base", "proven"),
        tablefmt="github",
        disable_numparse=True,
    )
    grinding = tabulate(
        grinding_rows(found.spammed, found.stretch), ("p", "tries", "core time", *best_of(found.spammed)), "github"
    )
    levels = [f"p <= {level:g}" for level in LEVELS]
    rates = [f"{what} {rate:g}" for what in ("proven at", "uncorrected at") for rate in SPAM_RATES]
    tables = (
        tabulate(
            search_rows(found.searched),
            ("form", "suspect", "keys", *levels, "rate at 1e-6, 95 %", "best log10 p", "proven", "CPU s"),
            tablefmt="github",
        ),
        tabulate(
            spam_rows(found.spammed), ("form", "suspect", "commitments", "claimants", *rates), tablefmt="github"
        ),
        tabulate(
            [(e.form, e.suspect, e.keys, e.presented, f"{e.log10_p:.1f}", e.proven) for e in found.extracted],
            ("form", "suspect", "keys", "claims", "lowest log10 p", "proven"),
            tablefmt="github",
        ),
    )
    proven = sum(one.proven for one in found.fitted)
    believed = sum(one.believed for one in found.fitted if one.salt == "kept")
    return PAGE.format(
        model=model,
        measured=measured_on(device),
        tables=tables,
        fitted=fitted,
        grinding=grinding,
        claims=len(found.fitted),
        judged=sum(one.tried for one in found.fitted),
        proven=proven,
        believed=believed,
        seconds=found.stretch,
        rate=RATE,
    )


PAGE = """\
# Forged claims

{measured}, one thread. A judge asks for a proof at {rate:g}.

## Fitted claims: a public base, and whoever derives a model from it

A forger knows a public {model}. The forger chooses what reading uses so that the base shows the mark, as well as we
know how, and commits to it; nothing is embedded. Suspects: the base, five networks fine-tuned from it by
others, two networks of other seeds, two untrained ones. The columns of suspects hold the lowest log10 p of the
numbers alone. *Kept*: the salt of before the choice; *follows*: the salt that the choice gives, with other
positions. *Believed by numbers*: suspects on which the p-value would be a proof if it were evidence. *Fits an
innocent base*: the claim on a derived network fails also because it fits the base, given to the judge by
`--innocent`. A dash: the judge refuses to look.

{fitted}

Of {judged} verdicts on {claims} claims {proven} are *proven*; {believed} would be by the numbers of the claims
whose salt was kept. With a keyed check (sign-erasure, spread-spectrum, carriers, ingrain) a forger cannot solve
for the message; so it is the best of 300, and more work (2^32 checks) would fit more. `riga` keeps its numbers
whatever the salt is: its extractor is learned after it, so what it says is never a proof. The same goes for the
channel order of a marked copy; bound as the original, it changes the salt.

## Grinding: what the binding leaves

A claimant can still try keys, nonces, messages or parameters one after the other, in private, until one fits a
known base, and commit to that one only. Each try costs one stretch: {seconds:.2f} s and 64 MiB of
one core here. Measured: the lowest log10 p of the tries so far, the median over claimants who tried so many (a
dash where there are fewer than 10); by law it is the logarithm of the number of tries.

{grinding}

![Lowest p-value against tries](forgery.png)

# Searches

A marked {model} and its unmarked twin, trained alike.

## random-key: keys searched against the owner's own message

Each count is of keys whose p-value, taken alone, is at most so much, beside the count that exact p-values
exceed once in a thousand times. The p-values are discrete, so counts lie below. The best claim is shown before
and after its p-value is multiplied by the keys tried; proven is the verdict at {rate:g} even if nobody asked
for a commitment.

{tables[0]}

## commitment-spam: the best of m pairs of key and message, all committed to beforehand

Claimants whose p-value times m is at most the rate, beside the largest count that chance explains; uncorrected:
how many would pass if the judge did not count commitments.

{tables[1]}

## extract-then-claim: any key, and the message that comes out

The lowest log10 p is corrected for all keys tried: the numbers alone would convince. None is proven: none was
committed to, and the salt of none follows from the message that came out.

{tables[2]}
"""
