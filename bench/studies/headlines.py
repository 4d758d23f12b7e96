"""What the papers of the encodings claim in a number, and what the nearest setting on small hosts gives here.

Run it with ``python -m bench.studies.headlines -o results/headlines.md`` (about ten minutes on one core).
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from tabulate import tabulate

from bench.attacks import make_attack
from bench.execution.attacker import attacker_context
from bench.execution.model_factory import Marked, ModelFactory
from bench.metrics.accuracy import Accuracy
from bench.models.registry import find_models
from bench.studies.output import Output, measured_on, publish
from bench.suite import AttackEntry, SchemeEntry
from bench.suite.cell import HostSpec, MarkSpec
from bench.support.artifact_store import ArtefactStore
from bench.support.environment import choose_device, prepare
from cwwm.support.console import DONE, run_program
from cwwm.support.errors import BadInput
from cwwm.weights.view import as_weights

RESNET, MLP, VGG = "test_resnet-40", "lenet300_100", "vgg6_bn"
PRUNING = (0.5, 0.65, 0.8, 0.9, 0.95, 0.99)
NO_FIGURE = "no figure is known to us"


@dataclass(frozen=True)
class Headline:
    """What a paper says, and the nearest setting that runs here.

    Attributes:
        scheme, parameters, payload: the encoding, at the setting of its paper.
        source: which paper.
        says: its claim in words, with the number.
        model: the host, by its name in models.yaml.
        attack: the attack as a suite writes it; strengths: from mild to hard.
        at: the strength that the claim is about.
        error: the share of wrong bits that it claims there, 0 for a whole message; None where no figure is known.
    """

    scheme: str
    source: str
    says: str
    model: str
    at: float
    error: float | None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    payload: int = 256
    attack: Mapping[str, Any] = field(default_factory=lambda: {"name": "magnitude"})
    strengths: tuple[float, ...] = PRUNING

    @property
    def setting(self) -> str:
        """Return the setting here in a few words."""
        given = "".join(f", {name} {value}" for name, value in self.parameters.items())
        attack = make_attack(self.attack, "headline").label
        return f"{self.model}, {self.payload} bits{given}; {attack} {self.at:g}"


FIXED, LATTICE = 6, 1  # weights a bit
UCHIDA = "Uchida and others 2017 (arXiv 1701.04082)"
TATTOOED = "Pagnotta and others 2024 (arXiv 2202.06091)"
RANDOM = {"name": "random"}
HALF = (0.1, 0.3, 0.5, 0.7, 0.9)
ALTERED = "the whole message where 99 % of the parameters are altered"
NEURAL = "Yao and others 2026 (arXiv 2507.11137)"

HEADLINES = (
    Headline("uchida", UCHIDA, "256 bits, whole after 65 % of the weights are pruned", RESNET, 0.65, 0.0),
    Headline("tattooed", TATTOOED, ALTERED, MLP, 0.99, 0.0),
    Headline("tattooed", TATTOOED, ALTERED, MLP, 0.99, 0.0, attack=RANDOM, strengths=(*HALF, 0.99)),
    Headline("tattooed", TATTOOED, ALTERED, MLP, 0.99, 0.0, parameters={"ratio": 12.0, "row_weight": 4}),
    Headline(
        "fixed-weights",
        "Tondi, Costanzo and Barni 2022",
        f"bit error R^S / 2 after pruning a share R, S = {FIXED}",
        RESNET,
        0.7,
        0.7**FIXED / 2,
        {"repetition": FIXED, "carrier": "body"},
        attack=RANDOM,
        strengths=HALF,
    ),
    Headline(
        "dm-qim",
        "IH&MMSec 2021",
        f"bit error about R^S / 2 after pruning a share R, S = {LATTICE}",
        RESNET,
        0.5,
        0.5**LATTICE / 2,
        {"repetition": LATTICE, "carrier": "body"},
        attack=RANDOM,
        strengths=HALF,
    ),
    Headline(
        "structural",
        "Zhao and others 2021 (arXiv 2107.08688), abstract only",
        "exact, and untouched by what changes only parameters",
        VGG,
        0.5,
        0.0,
        payload=16,
    ),
    Headline(
        "neuralmark",
        NEURAL,
        f"its scripts prune 20 and 40 %; {NO_FIGURE}",
        RESNET,
        0.4,
        None,
        strengths=(0.2, 0.4, *PRUNING),
    ),
    Headline(
        "neuralmark",
        NEURAL,
        f"its scripts overwrite with a second mark; {NO_FIGURE}",
        RESNET,
        1,
        None,
        attack={"name": "overwrite"},
        strengths=(1, 2),
    ),
    Headline("st-dm", "Li, Tondi and Barni 2020 (arXiv 2012.14171)", NO_FIGURE, RESNET, 0.65, None),
    Headline("deepsigns", "Rouhani, Chen and Koushanfar 2019", NO_FIGURE, RESNET, 0.65, None),
    Headline("riga", "Wang and Kerschbaum 2021", NO_FIGURE, RESNET, 0.65, None),
    Headline(
        "carriers",
        "Adi and others 2018",
        f"{NO_FIGURE}; under distillation see distillation.md",
        RESNET,
        0.65,
        None,
        payload=64,
    ),
    Headline(
        "ingrain",
        "Yang, Dang and Chang 2019 (arXiv 1906.06046), abstract only",
        f"{NO_FIGURE}; under distillation see distillation.md",
        RESNET,
        0.65,
        None,
        payload=64,
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What was measured of a headline.

    Attributes:
        embedded: hosts in which the message read before any attack, of all `seeds`.
        lost: points of accuracy that the mark cost on the test split, on average over the embedded hosts.
        errors: share of wrong bits of each embedded host at each strength; 1/2 where the scheme knows it is lost.
        refusal: the reason if the scheme refused the host.
    """

    headline: Headline
    seeds: int
    embedded: int = 0
    lost: float = 0.0
    errors: Mapping[float, Sequence[float]] = field(default_factory=dict)
    refusal: str = ""

    @property
    def error(self) -> float | None:
        """Return the mean share of wrong bits where the claim is made, None if nothing was embedded."""
        found = self.errors.get(self.headline.at, ())
        return float(np.mean(found)) if found else None

    @property
    def whole_up_to(self) -> float | None:
        """Return the hardest strength up to which all embedded messages are whole, None if not even the mildest."""
        reached = None
        for strength, errors in self.errors.items():
            if not errors or any(errors):
                break
            reached = strength
        return reached

    def row(self) -> tuple[str, ...]:
        """Return the cells of its line."""
        one = self.headline
        place = (one.scheme, f"{one.says} ({one.source})", one.setting)
        if self.refusal:
            return (*place, f"refused: {self.refusal}", "-")
        if self.error is None:
            return (*place, f"embedded in 0 of {self.seeds} hosts", "not embedded")
        limit = "not at the mildest" if self.whole_up_to is None else f"up to {self.whole_up_to:g}"
        marked = f"embedded {self.embedded} of {self.seeds}, for {self.lost:.1f} points"
        measured = f"{marked}; bit error {self.error:.3f}; whole {limit}"
        return (*place, measured, "-" if one.error is None else _gap(self.error, one.error))


def _gap(found: float, claimed: float) -> str:
    """Return how far a share of wrong bits is from the one claimed."""
    return "as claimed" if found == claimed else f"{found - claimed:+.3f}"


def measure(headline: Headline, seeds: int, factory: ModelFactory) -> Outcome:
    """Mark hosts of so many seeds, attack each, and read."""
    (spec,) = find_models([headline.model])
    errors: dict[float, list[float]] = {strength: [] for strength in headline.strengths}
    lost: list[float] = []
    for seed in range(seeds):
        entry = SchemeEntry(headline.scheme, headline.scheme, headline.parameters)
        mark = MarkSpec(HostSpec(spec, seed), entry, headline.payload)
        try:
            marked = factory.marked(mark)
        except BadInput as refusal:
            return Outcome(headline, seeds, refusal=str(refusal))
        if _error(marked, marked.model):
            continue
        before, after = (Accuracy(**m.facts["accuracy"]).percent for m in (factory.control(mark.host), marked))
        lost.append(before - after)
        for strength, error in _attacked(headline, mark, marked, factory):
            errors[strength].append(error)
    return Outcome(headline, seeds, len(lost), float(np.mean(lost)) if lost else 0.0, errors)


def _attacked(
    headline: Headline, mark: MarkSpec, marked: Marked, factory: ModelFactory
) -> Iterator[tuple[float, float]]:
    """Yield each strength with the share of wrong bits after it."""
    attack = make_attack(headline.attack, "headline")
    entry = AttackEntry(attack.label, attack, headline.strengths)
    context = attacker_context(mark.host, entry, factory, marked.scheme.encoding)
    for item in attack.curve([marked.model], headline.strengths, context):
        yield item.strength, _error(marked, item.model)


def _error(marked: Marked, suspect: torch.nn.Module) -> float:
    found = marked.scheme.extract(as_weights(suspect), marked.key, marked.mark)
    return float(np.mean(found.bits != marked.message)) if found.ok else 0.5


COLUMNS = ("scheme", "claim", "nearest setting here", "measured", "off by")


def page(outcomes: Sequence[Outcome], device: torch.device) -> str:
    """Return the table as Markdown."""
    table = tabulate([outcome.row() for outcome in outcomes], COLUMNS, tablefmt="github", disable_numparse=True)
    return (
        "# What the papers claim, and what comes out here\n\n"
        "Of each encoding that others published, its claim in a number as far as we know it, and the nearest "
        "setting that a CPU runs in minutes: small networks on digits, at the paper's own parameters unless "
        "the line says otherwise. Papers used larger networks and other data, so a gap tells how far a reader "
        "may carry the claim to hosts as small as these, not that the paper is wrong. Points are those of "
        "accuracy that the mark cost. Bit error is the mean share of wrong bits over the hosts in which the "
        "message was embedded, a half where the scheme knows that it is lost; whole up to is the hardest "
        "attack, from mild to hard, up to which all of them kept every bit, whatever accuracy it left. `cwc` "
        "and `protected-cwc` are ours, the signs and `spread-spectrum` have no paper of their own; "
        "[paper](paper/leaderboard.md) has the seed paper's setting. "
        f"{measured_on(device)}.\n\n{table}\n"
    )


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seeds: Annotated[int, typer.Option(min=1, help="Hosts of each line.")] = 2,
) -> int:
    """Mark, attack and read for each claim, print and write the table."""
    where = choose_device(device)
    prepare(where, 1)
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        factory = ModelFactory(ArtefactStore(Path(folder)), where)
        for headline in HEADLINES:
            outcomes.append(measure(headline, seeds, factory))
            print(*outcomes[-1].row(), sep=" | ", file=sys.stderr, flush=True)
    publish(page(outcomes, where), output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.headlines")
