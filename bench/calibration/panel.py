"""A small fixed panel of attacks on marks of equal strength: which of a scheme's settings outlives more of it.

It is no board: its strengths are fixed, it costs about an epoch of fine-tuning a mark, and it sees no test image.
"""

from collections.abc import Iterator

import numpy as np

from bench.attacks import make_attack
from bench.execution.attacker import attacker_context
from bench.execution.model_factory import ModelFactory
from bench.execution.owner import OwnersReading
from bench.suite import AttackEntry
from bench.suite.cell import MarkSpec
from cwwm.weights.view import as_weights

PANEL: tuple[tuple[dict[str, object], tuple[float, ...]], ...] = (
    ({"name": "magnitude"}, (0.5, 0.9, 0.95)),
    ({"name": "random"}, (0.1, 0.3, 0.5)),
    ({"name": "noise"}, (0.1, 0.3)),
    ({"name": "quantise"}, (4, 3)),
    ({"name": "finetune", "epochs": 1}, (1.0, 5.0)),
)
ROWS = sum(len(strengths) for _, strengths in PANEL)


def panel() -> Iterator[AttackEntry]:
    """Yield the attacks."""
    for given, strengths in PANEL:
        attack = make_attack(given, "panel")
        yield AttackEntry(attack.label, attack, strengths)


def survived(spec: MarkSpec, factory: ModelFactory) -> int:
    """Return after how many of the panel's `ROWS` attacks the message of a mark is recovered."""
    marked = factory.marked(spec)
    owner, recovered = OwnersReading.of(marked, spec.scheme.reader), 0
    for entry in panel():
        context = attacker_context(spec.host, entry, factory, marked.scheme.encoding)
        for item in entry.attack.curve([marked.model], entry.strengths, context):
            found = owner.extraction(as_weights(item.model))
            recovered += found.ok and bool(np.array_equal(found.bits, marked.message))
    return recovered
