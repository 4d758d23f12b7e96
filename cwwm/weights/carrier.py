"""The carrier: the host weights of a model, chosen by rule, as one flat pool that keyed positions index.

What counts as a weight is decided from names and shapes alone, so that a module, its state dict and its
safetensors file give the same carrier.
"""

import math
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cwwm.support.bounds import text, whole
from cwwm.support.errors import BadInput
from cwwm.weights.dead import Dead
from cwwm.weights.digests import LARGE, flat_digest, tree_digest
from cwwm.weights.heads import heads
from cwwm.weights.view import FLOAT_DTYPES, WEIGHT_DTYPES, TensorWeights, Weights
from cwwm.weights.weight_kind import weight_kind

LARGE_LAYER = 10_000
WIDE_ROW = 16
_MOST_WEIGHTS = 1 << 48  # of a carrier
_MOST_AXES = 32
_MOST_NAME = 1024  # characters of a layer's name, and of a rule
RULES = {
    "all": "every convolution and linear weight",
    "large": f"convolution and linear weights of layers with at least {LARGE_LAYER:,} weights",
    "conv": "convolution weights",
    "linear": "linear weights",
    "body": "every convolution and linear weight but those of rule classifier",
    "classifier": "the weight of the last layer, which answers the classes; of several heads all of them",
    "wide": "convolution and linear weights of at least 16 inputs an output, no depthwise ones",
}
_CARRIERS = ", ".join(FLOAT_DTYPES)
_SHOWN = 3  # tensors that are left out and named
ALIVE = "alive:"  # leads a rule whose carrier leaves out what is said to be dead
NOTHING_DEAD = Dead()


@dataclass(frozen=True)
class Layer:
    """One tensor of a carrier: its name, shape and dtype (``"float32"``, ``"float16"``, ``"bfloat16"``).

    Its `dead` rows and columns are no part of the pool, whatever a suspect holds there.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    dead: Dead = field(default=NOTHING_DEAD, repr=False)  # digests of hosts are over the repr of whole layers

    @property
    def size(self) -> int:
        """Number of weights in the pool."""
        return math.prod(self.dead.living(self.shape))

    def living(self, tensor: Tensor) -> Tensor:
        """Return the weights of a tensor of this shape that are in the pool, flat, in order."""
        return tensor.reshape(-1) if self.dead == NOTHING_DEAD else self.dead.without(tensor)

    def places(self, numbers: Tensor) -> Tensor:
        """Return the flat indices, int64, of weights of the pool by their numbers in this layer, int64."""
        return numbers if self.dead == NOTHING_DEAD else self.dead.places(numbers, self.shape)

    def to_json(self) -> dict[str, Any]:
        """Return the layer as a JSON object; one without dead weights says nothing of them."""
        found = {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}
        return found if self.dead == NOTHING_DEAD else {**found, "dead": self.dead.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Layer":
        """Read a layer of `Carrier.to_json`; KeyError, TypeError or BadInput if it is something else."""
        if not 1 <= len(value["shape"]) <= _MOST_AXES or value["dtype"] not in FLOAT_DTYPES:
            raise BadInput(
                f"a layer of a carrier has 1 to {_MOST_AXES} axes, and a dtype of {', '.join(FLOAT_DTYPES)}"
            )
        shape = tuple(whole(size, "a layer's size", 1, _MOST_WEIGHTS) for size in value["shape"])
        dead = Dead.from_json(value["dead"], shape) if "dead" in value else NOTHING_DEAD
        return cls(text(value["name"], "a layer's name", _MOST_NAME), shape, str(value["dtype"]), dead)


@dataclass(frozen=True)
class Carrier:
    """Layers whose weights, concatenated in order, are the pool of N weights that positions index."""

    rule: str
    layers: tuple[Layer, ...]

    @classmethod
    def choose(cls, weights: Weights, rule: str, dead: Mapping[str, Dead] | None = None) -> "Carrier":
        """Choose the layers of `weights` by rule: a name in `RULES`, or a regular expression on names.

        A regular expression may name any float tensor, norms and embeddings included. After ``alive:`` either
        leaves out the rows and columns that `dead` names, by tensor, and layers of which nothing is left; other
        rules take no notice of it. Rules leave out what is no float: see `left_out`.

        Raises:
            BadInput: if no tensor matches, the expression is malformed, a dtype cannot carry, or nobody said what
                is dead.
        """
        names = _matching(weights, rule.removeprefix(ALIVE))
        lost = _lost(rule, dead)
        found = (Layer(n, weights.shape(n), weights.dtype(n), lost.get(n, NOTHING_DEAD)) for n in names)
        layers = tuple(layer for layer in found if layer.size or layer.dead == NOTHING_DEAD)
        if not layers:
            raise BadInput(f"carrier '{rule}' matches no weight of this model{_why_empty(weights, rule)}")
        for layer in layers:
            _require_carrying(weights, layer)
        return cls(rule, layers)

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """First pool position of each layer, and N at the end; int64 (layers + 1,)."""
        return np.cumsum([0, *(layer.size for layer in self.layers)], dtype=np.int64)

    @property
    def size(self) -> int:
        """Number of weights in the pool, N."""
        return int(self.offsets[-1])

    def missing(self, weights: Weights) -> dict[int, str]:
        """Return the layers that `weights` lacks, by index, each with the reason in a few words."""
        reasons = {}
        for index, layer in enumerate(self.layers):
            if layer.name not in weights:
                reasons[index] = f"it has no tensor {layer.name}"
            elif weights.shape(layer.name) != layer.shape:
                shape = list(weights.shape(layer.name))
                reasons[index] = f"{layer.name} has shape {shape}, not {list(layer.shape)}"
        return reasons

    def at(self, positions: npt.NDArray[np.int64]) -> "Placement":
        """Return access to the weights at these pool positions, int64 (L,), in their order."""
        return Placement(self, positions)

    def digest(self, weights: Weights) -> str:
        """Return SHA-256 of the pool: names, shapes and dtypes, then the raw bytes layer by layer."""
        return flat_digest(repr(self.layers), weights, [layer.name for layer in self.layers])

    def to_json(self) -> dict[str, Any]:
        """Return the carrier as a JSON object."""
        return {"rule": self.rule, "layers": [layer.to_json() for layer in self.layers]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Carrier":
        """Read what `to_json` wrote; KeyError, TypeError or BadInput if it is something else.

        A carrier has layers, each once, none of them empty.
        """
        layers = tuple(map(Layer.from_json, value["layers"]))
        if not layers or len({layer.name for layer in layers}) < len(layers):
            raise BadInput("a carrier has at least one layer, and each only once")
        whole(sum(layer.size for layer in layers), "the number of weights of a carrier", 1, _MOST_WEIGHTS)
        return cls(text(value["rule"], "rule", _MOST_NAME), layers)


class Placement:
    """Keyed positions of a pool, resolved to layers: reads and writes L host weights at once.

    Attributes:
        layer: index of the layer of each position, int64 (L,).
    """

    def __init__(self, carrier: Carrier, positions: npt.NDArray[np.int64]) -> None:
        """Resolve `positions`, int64 (L,), in [0, N)."""
        self.carrier = carrier
        self.layer = np.searchsorted(carrier.offsets, positions, side="right") - 1
        inside = torch.from_numpy(positions - carrier.offsets[self.layer])
        order = np.argsort(self.layer, kind="stable")
        counts = np.bincount(self.layer, minlength=len(carrier.layers))
        pieces = np.split(order, np.cumsum(counts)[:-1])
        self.parts = [
            (index, torch.from_numpy(slots), carrier.layers[index].places(inside[torch.from_numpy(slots)]))
            for index, slots in enumerate(pieces)
            if len(slots)
        ]
        self._length = len(positions)

    def to(self, device: torch.device) -> "Placement":
        """Move the index tensors to `device`, once, before a training loop."""
        self.parts = [(layer, slots.to(device), inside.to(device)) for layer, slots, inside in self.parts]
        return self

    def gather(self, weights: Weights, missing: Container[int] = ()) -> Tensor:
        """Return the host weights, float32 (L,), on the device of the weights; zero in `missing` layers."""
        parts = [part for part in self.parts if part[0] not in missing]
        if not parts:
            return torch.zeros(self._length)
        names = [self.carrier.layers[layer].name for layer, _, _ in parts]
        values = torch.cat(
            [weights.entries(name, part[2]).float() for name, part in zip(names, parts, strict=True)]
        )
        slots = torch.cat([slots for _, slots, _ in parts]).to(values.device)
        return torch.zeros(self._length, device=values.device).index_copy_(0, slots, values)

    def scatter(self, weights: Weights, values: Tensor) -> None:
        """Write `values`, float32 (L,), over the host weights."""
        for layer, slots, inside in self.parts:
            weights.write(self.carrier.layers[layer].name, inside, values[slots.to(values.device)])


def weights_digest(weights: Weights, names: Sequence[str] | None = None) -> str:
    """Return SHA-256 of these tensors, or of all: names, shapes, dtypes and bytes, in the order of the names.

    Tensors of more than `LARGE` bytes together are digested each; see `cwwm.weights.digests`.
    """
    return next(weights_digests(weights, names))


def weights_digests(weights: Weights, names: Sequence[str] | None = None) -> Iterator[str]:
    """Yield the same, and of large tensors also the one digest over all that version 0.1.0 bound."""
    chosen = sorted(weights.names() if names is None else names)
    layers = tuple(Layer(name, weights.shape(name), weights.dtype(name)) for name in chosen)
    if sum(math.prod(layer.shape) * getattr(torch, layer.dtype, torch.uint8).itemsize for layer in layers) > LARGE:
        yield tree_digest(repr(layers), weights, chosen)
    yield flat_digest(repr(layers), weights, chosen)


def require_provable(carrier: Carrier) -> None:
    """Raise BadInput for a carrier of norms, biases or running statistics: networks share what these say."""
    shared = [layer.name for layer in carrier.layers if math.prod(layer.shape) == max(layer.shape, default=1)]
    if shared:
        raise BadInput(
            f"{shared[0]} is a norm, a bias or a running statistic, alike in networks that have nothing to do with "
            "each other: a mark there proves nothing; choose convolution or linear weights"
        )


def host_digest(weights: Weights) -> str:
    """Return SHA-256 of all tensors of a host, buffers included: the same for a module, its state and its file."""
    return next(host_digests(weights))


def host_digests(weights: Weights) -> Iterator[str]:
    """Yield the same, and of large hosts also what version 0.1.0 bound."""
    return weights_digests(weights if weights.module is None else TensorWeights(weights.module.state_dict()))


def shaped_as_weights(weights: Weights) -> list[str]:
    """Return the names of all tensors that by name and shape are convolution and linear weights, of any dtype."""
    return [name for name in weights.names() if weight_kind(name, weights.shape(name))]


def prunable(weights: Weights) -> list[str]:
    """Return the names of all convolution and linear weights: what an attacker's global ranking covers.

    Packed integers and complex numbers are none of them.
    """
    return [name for name in shaped_as_weights(weights) if weights.dtype(name) in WEIGHT_DTYPES]


def left_out(weights: Weights, rule: str) -> dict[str, str]:
    """Return what a rule of `RULES` would choose if it were of floats, by tensor, with what it is instead."""
    shaped = _shaped(weights, rule.removeprefix(ALIVE)) or ()
    return {name: dtype for name in shaped if (dtype := weights.dtype(name)) not in WEIGHT_DTYPES}


def no_carriers(weights: Weights) -> dict[str, str]:
    """Return the convolution and linear weights that rules choose and no mark can be in, with their dtypes."""
    return {name: dtype for name in prunable(weights) if (dtype := weights.dtype(name)) not in FLOAT_DTYPES}


def named_dtypes(tensors: Mapping[str, str]) -> str:
    """Return tensors in words, the first three by name, with their dtypes."""
    first = ", ".join(f"{name} ({dtype or 'of no dtype'})" for name, dtype in list(tensors.items())[:_SHOWN])
    return first + (f" and {len(tensors) - _SHOWN:,} more" if len(tensors) > _SHOWN else "")


def classifiers(weights: Weights) -> list[str]:
    """Return the names of the weights that answer the classes, the main head's first; see `cwwm.weights.heads`."""
    return heads({name: weights.shape(name) for name in shaped_as_weights(weights)})


def classifier(weights: Weights) -> str | None:
    """Return the name of the classifier's weight, the main one if there are several; None if there is none."""
    return next(iter(classifiers(weights)), None)


def _lost(rule: str, dead: Mapping[str, Dead] | None) -> Mapping[str, Dead]:
    """Return what a carrier of this rule leaves out, by tensor."""
    if not rule.startswith(ALIVE):
        return {}
    if dead is None:
        raise BadInput(
            f"carrier '{rule}' leaves out dead weights, and nobody said which; give dead=... to cwwm.embed or "
            "EmbedContext, as bench.metrics.dead_weights.find_dead returns them"
        )
    return dead


def _why_empty(weights: Weights, rule: str) -> str:
    """Return what else is to be said of a carrier without layers: what was left out, or where to look."""
    lost = left_out(weights, rule)
    if not lost:
        return "; see cwwm inspect for its layers"
    return f" that can carry; left out: {named_dtypes(lost)}; carriers are {_CARRIERS}"


def _require_carrying(weights: Weights, layer: Layer) -> None:
    """Raise BadInput, naming the layer, if it cannot hold a mark."""
    kind = weights.unreadable(layer.name)
    if kind or layer.dtype not in FLOAT_DTYPES:
        up = layer.dtype in WEIGHT_DTYPES and layer.dtype != "float64" and not kind
        cast = "; cast the checkpoint up first" if up else ""
        raise BadInput(f"{layer.name} is {kind or layer.dtype}; carriers are {_CARRIERS}{cast}")


def _matching(weights: Weights, rule: str) -> list[str]:
    shaped = _shaped(weights, rule)
    if shaped is not None:
        return [name for name in shaped if weights.dtype(name) in WEIGHT_DTYPES]
    try:
        expression = re.compile(rule)
    except re.error as error:
        raise BadInput(
            f"carrier '{rule}' is neither one of {', '.join(RULES)} nor a regular expression: {error}"
        ) from None
    also = {weights.tied[name] for name in weights.tied if expression.search(name)}
    return [n for n in weights.names() if (expression.search(n) or n in also) and weights.shape(n)]


def _shaped(weights: Weights, rule: str) -> list[str] | None:
    """Return the tensors that a rule of `RULES` looks at, of any dtype; None for a regular expression."""
    if rule not in RULES:
        return None
    names = shaped_as_weights(weights)
    if rule == "all":
        return names
    if rule in ("conv", "linear"):
        return [name for name in names if weight_kind(name, weights.shape(name)) == rule]
    if rule in ("classifier", "body"):
        answering = set(classifiers(weights))
        return [name for name in names if (name in answering) == (rule == "classifier")]
    shapes = {name: weights.shape(name) for name in names}
    if rule == "large":
        return [name for name, shape in shapes.items() if math.prod(shape) >= LARGE_LAYER]
    return [name for name, shape in shapes.items() if shape[1] > 1 and math.prod(shape[1:]) >= WIDE_ROW]
