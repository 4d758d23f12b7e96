"""What encodings that need training share: the host layer, its filter-averaged weights, the loss, the mark.

The vector x that carries the message is the mean of a layer's weights over its output filters (axis 0), so
the order of the filters does not matter. A keyed map turns it into one logit a bit.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor, nn
from torch.nn import functional

from cwwm.codes import Bits
from cwwm.codes.base import check_message
from cwwm.ownership.evidence import Evidence
from cwwm.ownership.keys import Key, Stream, Streams
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import TRAINING, Claim, EmbedContext, Embedding, Extraction, Scheme
from cwwm.schemes.common.coded import OuterCoded, SoftWord, read_bits
from cwwm.schemes.common.keyed import match_evidence, pad_bits
from cwwm.support.bounds import MOST_ENTRIES
from cwwm.support.errors import BadInput, unknown_name
from cwwm.training import Batch
from cwwm.weights.carrier import Carrier, Layer, classifiers, prunable
from cwwm.weights.view import FLOAT_DTYPES, Weights, all_finite
from cwwm.weights.weight_kind import weight_kind

_CHUNK = 1 << 20

LogitsOf = Callable[[Tensor], Tensor]


def keyed_gaussian(stream: Stream, rows: int, columns: int) -> Tensor:
    """Return independent N(0, 1) entries, float32 (rows, columns), by the inverse normal of the stream."""
    if rows * columns > MOST_ENTRIES:
        raise BadInput(f"a keyed matrix of {rows:,} times {columns:,} is too large; take a shorter payload")
    entries = np.empty(rows * columns, np.float32)
    for start in range(0, len(entries), _CHUNK):
        uniform = stream.uniform(min(_CHUNK, len(entries) - start)) + 2.0**-54  # never exactly 0
        entries[start : start + _CHUNK] = ndtri(uniform)
    return torch.from_numpy(entries).view(rows, columns)


def bit_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the binary cross-entropy of bits, summed over them (not averaged: a bit weighs the same in any k)."""
    return functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")


@dataclass(frozen=True, kw_only=True)
class TrainedScheme(Scheme):
    """An encoding that a loss trains into the host; the message is padded, so matched bits are fair coins.

    Attributes:
        strength: factor of the message's loss.
    """

    one_shot: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset({TRAINING})

    strength: float = 0.01

    def __post_init__(self) -> None:
        """Refuse a strength that embeds nothing."""
        super().__post_init__()
        if not 0 < self.strength < float("inf"):
            raise BadInput(f"{self.name} needs a finite strength above 0, not {self.strength}")

    @property
    def strength_parameter(self) -> str:
        """Return the strength, the factor of the message's loss."""
        return "strength"

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        """Return the binomial tail of the matched bits."""
        return match_evidence(extraction, claim)

    def symbols_of(self, message: Bits, streams: Streams) -> Bits:
        """Return the bits to train in, uint8: the padded message."""
        return pad_bits(message, streams)

    def module(self, weights: Weights) -> nn.Module:
        """Return the module behind the weights; BadInput for bare tensors, which cannot be trained."""
        if weights.module is None:
            raise BadInput(f"scheme '{self.name}' is trained in: it needs a model that runs, not only weights")
        return weights.module


class TrainedEmbedding(Embedding):
    """An embedding by a loss: binds the mark, knows the padded bits to train in, and reports what was reached.

    Attributes:
        mark: all that reading uses, bound before training; without a report.
    """

    def __init__(
        self,
        scheme: TrainedScheme,
        weights: Weights,
        message: Bits,
        key: Key,
        context: EmbedContext,
        carrier: Carrier,
        *,
        state: Mapping[str, Any] | None = None,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Refuse a message of another kind and non-finite carriers; bind the mark and pad the message."""
        self.weights, self.key, self.carrier = weights, key, carrier
        self._scheme = scheme
        self._message = check_message(message, scheme.payload_bits)
        for layer in carrier.layers:
            if not all_finite(weights.tensor(layer.name)):
                raise BadInput(
                    f"tensor {layer.name} holds NaN or infinite weights; a mark needs a finite checkpoint"
                )
        self.device = weights.tensor(carrier.layers[0].name).device
        self.mark = scheme.bind(weights, message, key, context, carrier=carrier, state=state, tensors=tensors)
        self.streams = self.mark.streams(key)
        self.target = torch.from_numpy(scheme.symbols_of(self._message, self.streams)).float().to(self.device)

    def learned(self) -> Mapping[str, Tensor]:
        """Return what reading needs that is learned beside the weights, as it is now; mostly nothing."""
        return {}

    def embedded(self) -> bool:
        """Read the message as its owner would; nothing that training goes on with is changed."""
        _, read = self._read()
        return read.ok and bool(np.array_equal(read.bits, self._message))

    def _read(self) -> tuple[Mark, Extraction]:
        """Return the mark as it is now, and what it reads."""
        copies = {name: tensor.detach().cpu().clone() for name, tensor in self.learned().items()}
        mark = replace(self.mark, learned=copies)
        return mark, self._scheme.extract(self.weights, self.key, mark)

    def reported(self, report: Mapping[str, Any]) -> Mark:
        """Return the mark with a report, which gains `embedded_errors`, the bits that do not read back."""
        mark, read = self._read()
        errors = int(np.sum(read.bits != self._message))
        return replace(mark, report={**report, "embedded_errors": errors})


def read_logits(logits: Tensor, streams: Streams) -> Extraction:
    """Return the message in logits, float (k,): pad removed, a logit of exactly zero counted as erased."""
    return read_bits(logits.detach().cpu().double().numpy(), streams)


@dataclass(frozen=True, kw_only=True)
class LayerScheme(TrainedScheme):
    """A trained encoding in the filter-averaged weights of one layer.

    Attributes:
        strength: lambda, factor of the message's loss.
        layer: name of the host weight; empty chooses it, see `host_layer`.
    """

    layer: str = ""

    @property
    def symbols(self) -> int:
        """Return the number of logits: one a message bit."""
        return self.payload_bits

    @abstractmethod
    def logits(self, vector: Tensor, key: Key, mark: Mark) -> Tensor:
        """Return a logit a symbol, float64 (symbols,), of filter-averaged weights, finite float64 (M,) on a CPU."""

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Read the signs of the logits."""
        logits = self.read_layer(suspect, key, mark)
        if isinstance(logits, str):
            return Extraction.not_applicable(self.payload_bits, logits)
        return read_logits(logits, mark.streams(key))

    def read_layer(self, suspect: Weights, key: Key, mark: Mark) -> Tensor | str:
        """Return the logits of a suspect, or why it has none; NaN and infinite weights count as zero."""
        if mark.carrier is None:
            return "the mark names no carrier"
        missing = mark.carrier.missing(suspect)
        if missing:
            return missing[0]
        if vector_length(mark.carrier.layers[0].shape) < self.symbols:
            raise BadInput("the mark is damaged: its layer is too small for its payload")
        weight = suspect.tensor(mark.carrier.layers[0].name).cpu().double()
        vector = filter_mean(torch.nan_to_num(weight, nan=0.0, posinf=0.0, neginf=0.0))
        return self.logits(vector, key, mark)


class LayerEmbedding(TrainedEmbedding):
    """An embedding in one layer of a module.

    Attributes:
        host: the layer's weight, the module's own parameter.
    """

    def __init__(
        self, scheme: LayerScheme, weights: Weights, message: Bits, key: Key, context: EmbedContext
    ) -> None:
        """Choose the layer."""
        module = scheme.module(weights)
        layer = host_layer(weights, scheme.layer, scheme.symbols)
        super().__init__(scheme, weights, message, key, context, Carrier(layer.name, (layer,)))
        self.host = module.get_parameter(layer.name)

    def vector(self) -> Tensor:
        """Return the filter-averaged weights as they are now, float32 (M,), with their gradient."""
        return filter_mean(self.host.float())

    def finish(self) -> Mark:
        """Return the mark; bits that training did not reach are counted in its report, not refused."""
        return self.reported(self.facts())

    def facts(self) -> dict[str, Any]:
        """Return the host layer and the length of its vector, for the report."""
        return {"layer": self.carrier.layers[0].name, "vector": vector_length(self.host.shape)}


@dataclass(frozen=True, kw_only=True)
class ProjectedScheme(OuterCoded, LayerScheme):
    """An encoding whose logits are a fixed keyed map of the vector: nothing is learned but the host."""

    @abstractmethod
    def keyed_map(self, streams: Streams, like: Tensor) -> LogitsOf:
        """Return the map from vectors such as `like`, float (M,), to logits (symbols,), on its device and dtype."""

    def soft_word(self, suspect: Weights, key: Key, mark: Mark) -> SoftWord | str:
        """Return the logits."""
        logits = self.read_layer(suspect, key, mark)
        return logits if isinstance(logits, str) else SoftWord(logits.detach().cpu().double().numpy())

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "ProjectedEmbedding":
        """Choose the layer and draw the keyed map; training does the rest."""
        return ProjectedEmbedding(self, weights, message, key, context)

    def logits(self, vector: Tensor, key: Key, mark: Mark) -> Tensor:
        """Return the keyed map's logits."""
        return self.keyed_map(mark.streams(key), vector)(vector)


class ProjectedEmbedding(LayerEmbedding):
    """Adds lambda times the message's cross-entropy to the task's loss."""

    def __init__(
        self, scheme: ProjectedScheme, weights: Weights, message: Bits, key: Key, context: EmbedContext
    ) -> None:
        """Draw the keyed map once."""
        super().__init__(scheme, weights, message, key, context)
        self._strength = scheme.strength
        self._logits = scheme.keyed_map(self.streams, self.vector().detach())

    def loss(self, batch: Batch) -> Tensor:
        """Return the message's loss, a scalar."""
        return self._strength * bit_loss(self._logits(self.vector()), self.target)


def filter_mean(weight: Tensor) -> Tensor:
    """Return the mean over output filters (axis 0), float (M,) with M = size / shape[0]."""
    return weight.mean(0).reshape(-1)


def vector_length(shape: tuple[int, ...]) -> int:
    """Return M, the length of the filter-averaged vector of a weight of this shape."""
    return int(np.prod(shape[1:]))


def host_layer(weights: Weights, name: str, bits: int) -> Layer:
    """Return the layer that hosts `bits` bits in its filter-averaged vector.

    Without a name: of the convolution weights (or, where none is long enough, the linear weights) other than
    the classifier, the one with the longest vector; of equal ones the larger, then the first.

    Raises:
        BadInput: for an unknown or unsuitable name, or a vector shorter than the payload.
    """
    layer = named_layer(weights, name) if name else _longest_layer(weights, bits)
    length = vector_length(layer.shape)
    if length < bits:
        raise BadInput(
            f"layer {layer.name} has {length} filter-averaged weights, fewer than the {bits} bits to embed; "
            "choose a larger layer or a shorter payload"
        )
    return layer


def named_layer(weights: Weights, name: str) -> Layer:
    """Return the layer of this name; BadInput for an unknown one, or one that is no weight of filters."""
    if name not in weights:
        raise unknown_name("layer", name, weights.names())
    layer = Layer(name, weights.shape(name), weights.dtype(name))
    if len(layer.shape) < 2 or layer.dtype not in FLOAT_DTYPES:
        raise BadInput(f"layer {name} is {layer.dtype} of shape {list(layer.shape)}; a host is a weight of filters")
    return layer


def _longest_layer(weights: Weights, bits: int) -> Layer:
    answering, names = set(classifiers(weights)), prunable(weights)
    layers = [Layer(n, weights.shape(n), weights.dtype(n)) for n in names if n not in answering]
    if not layers:
        raise BadInput("this model has no convolution or linear weight beside its classifier to host a mark")
    convolutions = [layer for layer in layers if weight_kind(layer.name, layer.shape) == "conv"]
    enough = any(vector_length(layer.shape) >= bits for layer in convolutions)
    candidates = convolutions if enough else layers
    return max(candidates, key=lambda layer: (vector_length(layer.shape), layer.size))
