"""Whether p-values are right: random claims on every form of reading, exact counts of small codes, deep tails.

Run it with ``python -m bench.studies.null_laws -o results/null-laws.md`` (about an hour of one core).
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
import typer

from bench.null_laws import Counted, Form, all_forms, count_form, make_trial
from bench.null_laws.exact import all_tails
from bench.null_laws.forms import BLOCK, CODED, LABEL, MATCH, OVERLAP
from bench.null_laws.suspects import trained
from bench.null_laws.tilting import Floats, all_estimates
from bench.studies.null_laws_page import Measured, Timed, page
from bench.studies.output import Output, publish
from bench.support.environment import prepare
from cwwm.support.console import DONE, run_program
from cwwm.support.files import read_json, write_json
from cwwm.weights.carrier import prunable
from cwwm.weights.view import as_weights

#: scheme and payload of the form of each law with 10^5 claims; vacancy is tried beside the overlap
REPRESENTATIVES = {
    OVERLAP: ("cwc", 64),
    BLOCK: ("protected-cwc", 32),
    MATCH: ("sign-repetition", 64),
    CODED: ("spread-spectrum", 64),
    LABEL: ("carriers", 64),
}
LAW_CLAIMS, FORM_CLAIMS, LEAST_CLAIMS = 100_000, 10_000, 500
SECONDS = 40.0  # that a form may take, by the rough costs below; slower ones get fewer claims
_READING, _SYMBOL = 5e-4, 5e-8  # seconds
T = TypeVar("T")


def representatives(forms: Sequence[Form]) -> set[str]:
    """Return the identities of the forms that get 10^5 claims, the first fitting one of each law."""
    fitting = ([f for f in forms if (f.scheme, f.payload_bits) == at] for at in REPRESENTATIVES.values())
    return {found[0].identity for found in fitting if found}


def claims_for(form: Form, *, representative: bool, share: float) -> int:
    """Return how many claims are drawn: the same number on every machine."""
    if representative:
        return max(1, round(share * LAW_CLAIMS))
    affordable = int(SECONDS / (_READING + _SYMBOL * form.work)) // LEAST_CLAIMS * LEAST_CLAIMS
    return max(1, round(share * max(LEAST_CLAIMS, min(FORM_CLAIMS, affordable))))


def measure(form: Form, claims: int) -> Measured:
    """Return the counts of one form, and the CPU time that they took."""
    start = time.process_time()
    counts = count_form(make_trial(form), claims)
    return Measured(form, time.process_time() - start, tuple(counts))


def measure_all(share: float, cache: Path | None) -> Iterator[Measured]:
    """Yield the counts of all forms; those in the cache with as many claims or more are not drawn again."""
    forms = all_forms()
    known: dict[str, Any] = read_json(cache, "cache") if cache is not None and cache.exists() else {}
    chosen = representatives(forms)
    for number, form in enumerate(forms, 1):
        claims = claims_for(form, representative=form.identity in chosen, share=share)
        kept = known.get(form.identity)
        if kept is None or kept["claims"] < claims:
            found = measure(form, claims)
            counts = [one.to_json() for one in found.counts]
            known[form.identity] = {"claims": claims, "seconds": found.seconds, "counts": counts}
            if cache is not None:
                write_json(cache, known)
        else:
            found = Measured(form, kept["seconds"], tuple(map(Counted.from_json, kept["counts"])))
        print(
            f"{number} of {len(forms)}: {form}: {claims} claims, {found.seconds:.0f} s", file=sys.stderr, flush=True
        )
        yield found


def real_weights() -> Floats:
    """Return the weights of a small trained network, float64 (N,)."""
    weights = as_weights(trained(32, 32))
    return np.asarray(torch.cat([weights.tensor(name).flatten() for name in prunable(weights)]).double().numpy())


def timed(work: Callable[[], T]) -> Timed[T]:
    """Return what `work` gives, and its CPU time."""
    start = time.process_time()
    found = work()
    return Timed(found, time.process_time() - start)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    cache: Annotated[
        Path | None,
        typer.Option(help="JSON file that keeps the counts of finished forms; remove it when a scheme changes."),
    ] = None,
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the claims to draw.")] = 1.0,
) -> int:
    """Draw the claims, count and estimate, print and write the tables."""
    where = torch.device("cpu")
    prepare(where, 1)
    exact = timed(all_tails)
    estimates = timed(lambda: all_estimates(real_weights()))
    forms = list(measure_all(share, cache))
    publish(page(forms, exact, estimates, representatives(all_forms()), where), output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.null_laws")
