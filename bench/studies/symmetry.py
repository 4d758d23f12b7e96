"""Do permute, rescale, rotate and insert keep the function, and how many weights do they touch: one table.

Run it with ``python -m bench.studies.symmetry -o results/symmetry.md`` (about five minutes on one core).
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import typer
from tabulate import tabulate
from torch import nn

from bench.attacks import make_attack
from bench.attacks.base import AttackContext
from bench.data import load
from bench.models.registry import HostRecipe
from bench.studies.output import Output, measured_on, publish
from bench.support.environment import choose_device, prepare
from cwwm.support.console import DONE, run_program
from cwwm.training import Recipe
from cwwm.weights.carrier import prunable
from cwwm.weights.view import as_weights

SIZE = 64  # pixels; Swin takes 56, 7 windows of 2 patches of 4
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet18": {},
    "resnet50": {},
    "vgg11_bn": {},
    "mobilenetv2_100": {},
    "efficientnet_b0": {},
    "densenet121": {},
    "regnetx_002": {},
    "regnety_004": {},
    "convnext_atto": {},
    "convnextv2_atto": {},
    "vit_tiny_patch16_224": {"img_size": SIZE},
    "swin_tiny_patch4_window7_224": {"img_size": 56},
}
ATTACKS: tuple[tuple[dict[str, Any], float], ...] = (
    ({"name": "permute"}, 1.0),
    ({"name": "rescale"}, 4.0),
    ({"name": "rotate"}, 4.0),
    ({"name": "insert", "kind": "zero"}, 0.1),
    ({"name": "insert", "kind": "split"}, 0.1),
    ({"name": "insert", "kind": "clique"}, 0.1),
)
HEADERS = ("network", "weights", "attack", "difference", "weights moved", "changes made", "not made", "seconds")


@dataclass(frozen=True)
class Outcome:
    """What one attack did to one network: `achieved` and seconds are the attack's own."""

    network: str
    weights: int
    attack: str
    achieved: dict[str, Any]
    seconds: float


def randomised(name: str, **create: Any) -> nn.Module:  # noqa: ANN401 (timm's arguments)
    """Return a timm network without pretrained weights in which nothing has a value that hides an error.

    Initial values do: norms that multiply by one and add zero, layer scales of 1e-6, biases of zero. All tensors
    that are no convolution or linear weight are drawn: weights, scales and variances from [0.5, 1.5], the rest
    from a Gaussian of deviation 0.3.
    """
    import timm

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model: nn.Module = timm.create_model(name, num_classes=10, **create).eval()
        carriers = set(prunable(as_weights(model)))
        for tensor_name, tensor in model.state_dict().items():
            if tensor_name in carriers or not tensor.is_floating_point():
                continue
            if tensor_name.endswith(("weight", "gamma", "running_var")):
                tensor.uniform_(0.5, 1.5)
            else:
                tensor.normal_(0, 0.3)
    return model


def attacker(size: int, device: torch.device, *, channels: int = 3) -> AttackContext:
    """Return what an attacker has here: digits of `size` pixels; nothing is trained."""

    def dataset(name: str) -> Any:  # noqa: ANN401
        return load(name, size=size, channels=channels).to(device)

    return AttackContext(dataset("digits"), HostRecipe(mark=Recipe(epochs=1)), 0, device, dataset)


def measure(networks: Sequence[str], device: torch.device) -> Iterator[Outcome]:
    """Yield what each attack does to each network."""
    for name in networks:
        create = NETWORKS[name]
        model = randomised(name, **create).to(device)
        context = attacker(create.get("img_size", SIZE), device)
        weights = as_weights(model)
        count = sum(weights.tensor(carrier).numel() for carrier in prunable(weights))
        for spec, strength in ATTACKS:
            attack = make_attack(spec, "study")
            item = next(attack.curve([model], [strength], context))
            label = " ".join(map(str, spec.values())) + f" {strength:g}"
            yield Outcome(name, count, label, dict(item.achieved), item.cost.seconds)


def page(outcomes: Sequence[Outcome], device: torch.device) -> str:
    """Return the tables as Markdown."""
    rows = [
        (
            o.network,
            f"{o.weights / 1e6:.1f} M",
            o.attack,
            f"{o.achieved['difference']:.1e}",
            f"{o.achieved['moved']:.1%}",
            o.achieved["groups"],
            len(o.achieved["skipped"]),
            f"{o.seconds:.1f}",
        )
        for o in outcomes
    ]
    skipped = {(o.network, o.attack.split()[0], *item) for o in outcomes for item in o.achieved["skipped"].items()}
    reasons = Counter((network, attack, reason) for network, attack, _, reason in skipped)
    left = [(*key, count) for key, count in sorted(reasons.items())]
    worst = max(o.achieved["difference"] for o in outcomes)
    return f"""\
# Attacks that preserve the function, on networks without trained weights

Weights are as initialised; norms, biases, statistics and scales are drawn at random, since initial ones and zeros
hide errors. Difference is that of the logits relative to the largest logit, in float32, on 2 digits and 2 images of
noise; the largest of all is {worst:.1e}. Weights moved: under permute, the share of all convolution and linear
weights that came from another place; under rescale and rotate, those that changed; under insert, those whose
tensor has another shape. Rotate changes attention alone. The number behind an attack is its strength; what it did
not change is listed below.
{measured_on(device)}, one thread.

{tabulate(rows, HEADERS, tablefmt="github", disable_numparse=True)}

## What was not changed, and why

{tabulate(left, ("network", "attack", "reason", "places"), tablefmt="github", disable_numparse=True)}
"""


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> int:
    """Measure, print and write the tables."""
    where = choose_device(device)
    prepare(where, threads=1)
    outcomes = []
    for outcome in measure(list(NETWORKS), where):
        print(outcome.network, outcome.attack, f"{outcome.achieved['difference']:.1e}", file=sys.stderr, flush=True)
        outcomes.append(outcome)
    text = page(outcomes, where)
    publish(text, output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.symmetry")
