"""What marks in real ImageNet weights outlive, at equal answers kept: every encoding that needs no training.

Run it with ``python -m bench.studies.pretrained_survival -o results/pretrained-survival.md`` (about an hour a
network on one core; it goes on from the lines that it keeps). The owner's default command comes first, as it is;
then every encoding at the strength at which at least 98 % of the answers on photo crops are kept.
"""

import copy
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from tabulate import tabulate
from torch import nn

from bench.attacks import AttackContext, make_attack
from bench.metrics.energy import relative_change
from bench.studies.output import Output, measured_on, publish
from bench.studies.pretrained import LITE0, MOBILENET, Network, crops, pretrained_model, top1
from bench.studies.symmetry import attacker
from bench.support.artifact_store import state_of
from bench.support.environment import choose_device, prepare
from cwwm.codes import Bits
from cwwm.design import plan_spread
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.readers import find_reader, reads_originals, view_of
from cwwm.schemes import Claim, EmbedContext, Scheme, embed, make_scheme
from cwwm.support.console import DONE, run_program
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed
from cwwm.weights.carrier import Carrier, prunable
from cwwm.weights.sensitivity import PROBES, measure_sensitivity
from cwwm.weights.view import TensorWeights, as_weights

NETWORKS = (LITE0, MOBILENET)
PAYLOAD, KEPT, STEPS = 256, 0.98, 6
IMAGES = 250
FURTHER = range(50, 56)  # numbers of further marks of a default line; those of averaged copies are small


@dataclass(frozen=True)
class Entry:
    """An encoding of the study.

    Attributes:
        label: in the table. scheme, parameters: of the registry.
        strength: parameter that is sought between `low` and `high` for equal answers; empty: all is given.
        sees: whether a dozen inputs tell it what the answers feel.
    """

    label: str
    scheme: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strength: str = ""
    low: float = 0.0
    high: float = 0.0
    sees: bool = False


_WIDE = {"carrier": "wide"}
_BODY = {"carrier": "body"}
_POLAR = {"outer": "polar"}
ENTRIES = (
    Entry("cwwm embed", "spread-cwc", _WIDE),
    Entry("cwwm embed --images", "spread-cwc", _WIDE, sees=True),
    Entry("spread-cwc", "spread-cwc", _WIDE, "gain", 1e-3, 0.3, sees=True),
    Entry("spread-polar", "spread-spectrum", {**_WIDE, **_POLAR, "per": "channel"}, "gain", 1e-3, 0.3, sees=True),
    Entry("spread-spectrum", "spread-spectrum", {**_BODY, **_POLAR}, "ratio", 0.05, 40),
    Entry("tattooed", "tattooed", _BODY, "ratio", 0.05, 40),
    Entry(
        "protected-cwc", "protected-cwc", {"carrier": "classifier", "survive": 0.98, "low": 0.9}, "lift", 1.0, 8.0
    ),
    Entry("protected-cwc, body", "protected-cwc", {**_BODY, "survive": 0.9, "low": 0.85}, "lift", 1.0, 8.0),
    Entry("cwc", "cwc", {"carrier": "classifier", "survive": 0.95}, "lift", 1.0, 8.0),
    Entry("cwc, body", "cwc", {**_BODY, "survive": 0.9}, "lift", 1.0, 8.0),
    Entry("sign", "sign", {**_BODY, **_POLAR, "length": 2048}, "strength", 0.05, 10),
    Entry("sign-repetition", "sign-repetition", {**_BODY, **_POLAR, "repetition": 7}, "strength", 0.05, 10),
    Entry("sign-erasure", "sign-erasure", {**_BODY, **_POLAR, "length": 4096}, "strength", 0.05, 10),
    Entry("dm-qim", "dm-qim", {**_BODY, **_POLAR, "repetition": 7}, "step", 0.02, 10),
    Entry("fixed-weights", "fixed-weights", {**_BODY, **_POLAR, "repetition": 7}, "spread", 0.05, 10),
)


@dataclass(frozen=True)
class Attempt:
    """An attack of tier 0 or 1 at one strength."""

    attack: Mapping[str, Any]
    strength: float
    label: str


def _plain(name: str, strength: float, **parameters: Any) -> Attempt:  # noqa: ANN401
    shown = ", ".join([f"{strength:g}", *(f"{key} {value}" for key, value in parameters.items())])
    return Attempt({"name": name, **parameters}, strength, f"{name} {shown}")


ATTEMPTS = (
    _plain("permute", 1),
    _plain("rescale", 4),
    _plain("deploy", 1),
    _plain("cast", 16),
    Attempt({"name": "cast", "format": "fp8-e4m3", "granularity": "channel"}, 8, "cast fp8"),
    _plain("magnitude", 0.3),
    _plain("magnitude", 0.5),
    _plain("random", 0.02),
    _plain("structured", 0.05),
    _plain("noise", 0.05),
    Attempt({"name": "quantise", "granularity": "channel"}, 8, "quantise 8, channel"),
    Attempt({"name": "quantise", "granularity": "channel"}, 6, "quantise 6, channel"),
    _plain("svd", 0.1),
    Attempt({"name": "targeted", "suspects": "largest", "action": "redraw"}, 0.002, "targeted largest 0.002"),
    Attempt({"name": "targeted", "suspects": "outliers", "action": "redraw"}, 0.002, "targeted outliers 0.002"),
    Attempt({"name": "overwrite", "factor": 2}, 1, "overwrite x2"),
    Attempt({"name": "collude"}, 2, "average of 2"),
    Attempt({"name": "collude"}, 4, "average of 4"),
)


@dataclass(frozen=True)
class Outcome:
    """A line of the table.

    Attributes:
        network, label: of it. setting: the strength as it was found, in words. refusal: why there is none.
        energy: squared change over squared norm of all convolution and linear weights. kept: share of the answers.
        further: the same of further marks under other keys, where the gain was not chosen by it.
        read: by attack, what each reader recovered: whether the message, and log10 p of the claim.
    """

    network: str
    label: str
    setting: str = ""
    refusal: str = ""
    energy: float = 0.0
    kept: float = 0.0
    further: Sequence[float] = ()
    read: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Bench:
    """A pretrained network with what the study asks about it."""

    def __init__(self, network: Network, images: int, device: torch.device) -> None:
        """Load network and crops."""
        self.network, self.device = network, device
        self.model = pretrained_model(network).to(device)
        x = crops(network).test.x
        self.x, self._probe = x[:images].to(device), x[-PROBES:].to(device)
        self.answers = top1(self.model, self.x)
        self.original = TensorWeights(state_of(self.model))
        self._felt: dict[str, float] | None = None

    @property
    def felt(self) -> dict[str, float]:
        """What the answers feel, from a dozen crops that are not among the others."""
        if self._felt is None:
            self._felt = measure_sensitivity(self.model, self._probe, prunable(as_weights(self.model)))
        return self._felt

    def kept(self, model: nn.Module) -> float:
        """Return the share of the crops that a model answers as the original does."""
        return float((top1(model, self.x) == self.answers).double().mean())

    def context(self, scheme: Scheme) -> AttackContext:
        """Return an attacker's means: the public encoding, and digits to run the network on."""
        return replace(attacker(64, self.device), scheme=scheme)


@dataclass(frozen=True)
class Owned:
    """A marked copy and its owner's secrets."""

    model: nn.Module
    scheme: Scheme
    key: Key
    mark: Mark
    message: Bits
    copy: TensorWeights

    def recovered(self, suspect: nn.Module, reader: str, original: TensorWeights) -> tuple[bool, float]:
        """Return whether the message is, and log10 p of the claim."""
        found = find_reader(reader)
        owned = original if found.takes_original else self.copy if found.takes_reference else None
        view = view_of(found, self.scheme, TensorWeights(state_of(suspect)), self.key, self.mark, owned)
        read = view.extraction(self.scheme, self.key, self.mark)
        evidence = self.scheme.evidence(read, Claim(self.key, self.mark, self.message))
        return read.ok and bool(np.array_equal(read.bits, self.message)), evidence.combined


def mark_copy(bench: Bench, entry: Entry, parameters: Mapping[str, Any], number: int = 0) -> Owned:
    """Return a marked copy of the network; BadInput if it cannot carry the mark."""
    model = copy.deepcopy(bench.model)
    scheme = make_scheme(entry.scheme, {"payload_bits": PAYLOAD, **entry.parameters, **parameters})
    key = Key.for_harness(study="pretrained survival", label=entry.label, number=number)
    message = np.random.default_rng(derive_seed(label=entry.label, number=number)).integers(0, 2, PAYLOAD)
    context = EmbedContext(nonce=bytes(16), device=bench.device, sensitivity=bench.felt if entry.sees else None)
    bits = message.astype(np.uint8)
    _, mark = embed(scheme, as_weights(model), bits, key, context)
    return Owned(model, scheme, key, mark, bits, TensorWeights(state_of(model)))


def further_kept(bench: Bench, entry: Entry, owned: Owned) -> tuple[float, ...]:
    """Return the answers kept by further marks like one; none of an entry whose strength they chose."""
    parameters = dict(owned.mark.parameters)
    numbers = () if entry.strength else FURTHER
    return tuple(bench.kept(mark_copy(bench, entry, parameters, number).model) for number in numbers)


def settle(bench: Bench, entry: Entry) -> tuple[Owned, str]:
    """Return the marked copy of an entry and its strength in words.

    Raises:
        BadInput: if no strength in its range embeds the message, or even the least costs too many answers.
    """
    if not entry.strength:
        felt = bench.felt if entry.sees else None
        gain = plan_spread(bench.original, PAYLOAD, sensitivity=felt).gain
        return mark_copy(bench, entry, {"gain": gain}), f"gain {gain:.3g}"
    return strongest(lambda strength: mark_copy(bench, entry, {entry.strength: strength}), bench.kept, entry)


def strongest(
    mark: Callable[[float], Owned], kept: Callable[[nn.Module], float], entry: Entry
) -> tuple[Owned, str]:
    """Bisect for the largest strength that keeps the answers; one that does not embed is too small."""
    low, high, best = math.log(entry.low), math.log(entry.high), None
    for step in range(STEPS + 1):
        middle = high if step == 0 else (low + high) / 2
        try:
            owned = mark(math.exp(middle))
        except BadInput:
            low = middle
            continue
        if kept(owned.model) >= KEPT:
            best, low = (owned, f"{entry.strength} {math.exp(middle):.3g}"), middle
            if step == 0:
                break
        else:
            high = middle
    if best is None:
        raise BadInput(f"not embedded with {KEPT:.0%} of the answers kept")
    return best


def outcome(bench: Bench, entry: Entry) -> Outcome:
    """Return the line of an entry."""
    name = bench.network.name
    try:
        owned, setting = settle(bench, entry)
    except BadInput as refusal:
        return Outcome(name, entry.label, refusal=str(refusal))
    everything = Carrier.choose(as_weights(bench.model), "all")
    energy = relative_change(as_weights(bench.model), as_weights(owned.model), everything)
    further, read = further_kept(bench, entry, owned), dict(_attacked(bench, entry, owned))
    return Outcome(name, entry.label, setting, "", energy, bench.kept(owned.model), further, read)


def best_reader(scheme: Scheme) -> str:
    """Return the reader that helps a scheme most: against the original, or aligned to the copy."""
    return "informed" if reads_originals(scheme) else "aligned"


def _attacked(bench: Bench, entry: Entry, owned: Owned) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what is read after each attack; a message that comes back blind needs no better reading."""
    best = best_reader(owned.scheme)
    for attempt in ATTEMPTS:
        attack = make_attack(attempt.attack, "study")
        others = attack.copies_needed([attempt.strength]) - 1
        parameters = dict(owned.mark.parameters)
        copies = [mark_copy(bench, entry, parameters, number + 1).model for number in range(others)]
        item = next(
            attack.curve([copy.deepcopy(owned.model), *copies], [attempt.strength], bench.context(owned.scheme))
        )
        blind = owned.recovered(item.model, "blind", bench.original)
        better = blind if blind[0] else owned.recovered(item.model, best, bench.original)
        yield attempt.label, {"blind": list(blind), best: list(better)}


COLUMNS = ("encoding", "strength", "energy", "answers kept", "blind", "best reading", "lost to, best reading")


def _row(one: Outcome) -> tuple[str, ...]:
    if one.refusal:
        return (one.label, one.refusal, "-", "-", "-", "-", "-")
    best = next(name for name in next(iter(one.read.values())) if name != "blind")
    counts = [sum(bool(read[name][0]) for read in one.read.values()) for name in ("blind", best)]
    lost = [label for label, read in one.read.items() if not read[best][0]]
    total = len(one.read)
    return (
        one.label, one.setting, f"{one.energy:.1e}", _kept(one), f"{counts[0]} of {total}",
        f"{counts[1]} of {total} ({best})", ", ".join(lost) or "nothing",
    )  # fmt: skip


def _kept(one: Outcome) -> str:
    """Return the answers kept: of several marks the mean, the least and the most."""
    if not one.further:
        return f"{one.kept:.1%}"
    kept = [one.kept, *one.further]
    return f"{sum(kept) / len(kept):.1%} ({min(kept):.1%} to {max(kept):.1%})"


def page(outcomes: Sequence[Outcome], images: int, device: torch.device) -> str:
    """Return the tables as Markdown."""
    sections = []
    for network in NETWORKS:
        rows = [_row(one) for one in outcomes if one.network == network.name]
        if rows:
            table = tabulate(rows, COLUMNS, tablefmt="github", disable_numparse=True)
            sections.append(f"## {network.name}, {network.size} pixels\n\n{table}")
    attacks = ", ".join(attempt.label for attempt in ATTEMPTS)
    lead = (
        f"# What marks in pretrained networks outlive\n\n{PAYLOAD} bits in finished ImageNet weights, without any "
        f"training. The first two lines are `cwwm embed` as it comes, with the answers kept by "
        f"{1 + len(FURTHER)} marks of different keys: mean, least and most. The others stand at the "
        f"largest strength at which {KEPT:.0%} of the answers on {images} photo crops are kept, or are said "
        "not to be embedded. "
        f"Attackers have the weights alone, no data: {attacks}. Blind reading takes the suspect alone; where that "
        "fails, the best reading has the unmarked original, or the marked copy to align to where an encoding "
        "cannot be read against the original. "
        f"{measured_on(device)}."
    )
    return "\n\n".join([lead, *sections]) + "\n"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    images: Annotated[int, typer.Option(min=1, help="Crops to look at.")] = IMAGES,
    network: Annotated[list[str] | None, typer.Option(help="By timm's name, may repeat; by default both.")] = None,
    kept: Annotated[Path, typer.Option(help="JSON lines to go on from.")] = Path("build/pretrained-survival.jsonl"),
) -> int:
    """Mark, attack and read; print and write the tables."""
    where = choose_device(device)
    prepare(where, threads=1)
    kept.parent.mkdir(parents=True, exist_ok=True)
    lines = kept.read_text().splitlines() if kept.exists() else []
    outcomes = [Outcome(**json.loads(line)) for line in lines]
    done = {(one.network, one.label) for one in outcomes}
    for chosen in NETWORKS:
        todo = [entry for entry in ENTRIES if (chosen.name, entry.label) not in done]
        if not todo or (network and chosen.name not in network):
            continue
        bench = Bench(chosen, images, where)
        for entry in todo:
            outcomes.append(outcome(bench, entry))
            print(chosen.name, *_row(outcomes[-1]), sep=" | ", file=sys.stderr, flush=True)
            with kept.open("a") as file:
                file.write(json.dumps(asdict(outcomes[-1])) + "\n")
    order = [entry.label for entry in ENTRIES]
    outcomes.sort(key=lambda one: order.index(one.label))
    publish(page(outcomes, images, where), output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.pretrained_survival")
