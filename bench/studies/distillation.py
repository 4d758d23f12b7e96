"""What distillation leaves of carriers that were embedded directly, and of those of our reading of ingrain.

Run it with ``python -m bench.studies.distillation -o results/distillation.md`` (about half an hour on one core).
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Annotated

import torch
import typer
from tabulate import tabulate
from torch import nn

from bench.attacks import AttackContext, make_attack
from bench.data import Dataset, load
from bench.metrics.accuracy import accuracy
from bench.models.registry import HostRecipe, build_model, find_models
from bench.studies.output import Output, measured_on, publish
from bench.support.environment import choose_device, prepare
from cwwm.ownership.evidence import PROOF_RATE, log10_match_tail
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes import Claim, EmbedContext, Scheme, make_scheme
from cwwm.support.console import DONE, run_program
from cwwm.support.seeds import derive_seed
from cwwm.training import Recipe, train
from cwwm.weights.view import as_weights

TEACHER, STUDENT = "convnet16_32", "convnet12_24"
DATA, SIZE = "digits", 16
RECIPE = HostRecipe(mark=Recipe(epochs=40, batch_size=64, lr=3e-3))
TEMPERATURES = (1.0, 10.0)
PAYLOAD, CARRIERS = 64, 60
NONCE = b"distilling study"
FIRST = 5  # defaults of the schemes (strength, ingrainer_steps) were chosen on seeds 0 to 4
HOSTS: dict[str, Scheme | None] = {
    "unmarked": None,
    "direct": make_scheme("carriers", {"payload_bits": PAYLOAD, "carriers": CARRIERS}),
    **{
        f"ingrain, lambda {value:g}": make_scheme(
            "ingrain", {"payload_bits": PAYLOAD, "carriers": CARRIERS, "coefficient": value}
        )
        for value in (0.5, 1.0, 2.0)
    },
}


@dataclass(frozen=True)
class Score:
    """Test accuracy, and carriers answered with their label, both in percent; None for an unmarked host."""

    accuracy: float
    carriers: float | None

    def __str__(self) -> str:
        return f"{self.accuracy:.1f} / {'-' if self.carriers is None else f'{self.carriers:.1f}'}"


@dataclass(frozen=True)
class Outcome:
    """One host of one seed: the teacher, and the student at each temperature."""

    host: str
    seed: int
    teacher: Score
    students: Mapping[float, Score]


@dataclass(frozen=True)
class Teacher:
    """A host trained from scratch, with its mark if it has one."""

    model: nn.Module
    scheme: Scheme | None
    claim: Claim | None

    def score(self, suspect: nn.Module, data: Dataset) -> Score:
        """Return how a suspect does on the task and on this teacher's carriers."""
        carriers = None
        if self.scheme is not None and self.claim is not None:
            found = self.scheme.extract(as_weights(suspect), self.claim.key, self.claim.mark)
            carriers = 100 * self.scheme.overlap(found, self.claim)
        return Score(accuracy(suspect, data.test).percent, carriers)


def digits(device: torch.device) -> Dataset:
    """Return the grey 16x16 digits."""
    return load(DATA, size=SIZE, channels=1, device=device)


def build(name: str | None, seed: int, device: torch.device) -> nn.Module:
    """Return an untrained network for the digits, the teacher's where no name is given."""
    (spec,) = find_models([name or TEACHER])
    return build_model(replace(spec, data=DATA, size=SIZE, channels=1), 10, seed).to(device)


def teacher(scheme: Scheme | None, seed: int, data: Dataset, device: torch.device) -> Teacher:
    """Return a teacher trained from scratch, the mark embedded from the first step on."""
    model = build(None, derive_seed(study="distillation", host=seed), device)
    key = Key.for_harness(study="distillation", seed=seed)
    message = key.choices(NONCE).stream("study's message").bits(PAYLOAD)
    context = EmbedContext(data.train, data.classes, seed, device, NONCE)
    embedding = scheme.begin(as_weights(model), message, key, context) if scheme else None
    train(model, data.train, RECIPE.mark, seed=seed, embedding=embedding)
    mark: Mark | None = embedding.finish() if embedding else None
    return Teacher(model, scheme, Claim(key, mark, message) if mark else None)


def outcome(host: str, seed: int, device: torch.device, temperatures: Sequence[float] = TEMPERATURES) -> Outcome:
    """Train one of `HOSTS` and distil it into a fresh, narrower student on its own training images."""
    data = digits(device)
    made = teacher(HOSTS[host], seed, data, device)
    context = AttackContext(
        data=data,
        recipe=RECIPE,
        seed=seed,
        device=device,
        load=lambda name: load(name, size=SIZE, channels=1, device=device),
        build=lambda name, student: build(name, student, device),
    )
    attack = make_attack({"name": "distill", "student": STUDENT}, "study")
    students = {
        item.strength: made.score(item.model, data) for item in attack.curve([made.model], temperatures, context)
    }
    return Outcome(host, seed, made.score(made.model, data), students)


def measure(seeds: int, device: torch.device) -> Iterator[Outcome]:
    """Yield the outcomes of all hosts, seed by seed."""
    for seed in range(FIRST, FIRST + seeds):
        for host in HOSTS:
            yield outcome(host, seed, device)


def mean(scores: Sequence[Score]) -> Score:
    """Return the means over seeds."""
    carriers = [score.carriers for score in scores if score.carriers is not None]
    return Score(fmean(score.accuracy for score in scores), fmean(carriers) if carriers else None)


def table(outcomes: Sequence[Outcome], *, means: bool) -> str:
    """Return a row for each outcome, or for the means over the seeds of each host, as Markdown."""
    if means:
        hosts = list(dict.fromkeys(o.host for o in outcomes))
        rows = [_row(host, "mean", [o for o in outcomes if o.host == host]) for host in hosts]
    else:
        rows = [_row(o.host, str(o.seed), [o]) for o in sorted(outcomes, key=lambda o: (_place(o), o.seed))]
    headers = ("host", "seed", "teacher", *(f"student, T = {t:g}" for t in TEMPERATURES))
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def _place(outcome: Outcome) -> int:
    return list(HOSTS).index(outcome.host)


def _row(host: str, seed: str, outcomes: Sequence[Outcome]) -> list[str]:
    students = [mean([o.students[t] for o in outcomes]) for t in TEMPERATURES]
    return [host, seed, str(mean([o.teacher for o in outcomes])), *map(str, students)]


def threshold(classes: int = 10) -> int:
    """Return the least number of right carriers that is proof at `PROOF_RATE` by the binomial tail."""
    return next(n for n in range(CARRIERS + 1) if 10 ** log10_match_tail(n, CARRIERS, 1 / classes) <= PROOF_RATE)


def page(outcomes: Sequence[Outcome], device: torch.device) -> str:
    """Return the study as Markdown."""
    seeds = len({o.seed for o in outcomes})
    least = threshold()
    return f"""\
# Distillation against carriers, embedded directly and by our reading of ingrain

Each cell is test accuracy / carriers answered with their label, in percent; chance is 10. Teacher {TEACHER} (16
and 32 channels), 16x16 digits, {CARRIERS} abstract carriers with keyed labels over 10 classes, from scratch in
{RECIPE.mark.epochs} epochs; student {STUDENT} (12 and 24 channels), distilled with T^2 KL on the teacher's own
training images by the same recipe. A proof at a false-positive rate of {PROOF_RATE:g} takes {least} of {CARRIERS}
carriers, {100 * least / CARRIERS:.1f} %.

**`ingrain` is a reconstruction**: the paper's loss and settings are not public, and no figure here is the paper's.

Means over {seeds} seeds, none of them among those on which the defaults of both schemes were chosen:

{table(outcomes, means=True)}

Each seed:

{table(outcomes, means=False)}

{measured_on(device)}.
"""


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seeds: Annotated[int, typer.Option(min=1, help="Teachers of each kind.")] = 5,
) -> int:
    """Measure, print and write the tables."""
    where = choose_device(device)
    prepare(where, 1)
    outcomes = []
    for found in measure(seeds, where):
        print(found, file=sys.stderr, flush=True)
        outcomes.append(found)
    text = page(outcomes, where)
    publish(text, output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.distillation")
