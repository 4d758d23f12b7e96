"""Times training steps with each encoding's hooks beside the same steps without: what it adds to every step.

Encodings that only write into finished weights have no hooks that cost; they are timed all the same.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from bench.data.dataset import Dataset, Split
from bench.data.registry import load
from bench.models.registry import build_model, find_models
from bench.perf.conftest import BesideFloor, drained
from cwwm.ownership.keys import Key
from cwwm.schemes import SCHEMES, EmbedContext, make_scheme
from cwwm.training import Recipe, train
from cwwm.weights.view import as_weights

KEY = Key.for_harness(purpose="perf")
CONTROLS = ("none", "wrong-key")
#: network, pixels, steps of 64 images
SIZES = {"cuda": ("resnet18", 32, 8), "cpu": ("test_resnet", 32, 8), "tiny": ("test_resnet", 16, 2)}
PAYLOAD = 64  # carriers of 10 classes hold no 256 bits
FEWER = {"structural": 16}  # the widths of the smallest network hold 20
BATCH = 64
RECIPE = Recipe(epochs=1, batch_size=BATCH, schedule="constant", lr=1e-5)


@pytest.fixture
def data(scale: str, device: torch.device) -> Dataset:
    return load("digits", size=SIZES[scale][1], device=device)


@pytest.fixture
def host(scale: str, data: Dataset, device: torch.device) -> nn.Module:
    (spec,) = find_models([SIZES[scale][0]])
    return build_model(spec, data.classes, 0).to(device)


@pytest.mark.parametrize("name", sorted(set(SCHEMES).difference(CONTROLS)))
def test_steps(
    name: str, beside_floor: BesideFloor, scale: str, host: nn.Module, data: Dataset, device: torch.device
) -> None:
    network, _, steps = SIZES[scale]
    some = Split(data.train.x[: steps * BATCH], data.train.y[: steps * BATCH])
    payload = FEWER.get(name, PAYLOAD)
    message = np.random.default_rng(0).integers(0, 2, payload, dtype=np.uint8)
    context = EmbedContext(data=data.train, classes=data.classes, device=device, nonce=bytes(16))
    bare = copy.deepcopy(host)
    embedding = make_scheme(name, {"payload_bits": payload}).begin(as_weights(host), message, KEY, context)
    marked = embedding.weights.module or host
    assert train(marked, some, RECIPE, seed=0, embedding=embedding).steps == steps
    beside_floor(
        f"{steps} training steps of {network}, {name}",
        ours=drained(lambda: train(marked, some, RECIPE, seed=0, embedding=embedding), device),
        floor=drained(lambda: train(bare, some, RECIPE, seed=0), device),
        beside="the steps without",
    )
