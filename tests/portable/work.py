"""A little of what results are made of, and the digest of what comes out: run it on any processor.

``make portable`` runs it here, and once more on an emulated processor of another maker if QEMU is installed.
"""

import hashlib
import json
import sys

import numpy as np
import torch
from torch import nn

from bench.models.registry import build_model, find_models
from bench.support.artifact_store import state_digest, state_of
from bench.support.numerics import processor_facts
from cwwm.ownership.keys import NONCE_BYTES, Key
from cwwm.schemes import EmbedContext, embed, make_scheme
from cwwm.weights.view import as_weights

STEPS, BATCH, SIZE, CLASSES = 3, 64, 16, 10


def trained() -> nn.Module:
    """Return a network after a few steps of training on noise: convolutions, norms, sums and their gradients."""
    (spec,), rng = find_models(["test_resnet"]), np.random.default_rng(0)
    images = torch.from_numpy(rng.normal(size=(BATCH, spec.channels, SIZE, SIZE)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(0, CLASSES, BATCH))
    model = build_model(spec, CLASSES, seed=0)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(STEPS):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return model


def marked(model: nn.Module) -> str:
    """Return the digest of the network with a mark of correlations in it: a keyed stream and long sums."""
    scheme = make_scheme("spread-spectrum", {"payload_bits": 32})
    message = np.random.default_rng(2).integers(0, 2, 32, dtype=np.uint8)
    context = EmbedContext(seed=0, nonce=bytes(NONCE_BYTES))
    weights, _ = embed(scheme, as_weights(model), message, Key.for_harness(of="portable"), context)
    return state_digest(state_of(weights.module or model))


def linear_algebra() -> str:
    """Return the digest of what NumPy makes of random numbers: products, exponentials, singular values."""
    numbers = np.random.default_rng(1).normal(size=(200, 200))
    parts = (numbers @ numbers, np.exp(numbers), np.linalg.svd(numbers)[1], numbers.sum(axis=0))
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def main() -> None:
    """Print the digests, and what they follow from, as JSON."""
    torch.set_num_threads(1)
    model = trained()
    digests = {"trained": state_digest(state_of(model)), "marked": marked(model), "numpy": linear_algebra()}
    import timm  # after bench, which lets torchvision import beside a CPU build of torch

    versions = {module.__name__: module.__version__ for module in (torch, np, timm)}
    json.dump({"digests": digests, "versions": versions, **processor_facts()}, sys.stdout)


if __name__ == "__main__":
    main()
