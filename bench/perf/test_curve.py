"""Times an attack's curve, accuracy and message at each strength, beside its bare passes over the test images."""

import numpy as np
import torch

from bench.attacks.base import AttackContext
from bench.attacks.pruning import MagnitudePruning
from bench.data.registry import load
from bench.metrics.accuracy import accuracy
from bench.models.registry import build_model, find_models
from bench.perf.conftest import BesideFloor, drained
from cwwm.ownership.keys import Key
from cwwm.schemes import Claim, EmbedContext, embed, make_scheme
from cwwm.weights.view import as_weights

KEY = Key.for_harness(purpose="perf")
MESSAGE = np.random.default_rng(0).integers(0, 2, 256, dtype=np.uint8)
#: network, pixels, strengths
SIZES = {"cuda": ("resnet18", 64, 20), "cpu": ("test_resnet", 32, 20), "tiny": ("test_resnet", 16, 4)}


def test_curve(beside_floor: BesideFloor, scale: str, pruning: AttackContext, device: torch.device) -> None:
    name, size, count = SIZES[scale]
    data = load("digits", size=size, device=device)
    model = build_model(find_models([name])[0], data.classes, 0).to(device)
    scheme = make_scheme("protected-cwc", {"carrier": "body"})
    context = EmbedContext(device=device, nonce=bytes(16))
    _, mark = embed(scheme, as_weights(model), MESSAGE, KEY, context)
    claim = Claim(KEY, mark, MESSAGE)
    rates = [float(rate) for rate in np.linspace(0.05, 0.95, count)]

    def curve() -> list[tuple[int, float]]:
        """Return the right answers and log10 p at each strength."""
        rows = []
        for item in MagnitudePruning().curve([model], rates, pruning):
            found = scheme.extract(as_weights(item.model), KEY, mark)
            rows.append((accuracy(item.model, data.test).correct, scheme.evidence(found, claim).combined))
        return rows

    assert curve()[0][1] < -12  # the mildest strength leaves a proof
    beside_floor(
        f"curve of {count} strengths, {name}",
        ours=drained(curve, device),
        floor=drained(lambda: [accuracy(model, data.test) for _ in rates], device),
        beside="its forward passes",
    )
