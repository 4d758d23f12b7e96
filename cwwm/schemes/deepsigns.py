"""Scheme `deepsigns`: keyed projections of the class means of penultimate activations carry the message.

After Rouhani, Chen and Koushanfar, "DeepSigns: An End-to-End Watermarking Framework for Ownership Protection
of Deep Neural Networks", ASPLOS 2019 (the white-box scheme for hidden layers): the activations of s keyed
classes are drawn to their means mu, whose projections sigmoid(mu A) are drawn to the message; the owner
reads the means that a secret set of training samples gives in the suspect. It must run, not only exist.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar

import torch
from torch import Tensor, nn

from cwwm.channels.graph import evaluating
from cwwm.codes import Bits
from cwwm.ownership.keys import Key, Streams
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import FORWARD, EmbedContext, Extraction
from cwwm.schemes.common.projected import TrainedEmbedding, TrainedScheme, bit_loss, keyed_gaussian, read_logits
from cwwm.support.errors import BadInput
from cwwm.training import Batch, Batches
from cwwm.weights.carrier import Carrier, classifier
from cwwm.weights.view import Weights

MOMENTUM = 0.1  # share of a batch in the running class means
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class DeepSigns(TrainedScheme):
    """Class means of the classifier's input.

    Choices of ours. The layer is the classifier's input (averaged over positions where it has any). The means
    are running ones, not learnt: the value of the running mean with the gradient of the batch's, so that
    activations follow within a short fine-tuning. Projected are the means less their mean over the marked
    classes, by an A of N(0, 1) entries of its own for each class: what all classes share dwarfs what sets them
    apart, and would fight one A for all. The squared distance is averaged over a batch's samples of marked
    classes, the cross-entropy summed over the bits. The paper's term that pushes marked means from unmarked
    ones is left out: it has no bound, and nothing to push where all classes are marked.

    Attributes:
        strength: lambda_2, factor of the message's cross-entropy (0.01 in the paper).
        clustering: lambda_1, factor of the squared distance of activations to their class mean (0.01).
        marked_classes: s, how many keyed classes carry the message, at least 2; 0 for all.
        triggers: samples of each marked class that the owner keeps, at most.
    """

    name: ClassVar[str] = "deepsigns"
    extraction_needs: ClassVar[frozenset[str]] = frozenset({FORWARD})
    alignable: ClassVar[bool] = False

    clustering: float = 0.01
    marked_classes: int = 0
    triggers: int = 16

    def __post_init__(self) -> None:
        """Refuse parameters that mark nothing."""
        super().__post_init__()
        if not 0 < self.clustering < float("inf") or self.triggers < 1:
            raise BadInput("deepsigns needs a finite clustering above 0 and at least 1 trigger a class")
        if self.marked_classes < 0 or self.marked_classes == 1:
            raise BadInput("deepsigns marks 2 classes or more, or 0 for all: it reads what sets them apart")

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "DeepSignsEmbedding":
        """Choose classes and triggers, measure the host's class means, and listen to the classifier's input."""
        return DeepSignsEmbedding(self, weights, message, key, context)

    def matrix(self, streams: Streams, classes: int, features: int) -> Tensor:
        """Return A of each class, float32 (classes, features, bits a class)."""
        per_class = -(-self.payload_bits // classes)
        gaussian = keyed_gaussian(streams.stream("projection"), classes * features, per_class)
        return gaussian.view(classes, features, per_class)

    def logits(self, means: Tensor, matrix: Tensor) -> Tensor:
        """Return a logit a bit, (k,), of class means (s, features): class by class, the last ones cut off."""
        apart = means - means.mean(0)
        return torch.einsum("sf,sfb->sb", apart, matrix).reshape(-1)[: self.payload_bits]

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Run the triggers and read the signs of their projected class means; non-finite activations are zero."""
        reason = _inapplicable(suspect, mark)
        if suspect.module is None or reason:
            return Extraction.not_applicable(self.payload_bits, reason)
        means = _trigger_means(suspect.module, mark)
        streams = mark.streams(key)
        matrix = self.matrix(streams, len(means), means.shape[1]).double()
        return read_logits(self.logits(means, matrix), streams)


class DeepSignsEmbedding(TrainedEmbedding):
    """Draws activations to running class means, and these to the message."""

    def __init__(self, scheme: DeepSigns, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> None:
        """Refuse hosts without classifier or data, and payloads beyond (classes - 1) times features."""
        module, name = scheme.module(weights), classifier(weights)
        if name is None or context.data is None:
            raise BadInput("deepsigns needs a model with a classifier, and training data")
        self.scheme = scheme
        survey = _Survey(module, name, context.data, context.seed)
        choices = key.choices(context.nonce)  # classes and triggers come before the salt, which binds them
        chosen = self._choose_classes(survey, choices)
        group = torch.full((max(survey.counts) + 1,), -1)
        group[torch.tensor(chosen)] = torch.arange(len(chosen))
        triggers, labels = self._choose_triggers(survey, chosen, choices)
        super().__init__(
            scheme,
            weights,
            message,
            key,
            context,
            Carrier.choose(weights, "body"),
            state={"classifier": name, "features": survey.features},
            tensors={"triggers": triggers, "groups": group[labels]},
        )
        self._triggers = len(triggers)
        self._means = torch.stack([survey.mean(label) for label in chosen]).to(self.device)
        self._matrix = scheme.matrix(self.streams, *self._means.shape).to(self.device)
        self._group = group.to(self.device)
        self._tap = FeatureTap(module, name)

    def loss(self, batch: Batch) -> Tensor:
        """Return the distance of the marked classes' activations to their means, and the message's loss."""
        features = self._tap.features
        members = (self._group[batch.y] == torch.arange(len(self._means), device=self.device)[:, None]).float()
        counts = members.sum(1, keepdim=True)
        now = members @ features / counts.clamp(min=1)
        self._means = torch.where(counts > 0, self._means.lerp(now.detach(), MOMENTUM), self._means)
        distance = (features - members.T @ self._means).square().sum(1)
        clustering = (distance * members.sum(0)).sum() / members.sum().clamp(min=1)
        live = self._means + (now - now.detach())  # the value of the running mean, the gradient of the batch's
        reading = bit_loss(self.scheme.logits(live, self._matrix), self.target)
        return self.scheme.clustering * clustering + self.scheme.strength * reading

    def finish(self) -> Mark:
        """Stop listening, and return the mark."""
        self._tap.remove()
        classes, features = self._means.shape
        return self.reported({"classes": classes, "features": features, "triggers": self._triggers})

    def _choose_classes(self, survey: "_Survey", choices: Streams) -> list[int]:
        """Return the keyed classes, in keyed order."""
        present, features = sorted(survey.counts), survey.features
        wanted = self.scheme.marked_classes or len(present)
        capacity = (min(wanted, len(present)) - 1) * features  # the centred means have one degree less
        if wanted > len(present) or self.scheme.payload_bits > capacity:
            raise BadInput(
                f"deepsigns: {min(wanted, len(present))} marked classes of {features} features carry at most "
                f"{capacity} bits, the data has {len(present)} classes; shorten the payload or mark other classes"
            )
        return [present[i] for i in choices.stream("classes").sample(len(present), wanted)]

    def _choose_triggers(self, survey: "_Survey", chosen: list[int], choices: Streams) -> tuple[Tensor, Tensor]:
        """Return keyed samples of each chosen class, (n, ...), and their labels, int64 (n,)."""
        stream = choices.stream("triggers")
        count = self.scheme.triggers
        ordinals = {c: stream.sample(survey.counts[c], min(count, survey.counts[c])).tolist() for c in chosen}
        return survey.pick(ordinals)


class FeatureTap:
    """Keeps what enters the classifier in the latest forward pass, float32 (n, features), until removed."""

    def __init__(self, model: nn.Module, classifier_weight: str) -> None:
        """Listen to the module that owns the classifier's weight."""
        self.features = torch.empty(0)
        module = model.get_submodule(classifier_weight.rpartition(".")[0])
        self._convolution = module.get_parameter(classifier_weight.rpartition(".")[2]).ndim > 2
        self._handle = module.register_forward_pre_hook(self._keep)

    def remove(self) -> None:
        """Stop listening, and let go of the activations, whose graph a copy of the model cannot hold."""
        self._handle.remove()
        self.features = torch.empty(0)

    def __enter__(self) -> "FeatureTap":
        """Listen within a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, whatever happened."""
        self.remove()

    def _keep(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features = inputs[0].float()
        positions = range(2, features.ndim) if self._convolution else range(1, features.ndim - 1)
        self.features = features.mean(tuple(positions)) if positions else features


class _Survey:
    """The host's own class means over the training data, and access to chosen samples of each class.

    Attributes:
        counts: samples of each class present.
        features: length of the classifier's input.
    """

    def __init__(self, model: nn.Module, classifier_weight: str, data: Batches, seed: int) -> None:
        self._data, self._seed = data, seed
        self._sums: dict[int, Tensor] = {}
        self.counts: dict[int, int] = {}
        with evaluating(model), FeatureTap(model, classifier_weight) as tap:
            for x, y in self._batches():
                model(x)
                for label in set(y.tolist()):
                    self._add(label, tap.features[y == label])
        self.features = len(next(iter(self._sums.values())))

    def mean(self, label: int) -> Tensor:
        """Return the class mean, float32 (features,)."""
        return (self._sums[label] / self.counts[label]).float()

    def pick(self, ordinals: dict[int, list[int]]) -> tuple[Tensor, Tensor]:
        """Return the samples with these numbers within their class, in the order of the data, and labels."""
        seen = dict.fromkeys(self.counts, 0)
        inputs, labels = [], []
        for x, y in self._batches():
            for index, label in enumerate(y.tolist()):
                if seen[label] in ordinals.get(label, ()):
                    inputs.append(x[index])
                    labels.append(label)
                seen[label] += 1
        return torch.stack(inputs), torch.tensor(labels)

    def _add(self, label: int, features: Tensor) -> None:
        self._sums[label] = self._sums.get(label, 0) + features.double().sum(0)
        self.counts[label] = self.counts.get(label, 0) + len(features)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the samples in one fixed order, not augmented."""
        return self._data.batches(_BATCH, seed=self._seed, epoch=0, shift=0, flip=False)


def _inapplicable(suspect: Weights, mark: Mark) -> str:
    """Return why the mark cannot be read from the suspect, or an empty string."""
    if suspect.module is None:
        return "it needs a model that runs, not only weights"
    name, features = mark.state["classifier"], mark.state["features"]
    if name not in suspect:
        return f"it has no tensor {name}"
    shape = suspect.shape(name)
    if len(shape) < 2 or shape[1] != features:
        return f"{name} has shape {list(shape)}, not {features} features"
    return ""


def _trigger_means(model: nn.Module, mark: Mark) -> Tensor:
    """Return the class means of the triggers' activations, float64 (classes, features), on the CPU."""
    triggers, groups = mark.tensors["triggers"], mark.tensors["groups"]
    device = next(model.parameters()).device
    with evaluating(model), FeatureTap(model, mark.state["classifier"]) as tap:
        parts = []
        for x in torch.split(triggers, _BATCH):
            model(x.to(device))
            parts.append(tap.features.cpu().double())
    features = torch.nan_to_num(torch.cat(parts), nan=0.0, posinf=0.0, neginf=0.0)
    return torch.stack([features[groups == group].mean(0) for group in range(int(groups.max()) + 1)])
