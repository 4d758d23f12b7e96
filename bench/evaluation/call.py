"""`evaluate`: a copy of a trained model is marked, attacked and read; nothing is stored."""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from bench.attacks import AttackContext
from bench.data import Dataset, load
from bench.evaluation.given import (
    Curve,
    GivenAttacks,
    GivenData,
    GivenScheme,
    curves_from,
    dataset_from,
    recipe_from,
    scheme_from,
)
from bench.evaluation.result import Evaluation, Row
from bench.execution.model_factory import Marked
from bench.execution.owner import OwnersReading
from bench.metrics.accuracy import accuracy
from bench.metrics.dead_weights import left_out
from bench.metrics.felt import sensitivity_of
from bench.models.registry import HostRecipe
from cwwm.ownership.keys import NONCE_BYTES, Key, Stream
from cwwm.readers import Blind
from cwwm.schemes import EmbedContext, Scheme
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed
from cwwm.training import Recipe, train_marked
from cwwm.weights.view import as_weights

Build = Callable[[str | None, int], nn.Module]


def evaluate(
    model: nn.Module,
    scheme: GivenScheme,
    attacks: GivenAttacks,
    data: GivenData | None = None,
    *,
    recipe: HostRecipe | Recipe | None = None,
    build: Build | None = None,
    base: nn.Module | None = None,
    reader: str = Blind.name,
    seed: int = 0,
) -> Evaluation:
    """Mark a copy of a trained model with a scheme, attack it, and say what each attack leaves.

    Args:
        model: a trained classifier, which is left alone; all runs on the device of its tensors.
        scheme: a registered name, ``{"name": ..., parameters}``, or an object. One that can mark finished models
            does; another one marks while the copy is trained on, which takes data.
        attacks: strengths by registered name, or a sequence of ``(attack, strengths)`` and of
            ``{"name": ..., parameters, "strengths": [...]}``; an attack is a name, a mapping or an object.
        data: a bench data set, or (x, y): x float (n, ...), y int64 (n,), of which every fourth sample measures
            accuracy and the others are the attacker's. None: no accuracy, and no attack that needs data.
        recipe: of trainings, the attacker's too; by default five epochs of AdamW.
        build: gives a fresh network of (timm name, or None for the host's own; seed); distillation needs it.
        base: the public model that `model` came from, of its shapes (`model` itself if that is public), which
            attackers that interpolate or merge with it need; it is left alone.
        reader: how suspects are read, ``"blind"`` or another name of `cwwm.readers`.
        seed: of key, message and all that is random; such a key proves nothing to others.

    Raises:
        BadInput: in one line, for an unknown name or parameter, an attack or scheme that needs what is not given,
            a strength that an attack does not take, data that is none, or a model that cannot carry the mark.
    """
    made, curves = scheme_from(scheme), curves_from(attacks)
    task = _Task.of(model, made, data, AttackerMeans(recipe_from(recipe), build, base, seed))
    for attack, _ in curves:
        attack.require(task.context)
    owner = OwnersReading.of(task.marked(0), reader)
    before = task.row(owner, owner.marked.model)
    rows = tuple(row for curve in curves for row in task.rows(owner, curve))
    return Evaluation(made, task.accuracy(model), before, rows)


@dataclass(frozen=True)
class AttackerMeans:
    """What both sides train with, what students are built with, the public base, and the seed of everything."""

    recipe: HostRecipe
    build: Build | None
    base: nn.Module | None
    seed: int


@dataclass(frozen=True)
class _Task:
    """The model under evaluation, its scheme, and what the attacker has; `data` is None if there is none."""

    model: nn.Module
    scheme: Scheme
    data: Dataset | None
    context: AttackContext

    @classmethod
    def of(cls, model: nn.Module, scheme: Scheme, data: GivenData | None, means: AttackerMeans) -> "_Task":
        device = next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
        bare = replace(
            AttackContext.bare(device, means.seed),
            recipe=means.recipe, build=means.build, base=_lender(means.base, device), scheme=scheme.encoding,
        )  # fmt: skip
        if data is None:
            return cls(model, scheme, None, bare)
        found = dataset_from(data).to(device)
        return cls(model, scheme, found, replace(bare, data=found, load=_loader(found, device)))

    def marked(self, number: int) -> Marked:
        """Return a marked copy of the model; each number has its own key and message."""
        parts = {"evaluate": self.context.seed, "copy": number}
        secret = derive_seed(**parts).to_bytes(32, "little")
        message = np.asarray(Stream(secret).bits(self.scheme.payload_bits), np.uint8)
        key, nonce = Key.for_harness(**parts), hashlib.sha256(secret).digest()[:NONCE_BYTES]
        host = copy.deepcopy(self.model)
        data = None if self.data is None else self.data.train
        classes = None if self.data is None else self.data.classes
        dead = None if data is None else left_out(self.scheme, host, data, self.context.recipe.mark)
        felt = None if data is None else sensitivity_of(self.scheme, host, data)
        context = EmbedContext(data, classes, self.context.seed, self.context.device, nonce, dead, felt)
        if not self.scheme.one_shot and data is None:
            raise BadInput(f"evaluate: scheme '{self.scheme.name}' marks only while training; give data")
        embedding = self.scheme.begin(as_weights(host), message, key, context)
        if not self.scheme.one_shot and data is not None:
            train_marked(host, data, self.context.recipe.mark, seed=self.context.seed, embedding=embedding)
        mark = embedding.finish()
        return Marked(embedding.weights.module or host, self.scheme, mark, key, message, {}, lambda: self.model)

    def rows(self, owner: OwnersReading, curve: Curve) -> list[Row]:
        """Return what one attack leaves at each strength."""
        attack, strengths = curve
        others = [self.marked(number).model for number in range(1, attack.copies_needed(strengths))]
        items = attack([owner.marked.model, *others], strengths, self.context)
        return [self.row(owner, item.model, attack.label, item.strength, item.task) for item in items]

    def row(
        self,
        owner: OwnersReading,
        suspect: nn.Module,
        attack: str = "",
        strength: float | None = None,
        task: Dataset | None = None,
    ) -> Row:
        """Return what the owner reads in a suspect, and how well it does its task."""
        facts = owner.facts(owner.extraction(as_weights(suspect)))
        right = self.accuracy(suspect, task)
        return Row(attack, strength, facts["exact"], facts["bit_error"], facts["log10_p"], right)

    def accuracy(self, model: nn.Module, task: Dataset | None = None) -> float | None:
        """Return the percentage of test samples that a model answers right, its mode kept; None without data."""
        found = task or self.data
        if found is None or not found.labelled:
            return None
        training = model.training
        try:
            return accuracy(model, found.test).percent
        finally:
            model.train(training)


def _lender(base: nn.Module | None, device: torch.device) -> Callable[[], nn.Module] | None:
    return None if base is None else lambda: copy.deepcopy(base).to(device)


def _loader(data: Dataset, device: torch.device) -> Callable[[str], Dataset]:
    """Return what gives other data sets in the shape of this one's images."""

    def loaded(name: str) -> Dataset:
        shape = data.train.x.shape
        if len(shape) != 4:
            raise BadInput(f"data set '{name}' has images, and the model takes inputs of {tuple(shape[1:])}")
        return load(name, size=shape[-1], channels=shape[1], device=device)

    return loaded
