"""The page of deployed networks: which cases there are, what was read of each, and its tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from bench.studies.output import measured_on

SIZE, PAYLOAD = 32, 256
NETWORKS = ("test_resnet", "resnet18", "mobilenetv2_100", "repvgg_a0")
FLIPPED, REAL = "test_resnet, turned", "mobilenetv2, real"
ALL = (*NETWORKS, FLIPPED, REAL)
FILES = ("fold", "onnx-legacy", "onnx")  # ways by which every mark is read
MERGED = "reparametrise"  # of the network that has branches to merge
EXACT = (*FILES, "export", MERGED)
SCHEMES: dict[str, dict[str, Any]] = {
    "protected-cwc": {"carrier": "all", "survive": 0.995},
    "spread-spectrum": {"carrier": "all"},
    "cwc": {"carrier": "all", "survive": 0.95},
    "sign": {"carrier": "all"},
    "sign-repetition": {"carrier": "all"},
    "sign-erasure": {"carrier": "all"},
    "dm-qim": {"carrier": "all"},
    "fixed-weights": {},
}
CHANNEL = "per-channel"
READINGS = ("blind", CHANNEL, "copy")  # of every file
UNFOLDED = "unfolded"  # the per-channel reading of a marked network that was not folded yet
HEADERS = {"blind": "blind", CHANNEL: CHANNEL, UNFOLDED: UNFOLDED, "copy": "aligned"}
UNMARKED = "no mark"  # of a network whose answers are compared, and nothing is read
OFTEN, SEEDS = ("protected-cwc", "spread-spectrum"), 5  # these in so many seeds, the others in one


@dataclass(frozen=True)
class Case:
    """One mark, and one way to deploy it."""

    network: str
    scheme: str
    seed: int
    way: str


@dataclass(frozen=True)
class Outcome:
    """What was read of a case, or why there is nothing to read.

    Attributes:
        difference: of the answers, relative to the largest logit.
        readings: by each reading whether the message is recovered, and log10 p: blind and per channel, of the file
            alone; aligned to the marked copy; in some cases unfolded, or aligned to the unmarked original.
    """

    case: Case
    difference: float = 0.0
    readings: Mapping[str, tuple[bool, float]] = field(default_factory=dict)
    note: str = ""

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Outcome":
        """Read what `asdict` wrote; TypeError, ValueError or KeyError for anything else."""
        readings = {name: (bool(recovered), float(p)) for name, (recovered, p) in value["readings"].items()}
        found = cls(**{**value, "readings": readings, "case": Case(**value["case"])})
        if found.case.scheme != UNMARKED and not found.note and not readings.keys() >= set(READINGS):
            raise ValueError(f"not read as {', '.join(READINGS)}")
        return found


def cases() -> Iterator[Case]:
    """Yield all cases, those of the schemes with several seeds first."""
    for seed in range(SEEDS):
        for network in ALL:
            ways = (*FILES, MERGED) if network.startswith("repvgg") else FILES
            for scheme in OFTEN:
                yield from (Case(network, scheme, seed, way) for way in ways)
    for network in ALL:
        for scheme in SCHEMES:
            if scheme not in OFTEN:
                yield from (Case(network, scheme, 0, way) for way in FILES[:2])
        yield from (Case(network, UNMARKED, 0, way) for way in EXACT)


def page(outcomes: Sequence[Outcome], device: torch.device) -> str:
    """Return the tables as Markdown."""
    done, total = len(outcomes), len(list(cases()))
    return f"""\
# What a deployed file still shows of a mark

Networks but one are untrained, for {SIZE} pixels, and fold as a trained one does: batch norms have the
statistics of 64 digits, and factors gamma / sqrt(variance + eps) drawn from the quantiles of an
ImageNet MobileNetV2 (1, 10, 50, 90 and 99 %: 0.19, 0.33, 2.9, 12, 68), an eighth of their
logarithms in the weights and the rest in gamma; of the largest tenth of the weights 22 to 42 % are
so after folding (15 % in that MobileNetV2, which is harder). In *{FLIPPED}* 30 % of all
gammas are negative by hand and 5 % zero: a channel of zeros is gone, and what has no code to
correct errors loses bits with it. *{REAL}* is that MobileNetV2 itself, as it comes. A
mark has {PAYLOAD} bits in all convolution and linear weights.
{measured_on(device)}; {done} of {total} cases measured.

Its owner reads each file three times. *blind* takes the weights as they are. *per-channel* first
takes the scales of outputs and inputs away, a two-way fit of log |w|, and needs no reference
either. *aligned* has the marked copy beside it. A cell has the messages recovered, of so many
marks, then the median log10 p.

## Batch norms folded along the graph of torch.fx

{_table(outcomes, "fold", (*READINGS[:2], UNFOLDED, READINGS[2]))}

{_unfolded(outcomes)}

What is not recovered per channel there is lost by that reading, not by folding, and would be in a
network that nobody touched: `dm-qim` is in absolute units, and `cwc` ranked weights with the scales
of their channels. In *{FLIPPED}* magnitudes stay, of which `protected-cwc` reads, and its
outer code makes up for the channels that are gone; `spread-spectrum` has enough in channels that
were not turned. Marks by sign are lost there without a reference.

## ONNX by torch's first exporter, which folds, too, and renames what it folds

A renamed tensor is not there for a reader without a reference, with scales or without. What is left
is the classifier, which keeps its name: a third of *{REAL}*, with 1,000 classes, and
little of the others, with ten.

{_table(outcomes, "onnx-legacy", READINGS)}

## ONNX by torch's present exporter, which folds, too

{_table(outcomes, "onnx", READINGS)}

## Branches merged by timm

The 1x1 branch and the identity are added to the middle of each kernel: no scale, and nothing that a
reader could divide by.

{_table(outcomes, MERGED, READINGS)}

## Aligned to the unmarked original instead

Of one folded mark each. The search sees no weight that carries `protected-cwc`; `spread-spectrum`
is in all of them: seen from the original it is noise, which drowns layers of small weights.

{_by_original(outcomes)}

## Exactness: the largest difference of a logit, relative to the largest logit

In float32, on two digits and two images of noise; without marks. Norms are drawn as in
[symmetry.md](symmetry.md), those of *{FLIPPED}* as above; those of
*{REAL}* are as they come. With the wide factors above, an untrained mobilenetv2_100
moves its logits by some percent for a relative change of 1e-7 of an image. In float64 folding moves
those by 1e-9.

{_differences(outcomes)}
{_notes(outcomes)}"""


def _table(outcomes: Sequence[Outcome], way: str, readings: Sequence[str]) -> str:
    groups = dict[tuple[int, int], list[Outcome]]()
    for outcome in outcomes:
        if outcome.case.way == way and outcome.readings:
            groups.setdefault(_place(outcome.case), []).append(outcome)
    rows = [
        (group[0].case.network, group[0].case.scheme, *(_cell(group, reading) for reading in readings))
        for _, group in sorted(groups.items())
    ]
    headers = ("network", "scheme", *(HEADERS[reading] for reading in readings))
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _place(case: Case) -> tuple[int, int]:
    return ALL.index(case.network), list(SCHEMES).index(case.scheme)


def _cell(group: Sequence[Outcome], reading: str) -> str:
    found = [outcome.readings[reading] for outcome in group]
    return f"{sum(recovered for recovered, _ in found)}/{len(found)} {np.median([p for _, p in found]):.1f}"


def _unfolded(outcomes: Sequence[Outcome]) -> str:
    """Return a paragraph on what folding changes for the per-channel reading, and what comes back by it."""
    folded = [x for x in outcomes if UNFOLDED in x.readings]
    moved = [abs(x.readings[CHANNEL][1] - x.readings[UNFOLDED][1]) for x in folded if x.case.network != FLIPPED]
    back = {name: [x.readings[CHANNEL][0] for x in folded if x.case.scheme == name] for name in OFTEN}
    counts = " and ".join(f"{sum(found)} of {len(found)} of `{name}`" for name, found in back.items())
    return (
        f"*{UNFOLDED}* is the per-channel reading of the marked network before it is folded. Positive\n"
        f"factors move log10 p by {max(moved, default=0.0):.1f} at most ({len(moved)} marks): folding is no change "
        f"to that reader. It\nbrings back {counts},\nwithout a reference."
    )


def _by_original(outcomes: Sequence[Outcome]) -> str:
    asked = [(x.case, *x.readings["original"]) for x in outcomes if "original" in x.readings]
    rows = [(case.network, case.scheme, "yes" if ok else "no", f"{p:.1f}") for case, ok, p in asked]
    return tabulate(rows, ("network", "scheme", "recovered", "log10 p"), tablefmt="github", disable_numparse=True)


def _differences(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for network in ALL:
        found = {
            x.case.way: f"{x.difference:.1e}"
            for x in outcomes
            if (x.case.network, x.case.scheme) == (network, UNMARKED)
        }
        rows.append((network, *(found.get(way, "") for way in EXACT)))
    return tabulate(rows, ("network", *EXACT), tablefmt="github", disable_numparse=True)


def _notes(outcomes: Sequence[Outcome]) -> str:
    notes = dict.fromkeys(f"- {x.case.network}, {x.case.scheme}: {x.note}" for x in outcomes if x.note)
    return "\n## Not measured\n\n" + "\n".join(notes) + "\n" if notes else ""
