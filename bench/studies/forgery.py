"""What forged claims are worth: fitted to a public base, ground, searched by the million, committed to in heaps.

Run it with ``python -m bench.studies.forgery -o results/forgery.md`` (about an hour of one core); it draws the
grinding curve beside the page.
"""

import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.execution.model_factory import ModelFactory
from bench.leaderboard.pictures import save
from bench.metrics.forgery import BestOfMany, CommitmentSpam, ExtractThenClaim, RandomKey, verdicts
from bench.models.registry import find_models
from bench.studies.fitted_claims import judged, stretch_seconds, world
from bench.studies.forgery_page import RATE, Extracted, Found, Searched, page
from bench.studies.grinding import draw_grinding
from bench.studies.output import Output, publish
from bench.suite import SchemeEntry
from bench.suite.cell import HostSpec, MarkSpec
from bench.support.artifact_store import ArtefactStore, state_of
from bench.support.environment import choose_device, prepare
from cwwm.ownership.evidence import Evidence, judge
from cwwm.ownership.mark import Mark
from cwwm.support.console import DONE, run_program
from cwwm.support.seeds import derive_seed
from cwwm.weights.view import Weights, as_weights

MODEL = "test_resnet"
EXTRACTIONS = 1000


@dataclass(frozen=True)
class Form:
    """A public form of marks, and how many keys are tried on each suspect.

    Attributes:
        scheme, payload, parameters: of the encoding.
        keys: as many as a core reads in about ten minutes. Short codes read faster: a million keys are tried on
            two whose p-values, which are discrete, come near to 1e-6 from below (0.3e-6 and 0.8e-6).
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


def target(form: Form, factory: ModelFactory, runtime: Mapping[str, Any]) -> Target:
    """Return the model of the study, marked while it was fine-tuned, and trained alike without a mark."""
    entry = SchemeEntry(form.scheme, form.scheme, {"carrier": "body", **form.parameters})
    host = HostSpec(find_models([MODEL])[0], 0, runtime)
    marked = factory.marked(MarkSpec(host, entry, form.payload))
    models = {"unmarked": factory.control(host).model, "marked": marked.model}
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


def extract(form: Form, suspect: str, weights: Weights, mark: Mark, budget: int) -> Extracted:
    """Return what becomes of the claims of `ExtractThenClaim`."""
    forgery = ExtractThenClaim(mark=mark, seed=derive_seed(extracted_from=suspect))
    found = verdicts(forgery, weights, budget, rate=RATE)
    lowest = min((verdict.log10_p for verdict in found), default=0.0)
    return Extracted(str(form), suspect, budget, len(found), lowest, sum(verdict.proven for verdict in found))


def study_form(form: Form, made: Target, share: float = 1.0) -> Found:
    """Return the searches, the spam (a fifth as many claims) and the extractions of one form.

    Args:
        form: of the marks.
        made: from `target`.
        share: of the form's keys that are tried.
    """
    keys, spam = (max(1, round(share * count)) for count in (form.keys, form.keys / 5))
    found = Found()
    for name, weights in made.suspects.items():
        search_keys = RandomKey(mark=made.mark, message=made.message)
        found += Found(
            (search(search_keys, form, name, weights, keys),),
            (search(CommitmentSpam(mark=made.mark), form, name, weights, spam),),
            (extract(form, name, weights, made.mark, min(EXTRACTIONS, keys)),),
        )
    return found


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda; keys are tried on the CPU.")] = "auto",
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the keys to try.")] = 1.0,
) -> int:
    """Fit, search, print and write the tables and the picture."""
    where = choose_device(device)
    runtime = prepare(where, 1)
    found = Found(fitted=tuple(judged(world(MODEL))), stretch=stretch_seconds())
    print("fitted claims: done", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        factory = ModelFactory(ArtefactStore(Path(scratch)), where)
        for form in FORMS:
            found += study_form(form, target(form, factory, runtime), share)
            print(f"{form}: done", file=sys.stderr, flush=True)
    save(draw_grinding(found.spammed, found.stretch), output.with_suffix(".png"))
    publish(page(found, MODEL, where), output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.forgery")
