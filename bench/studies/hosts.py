"""Dead weights of the hosts that suites train on a CPU: no answer depends on them; and those a fine-tune leaves.

Run it with ``python -m bench.studies.hosts -o results/hosts.md`` (about half an hour of one core).
"""

import copy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from tabulate import tabulate

from bench.execution.unmarked_models import UnmarkedModels
from bench.metrics.accuracy import accuracy
from bench.metrics.dead_weights import STILL, DeadLayer, alive_weights, dead_layers, training_images, unmoved
from bench.models.registry import ModelSpec, find_models
from bench.studies.output import Output, measured_on, publish
from bench.suite.cell import HostSpec
from bench.suite.load import load_suite
from bench.support.artifact_store import ArtefactStore
from bench.support.environment import choose_device
from cwwm.support.console import DONE, run_program
from cwwm.training import train

SUITES = (
    "smoke", "paper", "protected", "encodings", "nightly-cpu", "compression", "systems", "alignment",
    "compression-anchors", "compression-reach", "cpu",
)  # fmt: skip
MOST = 0.10  # a host with a larger share of dead weights is not for suites


@dataclass(frozen=True)
class Host:
    """What was found of one model.

    Attributes:
        layers: dead weights of each layer. unmoved: weights that a full fine-tune moves by less than 3 % of their
            layer's root mean square. accuracy: percent, of the control.
    """

    model: ModelSpec
    layers: Sequence[DeadLayer]
    unmoved: int
    accuracy: float

    @property
    def weights(self) -> int:
        """Convolution and linear weights."""
        return sum(layer.weights for layer in self.layers)

    @property
    def dead(self) -> int:
        """Those that are dead."""
        return sum(layer.dead for layer in self.layers)


def measure(spec: ModelSpec, models: UnmarkedModels) -> Host:
    """Measure the unmarked control of a model's first seed, then fine-tune it as long as it was trained."""
    host = HostSpec(spec, 0)
    data, control = models.data(host), models.control(host).model
    recipe = spec.recipe.train or spec.recipe.mark
    alive = alive_weights(control, training_images(data.train, recipe))
    tuned = copy.deepcopy(control)
    train(tuned, data.train, replace(recipe, weight_decay=0.0), seed=1)  # decay moves the dead as well
    left = unmoved(control, tuned, list(alive))
    return Host(spec, dead_layers(alive), left, accuracy(control, data.test).percent)


def users() -> dict[str, list[str]]:
    """Return the suites that use each model, by its name, in the order of the suites."""
    found: dict[str, list[str]] = {}
    for suite in SUITES:
        for model in load_suite(suite).models:
            found.setdefault(model.name, []).append(suite)
    return found


def row(host: Host, suites: Sequence[str]) -> tuple[str, ...]:
    """Return the cells of a host's line."""
    worst = max(host.layers, key=lambda layer: layer.dead / layer.weights)
    listed = sum(layer.listed for layer in host.layers)
    return (
        host.model.name,
        host.model.data,
        str(host.model.size),
        f"{host.weights:,}",
        ("**{:.1%}**" if host.dead > MOST * host.weights else "{:.1%}").format(host.dead / host.weights),
        f"{listed / host.dead:.0%}" if host.dead else "-",
        f"{worst.name} {worst.dead / worst.weights:.0%}" if worst.dead else "-",
        f"{host.unmoved / host.weights:.1%}",
        f"{host.accuracy:.1f} %",
        ", ".join(suites) or "none",
    )


COLUMNS = (
    "model", "data", "pixels", "weights", "dead", "in whole rows or columns", "worst layer", "unmoved", "accuracy",
    "suites",
)  # fmt: skip


def page(hosts: Sequence[Host], suites: Mapping[str, Sequence[str]], device: torch.device) -> str:
    """Return the table as Markdown."""
    table = tabulate([row(host, suites.get(host.model.name, [])) for host in hosts], COLUMNS, tablefmt="github")
    return (
        "# Dead weights of hosts\n\nA convolution or linear weight is dead if no answer to the training images "
        "depends on it: the derivative of every logit is exactly zero, in evaluation mode, for all images as "
        "training draws them (`bench/metrics/dead_weights.py`). Marks there cost nothing, and neither does "
        f"redrawing them: a share above {MOST:.0%} is in bold. Carriers `alive:...` leave out rows and columns "
        "that are dead as a whole. Unmoved are weights that a fine-tune as long as the training, without decay, "
        f"moves by less than {STILL:.0%} of their layer's root mean square; live weights that hardly move are "
        "among them, and dead ones that wake in training, by batch norm's other statistics, are not. Controls of "
        f"seed 0. {measured_on(device)}.\n\n{table}\n{_unmeasured(hosts, suites)}"
    )


def _unmeasured(hosts: Sequence[Host], suites: Mapping[str, Sequence[str]]) -> str:
    """Return a paragraph that names the hosts of suites which are not in the table; empty if there are none."""
    absent = sorted(suites.keys() - {host.model.name for host in hosts})
    return f"\nHosts of the suites that were not measured here: {', '.join(absent)}.\n" if absent else ""


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    model: Annotated[
        list[str] | None, typer.Option(help="A model or wildcard, may repeat; by default all of the suites.")
    ] = None,
) -> int:
    """Train each host, measure it, print and write the table."""
    where, suites = choose_device(device), users()
    hosts = []
    with tempfile.TemporaryDirectory() as folder:
        models = UnmarkedModels(ArtefactStore(Path(folder)), where)
        for spec in find_models(model or list(suites)):
            hosts.append(measure(spec, models))
            print(*row(hosts[-1], suites.get(spec.name, [])), sep=" | ", file=sys.stderr, flush=True)
    publish(page(hosts, suites, where), output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.hosts")
