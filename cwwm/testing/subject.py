"""What the rules of a scheme are tried on: a host, a key and a message, all from fixed seeds."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cwwm.codes import Bits
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import FORWARD, Claim, EmbedContext, Extraction, Scheme
from cwwm.schemes.one_shot import embed
from cwwm.support.errors import BadInput
from cwwm.training import Recipe, train
from cwwm.weights.view import as_weights

State = dict[str, Tensor]
Host = nn.Module | State

KEY = Key(bytes(range(32)), origin="harness")
NONCE = bytes(range(16))
LAYERS = {"stem.weight": (32, 16, 5, 5), "block.weight": (140, 300), "head.weight": (52, 100)}
_SCALES = {"stem.weight": 0.1, "block.weight": 0.02, "head.weight": 0.3}
_RECIPE = Recipe(epochs=12, batch_size=64, lr=3e-3)
_IMAGES, _CLASSES = 600, 10


def tensors() -> State:
    """Return 60,000 Gaussian weights in three layers of different scales, a norm and biases; float32."""
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(LAYERS[name], generator=generator) * _SCALES[name] for name in LAYERS}
    others = {"norm.weight": torch.ones(32), "block.bias": torch.zeros(140), "head.bias": torch.zeros(52)}
    return weights | others


class Network(nn.Module):
    """Two convolutions with batch norm, and a classifier of ten classes; 3x8x8 inputs."""

    def __init__(self) -> None:
        """Take the global generator's initial weights."""
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 48, 3, padding=1, stride=2)
        self.head = nn.Linear(48 * 4, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (n, 10)."""
        x = torch.relu(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        logits: Tensor = self.head(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))
        return logits


def network() -> Network:
    """Return an untrained network from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network()


class Prototypes:
    """Noisy copies of ten random images, 3x8x8: a task that a small network learns in a second."""

    def __init__(self) -> None:
        """Draw them from a fixed seed."""
        generator = torch.Generator().manual_seed(0)
        classes = torch.randn(_CLASSES, 3, 8, 8, generator=generator)
        self.y = torch.arange(_IMAGES) % _CLASSES
        self.x = classes[self.y] + 0.5 * torch.randn(_IMAGES, 3, 8, 8, generator=generator)

    def __len__(self) -> int:
        return _IMAGES

    def batches(
        self, batch_size: int, *, seed: int, epoch: int, shift: int = 0, flip: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every image once, in an order of its own for each seed and epoch."""
        order = torch.randperm(_IMAGES, generator=torch.Generator().manual_seed((1000 * seed + epoch) % 2**63))
        for part in torch.split(order, batch_size):
            yield self.x[part], self.y[part]


@dataclass(frozen=True)
class Subject:
    """A scheme under test.

    Attributes:
        scheme: with its parameters.
        host: gives what it marks, equal each time: a module, or tensors by name.
    """

    scheme: Scheme
    host: Callable[[], Host]

    @classmethod
    def of(cls, scheme: Scheme, host: Callable[[], Host] | None = None) -> "Subject":
        """Return a subject on a host of ours, which runs and has data if the scheme asks for that."""
        runs = not scheme.one_shot or scheme.needs or FORWARD in scheme.extraction_needs
        return cls(scheme, host or (network if runs else tensors))

    def __str__(self) -> str:
        return f"scheme {self.scheme!r:.200}"

    @cached_property
    def on_tensors(self) -> bool:
        """Say whether the host is tensors by name, with no model around them."""
        return not isinstance(self.host(), nn.Module)

    @cached_property
    def message(self) -> Bits:
        """The message, uint8 (payload_bits,): as many ones as zeros."""
        return message(self.scheme.payload_bits)

    @cached_property
    def marked(self) -> "Marked":
        """A marked host, made once; take a `copy` of it to change it."""
        return self.mark(self.host())

    def context(self, nonce: bytes = NONCE) -> EmbedContext:
        """Return what an embedding may use: data only if the scheme trains, or asks for some."""
        wants = not self.scheme.one_shot or self.scheme.needs
        return EmbedContext(Prototypes(), _CLASSES, 1, nonce=nonce) if wants else EmbedContext(nonce=nonce)

    def mark(self, host: Host, *, nonce: bytes = NONCE, scheme: Scheme | None = None, epochs: int = 12) -> "Marked":
        """Mark a host in place, while training if the scheme asks for that."""
        made = scheme or self.scheme
        context = self.context(nonce)
        if made.one_shot:
            weights, mark = embed(made, as_weights(host), message(made.payload_bits), KEY, context)
            return Marked(self, weights.module or host, mark)
        if not isinstance(host, nn.Module):
            raise BadInput(f"scheme '{made.name}' trains: give check_scheme a host that is a module")
        embedding = made.begin(as_weights(host), message(made.payload_bits), KEY, context)
        train(host, Prototypes(), replace(_RECIPE, epochs=epochs), seed=1, embedding=embedding)
        return Marked(self, embedding.weights.module or host, embedding.finish())


@dataclass(frozen=True)
class Marked:
    """A marked host and its mark."""

    subject: Subject
    host: Host
    mark: Mark

    def copy(self) -> "Marked":
        """Return the same with a host of its own, which may be changed."""
        return replace(self, host=copy.deepcopy(self.host))

    @cached_property
    def scheme(self) -> Scheme:
        """The scheme that the mark's own parameters rebuild, as whoever reads it does."""
        return type(self.subject.scheme)(**json.loads(json.dumps(dict(self.mark.parameters))))

    @property
    def state(self) -> State:
        """Return the host's tensors by name; writing into them changes it."""
        return self.host.state_dict() if isinstance(self.host, nn.Module) else self.host

    def read(self, key: Key = KEY, *, suspect: Host | None = None, mark: Mark | None = None) -> Extraction:
        """Return what a suspect, by default the marked host, says to a key."""
        weights = as_weights(self.host if suspect is None else suspect)
        return self.scheme.extract(weights, key, mark or self.mark)

    def is_recovered(self, found: Extraction) -> bool:
        """Say whether the message came back."""
        return found.ok and bool(np.array_equal(found.bits, self.subject.message))

    def claim(self, key: Key = KEY) -> Claim:
        """Return the claim of a key on this mark and the message."""
        return Claim(key, self.mark, self.subject.message)

    def log10_p(self, found: Extraction, key: Key = KEY) -> float:
        """Return what an extraction with a key proves."""
        return self.scheme.evidence(found, self.claim(key)).combined


def message(bits: int) -> Bits:
    """Return a message, uint8 (bits,), with as many ones as zeros."""
    order: Any = np.random.default_rng(5).permutation(np.arange(bits) % 2)
    return np.asarray(order, np.uint8)
