"""Scheme `ingrain`, a reconstruction: the host also learns what a network that saw only the carriers knows.

After Yang, Dang and Chang, "Effectiveness of Distillation Attack and Countermeasure on Neural Network
Watermarking", arXiv 1906.06046, whose loss, settings and code are not public: what follows is our reading of its
idea, and none of its figures are the paper's. An *ingrainer*, trained on the carriers, is frozen; the host learns
its softened answers beside the task, so that the mark rides in the host's ordinary answers, which an attacker
distils.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from cwwm.codes import Bits
from cwwm.ownership.keys import Key
from cwwm.schemes.base import EmbedContext
from cwwm.schemes.carriers import Carriers, CarriersEmbedding
from cwwm.schemes.common.trigger_images import TriggerSet, answers_to
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed
from cwwm.training import Batch, Recipe
from cwwm.weights.view import Weights

CARRIERS, BOTH, DATA = "carriers", "data+carriers", "data"
_BATCH = 64
_RATE = 3e-3  # of the ingrainer's training, whatever the host's: it starts from nothing
_SPREAD = 0.02  # of parameters that no layer initialises by itself, such as position tables


@dataclass(frozen=True, kw_only=True)
class Ingrain(Carriers):
    """Carriers with an ingrainer (a reconstruction).

    The loss added to the task's, with host f, ingrainer g, temperature T and coefficient lambda, is

        strength * CE(f(c), y_c) + lambda * T^p * CE(softmax(g / T), softmax(f / T)),

    the second term averaged over the images of a step. Choices of ours, by what kept both task and carriers in
    trials: g sees the carriers alone, has the host's architecture and starts from a fresh initialisation of it;
    the images are the batch and all carriers; the carriers stay in the hard loss; p = 1, with which the second
    term's gradient falls as 1/T (T^2 would keep it).

    Attributes:
        coefficient: lambda.
        temperature: T of the soft answers.
        temp_power: p.
        ingrainer_data: what g is trained on, ``"carriers"`` or ``"data+carriers"``. With carriers alone one
            target class would leave it a constant to learn, which would draw the host there: refused.
        domain: images of the second term, ``"data"`` or ``"data+carriers"``.
        hard: whether the carriers stay in the hard loss.
        ingrainer_steps: of g's training; more make it surer of its answers to images of the task too, which costs
            the host accuracy.
    """

    name: ClassVar[str] = "ingrain"
    reconstruction: ClassVar[bool] = True

    coefficient: float = 0.5
    temperature: float = 15.0
    temp_power: float = 1.0
    ingrainer_data: str = CARRIERS
    domain: str = BOTH
    hard: bool = True
    ingrainer_steps: int = 100

    def __post_init__(self) -> None:
        """Refuse settings that embed nothing, and a degenerate ingrainer."""
        if self.target_classes == 1 and self.ingrainer_data == CARRIERS:
            raise BadInput(
                "ingrain: an ingrainer that sees only carriers of one target class learns a constant; "
                "spread the labels over more classes"
            )
        super().__post_init__()
        if self.ingrainer_data not in (CARRIERS, BOTH):
            raise BadInput(f"ingrain: ingrainer_data is '{CARRIERS}' or '{BOTH}', not '{self.ingrainer_data}'")
        if self.domain not in (DATA, BOTH):
            raise BadInput(f"ingrain: domain is '{DATA}' or '{BOTH}', not '{self.domain}'")
        if not (0 < self.coefficient < float("inf") and 0 < self.temperature < float("inf")):
            raise BadInput("ingrain needs a finite coefficient and temperature above 0")
        if not abs(self.temp_power) < float("inf") or self.ingrainer_steps < 1:
            raise BadInput("ingrain needs a finite temp_power and at least 1 step for the ingrainer")

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "IngrainEmbedding":
        """Make the carriers and train the ingrainer."""
        return IngrainEmbedding(self, weights, message, key, context)


class IngrainEmbedding(CarriersEmbedding):
    """Adds the carriers' cross-entropy, and that of the host's soft answers against the ingrainer's."""

    def __init__(self, scheme: Ingrain, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> None:
        """Train the ingrainer, with the host and the global generator left as they are."""
        super().__init__(scheme, weights, message, key, context)
        self._ingrain = scheme
        self._ingrainer = self._trained(context).requires_grad_(False).eval()
        self._taught = answers_to(self._ingrainer, self.images)

    def loss(self, batch: Batch) -> Tensor:
        """Return both terms, a scalar."""
        scheme = self._ingrain
        mine, taught = batch.logits, self._knows(batch.x)
        asked = self.answers() if scheme.hard or scheme.domain == BOTH else None
        if asked is not None and scheme.domain == BOTH:
            mine, taught = torch.cat([mine, asked]), torch.cat([taught, self._taught])
        loss = scheme.coefficient * soft_loss(mine, taught, scheme.temperature, scheme.temp_power)
        if asked is not None and scheme.hard:
            loss = loss + scheme.strength * functional.cross_entropy(asked, self.labels)
        return loss

    def facts(self) -> dict[str, Any]:
        """Return how many carriers the ingrainer answers right."""
        return {"ingrainer_right": int((self._taught.argmax(1) == self.labels).sum())}

    def _knows(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = self._ingrainer(x)
        return logits

    def _trained(self, context: EmbedContext) -> nn.Module:
        """Return the ingrainer, trained."""
        seed = derive_seed(seed=context.seed, purpose="ingrainer")
        task = context.data if self._ingrain.ingrainer_data == BOTH else None
        data = TriggerSet(self.images, self.labels, task)
        epochs = -(-self._ingrain.ingrainer_steps // -(-len(data) // _BATCH))
        with _own_generator(self.device, seed):
            ingrainer = fresh_copy(self.module).to(self.device)
            context.train(ingrainer, data, Recipe(epochs=epochs, batch_size=_BATCH, lr=_RATE), seed=seed)
        return ingrainer


def soft_loss(logits: Tensor, taught: Tensor, temperature: float, power: float) -> Tensor:
    """Return T^p times the mean cross-entropy of softened answers, a scalar, of logits (n, classes) both."""
    target = (taught / temperature).softmax(1)
    loss: Tensor = temperature**power * functional.cross_entropy(logits / temperature, target)
    return loss


@torch.no_grad()
def fresh_copy(model: nn.Module) -> nn.Module:
    """Return a copy on the CPU that keeps none of the model's weights or statistics, by the global generator.

    Layers start as PyTorch initialises them; parameters of no such layer (tokens, position tables, layer scales)
    from N(0, 0.02^2).
    """
    fresh = copy.deepcopy(model).cpu()
    for parameter in fresh.parameters():
        parameter.normal_(0, _SPREAD)
    for module in fresh.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    return fresh


@contextmanager
def _own_generator(device: torch.device, seed: int) -> Iterator[None]:
    """Seed the global generators within a block only."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
