"""Reading against the original: what every attack leaves, beside its law, and what each step of reading is worth.

Run it with ``python -m bench.studies.informed -o results/informed.md`` (an hour and a half on one core; it goes on
from the lines that it keeps). It marks the finished networks of small hosts weakly, so that much is lost, says what
removes the message at which price, and draws measurement against law beside the page.
"""

import json
import math
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from tabulate import tabulate
from torch import Tensor

from bench.attacks import Attacked, make_attack
from bench.execution.attacker import attacker_context
from bench.execution.model_factory import Marked, ModelFactory
from bench.metrics.accuracy import accuracy
from bench.metrics.tiers import tier
from bench.models.registry import find_models
from bench.records.schema import Cost
from bench.studies.informed_attacks import ATTACKS
from bench.studies.informed_picture import draw
from bench.studies.output import Output, measured_on, publish
from bench.suite import AttackEntry, SchemeEntry
from bench.suite.cell import HostSpec, MarkSpec
from bench.support.artifact_store import ArtefactStore, state_of
from bench.support.environment import choose_device, prepare
from cwwm.readers import Informed, Reader, find_reader, view_of
from cwwm.residual import Steps
from cwwm.residual.alive import Alive
from cwwm.residual.scales import row_deviation, scales
from cwwm.schemes import Claim
from cwwm.support.console import DONE, run_program
from cwwm.support.errors import BadInput
from cwwm.weights.view import TensorWeights, Weights, as_weights

HOSTS = ("test_resnet-40", "test_convnext2", "test_vit")
ENERGY = 1e-3  # g^2
PAYLOAD = 256
LN10 = math.log(10)
BROUGHT_BACK = "-"  # of the law, where an alignment stands between suspect and original


@dataclass(frozen=True)
class Reading:
    """What is left of a mark in one suspect.

    Attributes:
        host, attack, strength: of the suspect. lost: points of accuracy against the marked model.
        blind: SNR2 read from the suspect alone. informed: against the original. without: by step, when it is left
            out.
        law: SNR2 by the change of the weights that are left; None where channels were brought back first.
        recovered: whether the message is, against the original.
        tier, data, compute: of the attacker, and the shares of the host's images and training that the attack took.
    """

    host: str
    attack: str
    strength: float
    lost: float
    blind: float
    informed: float
    without: Mapping[str, float]
    law: float | None
    recovered: bool
    tier: int
    data: float
    compute: float


@dataclass(frozen=True)
class Owner:
    """A marked host, its unmarked original, and what the law needs of it."""

    marked: Marked
    original: Weights
    copy: Weights

    @classmethod
    def of(cls, marked: Marked) -> "Owner":
        """Keep both sets of tensors as they are before any attack."""
        return cls(marked, TensorWeights(state_of(marked.original())), TensorWeights(state_of(marked.model)))

    def snr2(self, suspect: Weights, reader: Reader) -> float:
        """Return the squared correlation with the claimed word, of positive ones; 0 of others."""
        own = self.marked
        owned = self.original if reader.takes_original else None
        found = view_of(reader, own.scheme, suspect, own.key, own.mark, owned).reading(
            own.scheme, own.key, own.mark
        )
        evidence = own.scheme.evidence(found, Claim(own.key, own.mark, own.message))
        return -2 * LN10 * min(evidence.log10_p.values(), default=0.0)

    def is_recovered(self, suspect: Weights) -> bool:
        """Say whether the message comes back against the original."""
        own = self.marked
        view = view_of(find_reader("informed"), own.scheme, suspect, own.key, own.mark, self.original)
        found = view.extraction(own.scheme, own.key, own.mark)
        return found.ok and bool((found.bits == own.message).all())

    def law(self, suspect: Weights) -> float | None:
        """Return SNR2 by what the attack did beside the pattern; None where channels were brought back first."""
        own = self.marked
        view = view_of(find_reader("informed"), own.scheme, suspect, own.key, own.mark, self.original)
        if view.alignment is not None or view.refusal:
            return None
        names = own.scheme.expected(self.original, own.mark)
        return sum(_left(suspect.tensor(n), self.copy.tensor(n), self.original.tensor(n)) for n in names)


def _left(suspect: Tensor, copy: Tensor, original: Tensor) -> float:
    """Return sum a^2 / (E + a^2) over the weights of a layer that are left.

    a is what is left of the pattern, by projection, E the rest of the change of most weights, both by row.
    """
    read, marked, known = (t.detach().float().cpu().flatten(1) for t in (suspect, copy, original))
    alive = Alive.of(read != 0)
    floor = 1e-3 * (marked - known).square().mean(1, keepdim=True).sqrt()
    scale = scales(read, marked, alive, floor, original.shape[1])
    pattern = torch.where(alive.mask, scale * (marked - known), 0.0)
    change = torch.where(alive.mask, read - scale * marked, 0.0)
    lost = float((change * pattern).sum() / pattern.square().sum().clamp(min=1e-30))
    noise = row_deviation(change - lost * pattern, alive, floor).square()
    mark = (1 + lost) ** 2 * (scale * (marked - known)).square().mean(1, keepdim=True)
    return float((alive.per_row * mark / (noise + mark)).sum())


def read_all(owner: Owner, item: Attacked, host: str, label: str, lost: float, spent: Cost) -> Reading:
    """Return what is left of a mark in an attacked model, read in all ways."""
    suspect = as_weights(item.model)
    without = {
        step.name: owner.snr2(suspect, Informed(replace(Steps(), **{step.name: False}))) for step in fields(Steps)
    }
    return Reading(
        host, label, item.strength, lost,
        owner.snr2(suspect, find_reader("blind")), owner.snr2(suspect, Informed()), without,
        owner.law(suspect), owner.is_recovered(suspect),
        tier(spent), spent.data_fraction, spent.compute_fraction or 0.0,
    )  # fmt: skip


def readings(
    host: str, energy: float, seed: int, factory: ModelFactory, done: Collection[str]
) -> Iterator[list[Reading]]:
    """Yield what is left of one mark after each attack but those whose labels are `done`."""
    (spec,) = find_models([host])
    parameters = {"gain": math.sqrt(energy), "carrier": "body"}
    entry = SchemeEntry("spread-cwc", "spread-cwc", parameters, reader="informed", finished=True)
    mark = MarkSpec(HostSpec(spec, seed), entry, PAYLOAD)
    owner, data = Owner.of(factory.marked(mark)), factory.data(mark.host)
    before = accuracy(owner.marked.model, data.test).percent
    for attempt in ATTACKS:
        attack = make_attack(attempt.attack, "informed")
        label = attempt.label or attack.label
        if label in done:
            continue
        context = attacker_context(
            mark.host, AttackEntry(label, attack, attempt.strengths), factory, owner.marked.scheme
        )
        copies = factory.copies(mark, attack.copies_needed(attempt.strengths) - 1)
        try:
            yield [
                read_all(
                    owner,
                    item,
                    host,
                    label,
                    before - accuracy(item.model, data.test).percent,
                    Cost(**attack.spent(item.cost, context)),
                )
                for item in attack.curve([owner.marked.model, *copies], attempt.strengths, context)
            ]
        except BadInput as refusal:
            print(f"{host}: {label}: {refusal}", file=sys.stderr, flush=True)


COLUMNS = (
    "host", "attack", "strength", "points lost", "blind", "against the original", "law", "over law",
    *(f"without {step.name}" for step in fields(Steps)), "message",
)  # fmt: skip


def _row(one: Reading) -> tuple[object, ...]:
    over = "-" if one.law is None else f"{one.informed / max(one.law, 1e-9):.2f}"
    law = BROUGHT_BACK if one.law is None else f"{one.law:,.0f}"
    return (
        one.host, one.attack, f"{one.strength:g}", f"{one.lost:.1f}", f"{one.blind:,.0f}", f"{one.informed:,.0f}",
        law, over, *(f"{value:,.0f}" for value in one.without.values()), "recovered" if one.recovered else "lost",
    )  # fmt: skip


USABLE = 3.0  # points of accuracy that a thief accepts to lose


def _price(one: Reading) -> str:
    return (
        f"{one.attack} at {one.strength:g} (tier {one.tier}, {one.data:.0%} of the images, {one.compute:.2g} times "
        f"the training, {one.lost:.1f} points lost, SNR2 {one.informed:,.0f})"
    )


def removals(found: Sequence[Reading]) -> str:
    """Say of each host what removes the message while the model stays usable, the cheapest first."""
    lines = []
    for host in dict.fromkeys(one.host for one in found):
        usable = [one for one in found if one.host == host and one.lost <= USABLE]
        lost = sorted(
            (one for one in usable if not one.recovered), key=lambda one: (one.tier, one.compute, one.lost)
        )
        said = "; ".join(map(_price, lost))
        if not lost:
            said = f"nothing; nearest comes {_price(min(usable, key=lambda one: one.informed))}"
        lines.append(f"- **{host}**, of {len(usable)} suspects: {said}.")
    return "\n".join(lines)


def page(found: Sequence[Reading], energy: float, picture: str, device: torch.device) -> str:
    """Return the tables as Markdown."""
    table = tabulate([_row(one) for one in found], COLUMNS, tablefmt="github", disable_numparse=True)
    kept = sum(one.recovered for one in found)
    price = (
        f"What removes the message and costs at most {USABLE:g} points of accuracy, by tier, then by training:"
        f"\n\n{removals(found)}"
    )
    return (
        "# What is left of a mark, read against the original\n\n"
        f"`spread-cwc`, {PAYLOAD} bits, put into finished networks at a relative energy g^2 of {energy:g}. "
        "Numbers are SNR2, the squared correlation with the right word over the sum of its squared terms: "
        "log10 p is about -SNR2 / 4.6, and a message of 256 bits comes back from about 500 on. *Blind* is "
        "read from the suspect alone. *Law* is sum a^2 / (E + a^2) over the weights that are left, with the "
        "amplitude a of the pattern and the squared change E of the attack beside it; what is above it, under "
        "training, is what damping wins, and what is below it lies in attacks whose change is no noise. "
        "*Without* a step is what reading gives when that step alone is left out.\n\n"
        f"{kept} of {len(found)} messages are recovered. {measured_on(device)}.\n\n"
        f"{price}\n\n"
        f"![SNR2 measured against its law]({picture})\n\n{table}\n"
    )


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    host: Annotated[list[str] | None, typer.Option(help="Of models.yaml; may repeat.")] = None,
    energy: Annotated[float, typer.Option(help="g^2 of the mark.")] = ENERGY,
    seed: Annotated[int, typer.Option(min=0, help="Of hosts and marks.")] = 0,
    artefacts: Annotated[Path | None, typer.Option(help="Folder of trained hosts, kept for the next time.")] = None,
    kept: Annotated[Path | None, typer.Option(help="JSON lines to go on from; by default in build/.")] = None,
) -> int:
    """Mark, attack and read in all ways; print and write the tables, and the picture beside them."""
    where = choose_device(device)
    prepare(where, 1)
    kept = kept or Path(f"build/informed-{energy:g}-{seed}.jsonl")
    kept.parent.mkdir(parents=True, exist_ok=True)
    found = [Reading(**json.loads(line)) for line in kept.read_text().splitlines()] if kept.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        factory = ModelFactory(ArtefactStore(artefacts or Path(folder)), where)
        for name in host or HOSTS:
            done = {one.attack for one in found if one.host == name}
            for group in readings(name, energy, seed, factory, done):
                found += group
                with kept.open("a") as file:
                    file.writelines(json.dumps(asdict(one)) + "\n" for one in group)
                for one in group:
                    print(*_row(one), sep=" | ", file=sys.stderr, flush=True)
    order = [attempt.label or make_attack(attempt.attack, "informed").label for attempt in ATTACKS]
    found.sort(key=lambda one: ((host or HOSTS).index(one.host), order.index(one.attack)))
    picture = output.with_suffix(".png")
    draw([asdict(one) for one in found if one.law is not None], picture)
    publish(page(found, energy, picture.name, where), output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.informed")
