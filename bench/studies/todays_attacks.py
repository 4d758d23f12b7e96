"""What today's attacks do to an unmarked network: which keep every answer, what the others cost, on three networks.

Run it with ``python -m bench.studies.todays_attacks -o results/todays-attacks.md``. Networks are trained once and
kept in ``results/runs/todays-attacks``.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from tabulate import tabulate
from torch import nn

from bench.attacks import Attack, AttackContext, make_attack
from bench.attacks.symmetry.base import logits, relative_difference
from bench.execution.attacker import attacker_context
from bench.execution.model_factory import ModelFactory
from bench.metrics.accuracy import accuracy
from bench.models.registry import HostRecipe, find_models
from bench.studies.output import Output, measured_on, publish
from bench.suite import AttackEntry
from bench.suite.cell import HostSpec
from bench.support.artifact_store import ArtefactStore
from bench.support.environment import choose_device, prepare
from cwwm.support.console import DONE, run_program
from cwwm.support.errors import BadInput

STORE = Path("results", "runs", "todays-attacks", "artefacts")
NETWORKS = ("test_resnet", "test_vit", "mobilenetv3_small_050")
IMAGES = 64  # whose logits are compared

Spec = dict[str, Any]

#: attacks that claim to keep every answer, and how near, relative to the largest logit
EXACT: tuple[tuple[Spec, float], ...] = (
    ({"name": "deploy", "way": "fold"}, 1),
    ({"name": "deploy", "way": "reparametrise"}, 1),
    ({"name": "deploy", "way": "onnx-legacy"}, 1),
    ({"name": "deploy", "way": "onnx"}, 1),
    ({"name": "deploy", "way": "export"}, 1),
    ({"name": "rotate"}, 4.0),
    ({"name": "split-layers"}, 1.0),
    ({"name": "split-layers", "kind": "identity"}, 1.0),
)
OTHERS: tuple[tuple[Spec, float], ...] = (
    ({"name": "cast", "format": "bf16"}, 16),
    ({"name": "cast", "format": "fp16"}, 16),
    ({"name": "cast", "format": "fp8-e4m3"}, 8),
    ({"name": "cast", "format": "fp8-e4m3", "granularity": "channel"}, 8),
    ({"name": "cast", "format": "fp8-e5m2"}, 8),
    ({"name": "cast", "format": "fp8-e5m2", "granularity": "channel"}, 8),
    ({"name": "cast", "format": "nf"}, 4),
    ({"name": "cast", "format": "int", "group": 32}, 4),
    ({"name": "cast", "format": "int", "group": 128}, 4),
    ({"name": "ema"}, 0.99),
    ({"name": "interpolate"}, 0.5),
    ({"name": "interpolate", "path": "slerp"}, 0.5),
    ({"name": "soup"}, 4),
    ({"name": "task-arithmetic"}, 0.5),
    ({"name": "ties"}, 0.8),
    ({"name": "dare"}, 0.9),
    ({"name": "prune-nm"}, 0.5),
    ({"name": "wanda"}, 0.5),
    ({"name": "wanda", "group": 4}, 0.5),
    ({"name": "sparsegpt"}, 0.5),
    ({"name": "gptq"}, 4),
    ({"name": "svd"}, 0.5),
    ({"name": "then", "first": "svd", "second": {"name": "finetune", "epochs": 1}}, 0.5),
    ({"name": "then", "first": "drop-blocks", "second": {"name": "finetune", "epochs": 2}}, 0.25),
    ({"name": "idle"}, 0.1),
    ({"name": "noise-shaped"}, 0.1),
    ({"name": "lora"}, 4),
    ({"name": "distill-stolen", "epochs": 1}, 1),
)


@dataclass(frozen=True)
class Outcome:
    """What one attack did to one network.

    Attributes:
        difference: largest difference of a logit relative to the largest logit; None for other numbers of classes.
        lost: accuracy points lost on the test data; below zero where it gained.
        data, steps: share of the training data, and optimiser steps in shares of the host's training.
        refusal: why there is nothing; empty if there is.
    """

    network: str
    attack: str
    difference: float | None = None
    lost: float | None = None
    data: float | None = None
    steps: float | None = None
    refusal: str = ""


def measure(
    networks: Sequence[str], attacks: Sequence[tuple[Spec, float]], device: torch.device
) -> Iterator[Outcome]:
    """Yield what each attack does to each network, trained as the bench trains its hosts."""
    factory = ModelFactory(ArtefactStore(STORE), device)
    for (model,) in (find_models([name]) for name in networks):
        host = HostSpec(model, 0)
        control = factory.control(host)
        trained = training_steps(model.recipe, len(factory.data(host).train))
        for spec, strength in attacks:
            attack = make_attack(spec, "study")
            context = attacker_context(host, AttackEntry(attack.label, attack, (strength,)), factory, None)
            yield _outcome(model.name, attack, strength, control.model, context, trained)


def training_steps(recipe: HostRecipe, images: int) -> int:
    """Return the optimiser steps that a host was trained for, the mark's phase included."""
    phases = [phase for phase in (recipe.train, recipe.mark) if phase is not None]
    return sum(phase.epochs * math.ceil(images / phase.batch_size) for phase in phases)


def _outcome(
    network: str, attack: Attack, strength: float, model: nn.Module, context: AttackContext, trained: int
) -> Outcome:
    shown, images = _shown(attack, strength), context.data.test.x[:IMAGES]
    try:
        item = next(attack([model], [strength], context))
    except BadInput as error:
        return Outcome(network, shown, refusal=str(error))
    before, after = (accuracy(each, context.data.test).percent for each in (model, item.model))
    difference = relative_difference(logits(item.model, images), logits(model, images))
    return Outcome(network, shown, difference, before - after, item.cost.data_fraction, item.cost.steps / trained)


def _shown(attack: Attack, strength: float) -> str:
    return f"{attack.label} {strength:g}"


def page(found: Sequence[Outcome], device: torch.device) -> str:
    """Return the tables as Markdown: first of the attacks that claim to keep every answer."""
    claims = {_shown(make_attack(spec, "study"), strength) for spec, strength in EXACT}
    kept = [o for o in found if o.attack in claims]
    networks = list(dict.fromkeys(o.network for o in found))
    exact = [_row(attack, own, networks, _difference) for attack, own in _by_attack(kept)]
    others = [o for o in found if o.attack not in claims]
    cells = [(*_row(attack, own, networks, _lost), _cost(own)) for attack, own in _by_attack(others)]
    refusals = [(o.attack, o.network, o.refusal) for o in found if o.refusal]
    worst = max((o.difference for o in kept if o.difference is not None), default=0.0)
    text = f"""\
# What today's attacks do to a network without a mark

Networks of seed 0, trained on digits as hosts of the bench are; one strength an attack, its number behind the name.
{measured_on(device)}, one thread.

## Attacks that keep every answer

Largest difference of a logit relative to the largest logit, float32, on {IMAGES} test images; the largest of all is
{worst:.1e}.

{tabulate(exact, ("attack", *networks), tablefmt="github", disable_numparse=True)}

## The others

Accuracy points lost (below zero: gained), and what the attack took: share of the training data, and optimiser steps
in shares of the host's own, the largest of the three. A dash: the attack does not take this network.

{tabulate(cells, ("attack", *networks, "data, steps"), tablefmt="github", disable_numparse=True)}
"""
    if not refusals:
        return text
    table = tabulate(refusals, ("attack", "network", "reason"), tablefmt="github", disable_numparse=True)
    return f"{text}\n## What was refused, and why\n\n{table}\n"


def _by_attack(outcomes: Sequence[Outcome]) -> list[tuple[str, dict[str, Outcome]]]:
    """Return the outcomes of each attack by network, in the order of the attacks."""
    names = dict.fromkeys(o.attack for o in outcomes)
    return [(name, {o.network: o for o in outcomes if o.attack == name}) for name in names]


def _row(
    attack: str, own: dict[str, Outcome], networks: Sequence[str], value: Callable[[Outcome], str]
) -> tuple[str, ...]:
    return attack, *("-" if own[name].refusal else value(own[name]) for name in networks)


def _difference(outcome: Outcome) -> str:
    return "-" if outcome.difference is None else f"{outcome.difference:.1e}"


def _lost(outcome: Outcome) -> str:
    return "-" if outcome.lost is None else f"{outcome.lost:.1f}"


def _cost(own: dict[str, Outcome]) -> str:
    data = max((o.data for o in own.values() if o.data is not None), default=0.0)
    steps = max((o.steps for o in own.values() if o.steps is not None), default=0.0)
    return f"{data:.0%}, {steps:.0%}" if data or steps else "none"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> int:
    """Measure, print and write the tables."""
    where = choose_device(device)
    prepare(where, threads=1)
    found = []
    for outcome in measure(NETWORKS, [*EXACT, *OTHERS], where):
        print(outcome, file=sys.stderr, flush=True)
        found.append(outcome)
    publish(page(found, where), output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.todays_attacks")
