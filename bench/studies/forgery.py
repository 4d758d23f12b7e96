"""What forged claims are worth: up to a million keys searched, commitments by the thousand, extract-then-claim.

Run it with ``python -m bench.studies.forgery -o results/forgery.md`` (about an hour of one core).
"""

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from scipy.stats import binom
from tabulate import tabulate

from bench.artefacts import ArtefactStore, state_of
from bench.attacks import make_attack
from bench.cell import Cell
from bench.conditions import choose_device, hardware, prepare
from bench.evaluate import rate_interval
from bench.false_positives import Floats
from bench.forgery import BestOfMany, CommitmentSpam, ExtractThenClaim, RandomKey, verdicts
from bench.suite import AttackEntry, SchemeEntry
from bench.workshop import Workshop
from bench.zoo import find_models
from cwwm.console import DONE, run_app
from cwwm.errors import BadInput
from cwwm.evidence import Evidence, Verdict, judge
from cwwm.files import write_atomic
from cwwm.mark import Mark
from cwwm.seeds import derive_seed
from cwwm.weights import Weights, as_weights

MODEL = "test_resnet"
LEVELS = (1e-2, 1e-3, 1e-4, 1e-6)
RATE = 1e-6
COMMITMENTS = (10, 100, 1000)
SPAM_RATES = (1e-2, 1e-3)
EXTRACTIONS = 1000
SURE = 0.999  # of the binomial bound on a count


@dataclass(frozen=True)
class Form:
    """A public form of marks, and how many keys are tried on each suspect.

    Attributes:
        scheme, payload, parameters: of the encoding.
        keys: as many as a core reads in about ten minutes; a short code reads faster, and the p-values of the two
            short ones come as near to 1e-6 from below as those of any code of their length (factors 0.3 and 0.8).
    """

    scheme: str
    payload: int
    keys: int
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return what a table calls it."""
        given = "".join(f", {name.replace('_', ' ')} {value}" for name, value in self.parameters.items())
        return f"{self.scheme}, {self.payload} bits{given}"


FORMS = (
    Form("cwc", 64, 1_000_000),
    Form("protected-cwc", 32, 1_000_000, {"blocks": 24, "block_length": 16}),
    Form("cwc", 256, 200_000),
    Form("protected-cwc", 256, 20_000),
)


@dataclass(frozen=True)
class Target:
    """A marked model and its unmarked twin, with the owner's message and the public part of the mark."""

    mark: Mark
    message: tuple[int, ...]
    suspects: Mapping[str, Weights]


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


def target(form: Form, workshop: Workshop, runtime: Mapping[str, Any]) -> Target:
    """Return the model of the study, marked while it was fine-tuned, and trained alike without a mark."""
    entry = SchemeEntry(form.scheme, form.scheme, {"carrier": "body", **form.parameters})
    attack = AttackEntry("none", make_attack("noise", "study"), (0.0,))  # none is run
    cell = Cell(find_models([MODEL])[0], entry, form.payload, 0, attack, runtime)
    marked = workshop.marked(cell)
    models = {"unmarked": workshop.control(cell).model, "marked": marked.model}
    suspects = {name: as_weights(state_of(model)) for name, model in models.items()}
    return Target(marked.mark, tuple(marked.message.tolist()), suspects)


def search(forgery: BestOfMany, form: Form, suspect: str, weights: Weights, budget: int) -> Searched:
    """Return what `budget` claims find in a suspect, and the CPU time that it took.

    The verdict on the best one counts what was tried, and does not object that nothing was committed to.
    """
    seed = derive_seed(forgery=forgery.name, form=str(form), suspect=suspect)  # twins share most of their weights
    forgery = replace(forgery, seed=seed)
    start = time.process_time()
    log10_p = forgery.log10_p(weights, budget)
    seconds = time.process_time() - start
    best = Evidence({"fit": float(log10_p.min())})
    verdict = judge(best, tried=forgery.tried(budget), rate=RATE, objection=None)
    return Searched(str(form), suspect, log10_p, seconds, verdict)


def extract(form: Form, suspect: str, weights: Weights, mark: Mark, budget: int) -> "Extracted":
    """Return what becomes of the claims of `ExtractThenClaim`."""
    forgery = ExtractThenClaim(mark=mark, seed=derive_seed(extracted_from=suspect))
    found = verdicts(forgery, weights, budget, rate=RATE)
    lowest = min((verdict.log10_p for verdict in found), default=0.0)
    return Extracted(str(form), suspect, budget, len(found), lowest, sum(verdict.proven for verdict in found))


@dataclass(frozen=True)
class Extracted:
    """Claims of what came out: how many keys read anything, the lowest corrected log10 p, and how many are proven."""

    form: str
    suspect: str
    keys: int
    presented: int
    log10_p: float
    proven: int


def search_rows(found: Sequence[Searched]) -> list[tuple[object, ...]]:
    """Return a row for each search: counts with the most that chance explains, and the best claim's verdict."""
    rows: list[tuple[object, ...]] = []
    for one in found:
        keys = len(one.log10_p)
        counts = [f"{one.count(level)} / {_most(keys, level)}" for level in LEVELS]
        low, high = rate_interval(one.count(RATE), keys)
        interval = f"[{low:.1e}, {high:.1e}]"
        best = f"{one.log10_p.min():.1f} -> {one.verdict.log10_p:.1f}"
        rows.append(
            (one.form, one.suspect, f"{keys:,}", *counts, interval, best, one.verdict.proven, f"{one.seconds:.0f}")
        )
    return rows


def spam_rows(found: Sequence[Searched]) -> list[tuple[object, ...]]:
    """Return a row for each number of commitments: claimants proven at some rates, with and without the factor."""
    rows: list[tuple[object, ...]] = []
    for one in found:
        for commitments in COMMITMENTS:
            best = one.log10_p[: len(one.log10_p) // commitments * commitments].reshape(-1, commitments).min(axis=1)
            corrected = best + np.log10(commitments)
            counts = [f"{_below(corrected, rate)} / {_most(len(best), rate)}" for rate in SPAM_RATES]
            plain = [_below(best, rate) for rate in SPAM_RATES]
            rows.append((one.form, one.suspect, commitments, f"{len(best):,}", *counts, *plain))
    return rows


def _below(log10_p: Floats, rate: float) -> int:
    return int(np.sum(log10_p <= np.log10(rate)))


def _most(trials: int, rate: float) -> int:
    """Return the count that exact p-values exceed with probability 0.001 at most."""
    return int(binom.ppf(SURE, trials, rate))


def page(
    searched: Sequence[Searched], spammed: Sequence[Searched], extracted: Sequence[Extracted], device: torch.device
) -> str:
    """Return the tables as Markdown."""
    levels = [f"p <= {level:g}" for level in LEVELS]
    rates = [f"{what} {rate:g}" for what in ("proven at", "uncorrected at") for rate in SPAM_RATES]
    tables = (
        tabulate(
            search_rows(searched),
            ("form", "suspect", "keys", *levels, "rate at 1e-6, 95 %", "best log10 p", "proven", "CPU s"),
            tablefmt="github",
        ),
        tabulate(spam_rows(spammed), ("form", "suspect", "commitments", "claimants", *rates), tablefmt="github"),
        tabulate(
            [(e.form, e.suspect, e.keys, e.presented, f"{e.log10_p:.1f}", e.proven) for e in extracted],
            ("form", "suspect", "keys", "claims", "lowest log10 p", "proven"),
            tablefmt="github",
        ),
    )
    return PAGE.format(model=MODEL, hardware=hardware(device), torch=torch.__version__, tables=tables)


PAGE = """\
# Forged claims

A marked {model} and its unmarked twin, trained alike. {hardware}, torch {torch}, one thread.

## random-key: keys searched against the owner's own message

Each count is of keys whose p-value, taken alone, is at most so much, beside the largest count that a thousandth of
exact p-values would exceed. The p-values are discrete, so counts lie below. The best claim is shown before and after
its p-value is multiplied by the keys tried; proven is the verdict at 1e-6 even if nobody asked for a commitment.

{tables[0]}

## commitment-spam: the best of m pairs of key and message, all committed to beforehand

Claimants whose p-value times m is at most the rate, beside the largest count that chance explains; uncorrected: how
many would pass if the judge did not count commitments.

{tables[1]}

## extract-then-claim: any key, and the message that comes out

The lowest log10 p is corrected for all keys tried: the numbers alone would convince. None is proven, since none was
committed to.

{tables[2]}
"""


def study_form(
    form: Form, workshop: Workshop, runtime: Mapping[str, Any], share: float
) -> tuple[list[Searched], list[Searched], list[Extracted]]:
    """Return the searches, the spam and the extractions of one form, with `share` of its keys."""
    made = target(form, workshop, runtime)
    keys, spam = (max(1, round(share * count)) for count in (form.keys, form.keys / 5))
    searched, spammed, extracted = [], [], []
    for name, weights in made.suspects.items():
        key_search = RandomKey(mark=made.mark, message=made.message)
        searched.append(search(key_search, form, name, weights, keys))
        spammed.append(search(CommitmentSpam(mark=made.mark), form, name, weights, spam))
        extracted.append(extract(form, name, weights, made.mark, min(EXTRACTIONS, keys)))
    return searched, spammed, extracted


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Annotated[Path, typer.Option("-o", "--output", help="Markdown file to write.")],
    device: Annotated[str, typer.Option(help="auto, cpu or cuda; keys are tried on the CPU.")] = "auto",
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the keys to try.")] = 1.0,
) -> int:
    """Search, print and write the tables."""
    if output.suffix != ".md":
        raise BadInput(f"the tables are Markdown; name it {output.with_suffix('.md')}")
    where = choose_device(device)
    runtime = prepare(where, 1)
    found: tuple[list[Searched], list[Searched], list[Extracted]] = ([], [], [])
    with tempfile.TemporaryDirectory() as scratch:
        workshop = Workshop(ArtefactStore(Path(scratch)), where)
        for form in FORMS:
            for kind, more in zip(found, study_form(form, workshop, runtime, share), strict=True):
                kind.extend(more)  # type: ignore[arg-type]
            print(f"{form}: done", file=sys.stderr, flush=True)
    text = page(*found, where)
    write_atomic(output, text.encode())
    print(text)
    return DONE


if __name__ == "__main__":
    sys.exit(run_app(app, "bench.studies.forgery"))
