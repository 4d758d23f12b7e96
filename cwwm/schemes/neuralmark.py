"""Scheme `neuralmark`: a loss draws keyed projections of weights to a hash of the key, which also filters these.

After Yao, Song and Jin, "Hashed Watermark as a Filter: A Unified Defense Against Forging and Overwriting Attacks in
Neural Network Watermarking" (NeuralMark), AAAI 2026 (arXiv 2507.11137), and the settings of its code: a key K of
N(0, 1) entries, 512 times 256; the mark b is SHAKE-256 of K, so that nobody chooses both. One layer's weights,
flattened, pass four rounds of a filter that keeps the entries where b, repeated, is one; what is left is cut into
rows of 512 and averaged to v. Lambda times the mean binary cross-entropy of sigmoid(v K) against b is trained in
beside the task. It is read as v K > 0.

Where we differ:
- There the mark carries no message: it is the hash. Here a message of choice is carried outside of it: what is
  trained in and read is the hash XOR the message, which for a message of zeros is the paper's mark.
- K is drawn from the keyed stream of key and salt, and hashed are the uniform numbers that its entries come from:
  the last bits of a normal's inverse differ between machines.
- The filter is always of 256 bits, the first of the hash, whatever the payload.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from cwwm.codes import Bits
from cwwm.ownership.keys import Key, Streams
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import EmbedContext, Extraction
from cwwm.schemes.common.projected import TrainedEmbedding, TrainedScheme, keyed_gaussian, named_layer
from cwwm.support.bounds import MOST_ENTRIES
from cwwm.support.errors import BadInput
from cwwm.training import Batch
from cwwm.weights.carrier import Carrier, Layer, classifiers, prunable
from cwwm.weights.view import Weights

FILTER = 256  # bits of the hash that filter
LEAST_ROWS = 8  # averaged at least, in expectation


@dataclass(frozen=True, kw_only=True)
class NeuralMark(TrainedScheme):
    """Hashed filter, average pooling and a keyed projection.

    Evidence is the binomial tail of the bits read right. Given the hash, the columns of a random K are independent
    and symmetric, so the signs of v K are fair coins for any v, whatever weights the filter keeps.

    Attributes:
        strength: lambda, factor of the cross-entropy averaged over the bits; 1 in the paper's code.
        layer: name of the host weight; empty chooses the largest one beside the classifier. The paper's code takes
            a convolution in the middle of a ResNet-18.
        columns: length of v, 512 in the paper; at least the payload. Small hosts need a shorter one.
        rounds: of the filter, 4 in the paper; each keeps about half.
    """

    name: ClassVar[str] = "neuralmark"

    strength: float = 1.0
    layer: str = ""
    columns: int = 512
    rounds: int = 4

    def __post_init__(self) -> None:
        """Refuse a projection of fewer weights than bits, or a filter that keeps nothing."""
        super().__post_init__()
        if self.columns < self.payload_bits or self.columns * self.payload_bits > MOST_ENTRIES:
            raise BadInput(
                f"neuralmark needs at least as many columns as payload bits, {self.payload_bits}, and at most "
                f"{MOST_ENTRIES:,} entries of its key, not {self.columns} columns"
            )
        if not 0 <= self.rounds <= 16:
            raise BadInput(f"neuralmark filters in 0 to 16 rounds, not {self.rounds}")

    @property
    def least(self) -> int:
        """Return how many weights a host needs: for 8 rows after the filter, 65,536 in the paper's form."""
        return self.columns * LEAST_ROWS << self.rounds

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "NeuralMarkEmbedding":
        """Choose the layer, draw K and filter; training does the rest."""
        return NeuralMarkEmbedding(self, weights, message, key, context)

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Read the signs of v K; NaN and infinite weights count as zero."""
        if mark.carrier is None:
            return Extraction.not_applicable(self.payload_bits, "the mark names no carrier")
        if missing := mark.carrier.missing(suspect):
            return Extraction.not_applicable(self.payload_bits, next(iter(missing.values())))
        hashed = self.hashed(mark.streams(key))
        weight = suspect.tensor(mark.carrier.layers[0].name).cpu().double().reshape(-1)
        kept = torch.from_numpy(self.kept(len(weight), hashed))
        vector = pooled(torch.nan_to_num(weight, nan=0.0, posinf=0.0, neginf=0.0), kept, self.columns)
        values = (vector @ self.projection(mark.streams(key)).double()).numpy()
        bits = (values > 0).astype(np.uint8) ^ hashed[: self.payload_bits]
        return Extraction(bits, ok=True, reliabilities=np.abs(values), erased=int(np.sum(values == 0)))

    def projection(self, streams: Streams) -> Tensor:
        """Return K, float32 (columns, payload_bits)."""
        return keyed_gaussian(streams.stream("projection"), self.columns, self.payload_bits)

    def hashed(self, streams: Streams) -> Bits:
        """Return SHAKE-256 of what K is drawn from, uint8 (max(payload_bits, 256),)."""
        drawn = streams.stream("projection").words(self.columns * self.payload_bits).astype("<u8").tobytes()
        count = max(self.payload_bits, FILTER)
        digest = hashlib.shake_256(drawn).digest(-(-count // 8))
        return np.unpackbits(np.frombuffer(digest, np.uint8), count=count, bitorder="little")

    def kept(self, size: int, hashed: Bits) -> npt.NDArray[np.int64]:
        """Return the flat indices, int64 (rows * columns,), that the filter leaves of `size` weights, in order."""
        kept, keeps = np.arange(size), np.flatnonzero(hashed[:FILTER])
        for _ in range(self.rounds):
            kept = kept[: len(kept) // FILTER * FILTER].reshape(-1, FILTER)[:, keeps].reshape(-1)
        return kept[: len(kept) // self.columns * self.columns]


def pooled(weight: Tensor, kept: Tensor, columns: int) -> Tensor:
    """Return v, float (columns,): the mean of the rows that these entries of a flat weight make; zeros of none."""
    rows = weight[kept].view(-1, columns)
    return rows.mean(0) if len(rows) else weight.new_zeros(columns)


class NeuralMarkEmbedding(TrainedEmbedding):
    """Adds lambda times the cross-entropy of the hash to the task's loss.

    Attributes:
        host: the layer's weight, the module's own parameter.
    """

    def __init__(
        self, scheme: NeuralMark, weights: Weights, message: Bits, key: Key, context: EmbedContext
    ) -> None:
        """Refuse a host that is too small; draw K, and filter once."""
        module, layer = scheme.module(weights), _host_layer(weights, scheme.layer)
        if layer.size < scheme.least:
            raise BadInput(
                f"layer {layer.name} has {layer.size:,} weights, neuralmark needs {scheme.least:,} for "
                f"{scheme.columns} columns after {scheme.rounds} rounds; choose a larger layer, fewer columns or "
                "fewer rounds"
            )
        super().__init__(scheme, weights, message, key, context, Carrier(layer.name, (layer,)))
        self.host = module.get_parameter(layer.name)
        hashed = scheme.hashed(self.streams)
        target = self._message ^ hashed[: scheme.payload_bits]
        self.target = torch.from_numpy(target).float().to(self.device)
        self._kept = torch.from_numpy(scheme.kept(layer.size, hashed)).to(self.device)
        self._projection = scheme.projection(self.streams).to(self.device)
        self._strength = scheme.strength

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """The layer, how many of its weights are averaged, and into how many rows."""
        used, columns = len(self._kept), len(self._projection)
        return {"layer": self.carrier.layers[0].name, "used": used, "rows": used // columns}

    def loss(self, batch: Batch) -> Tensor:
        """Return the hash's loss, a scalar."""
        vector = pooled(self.host.float().reshape(-1), self._kept, len(self._projection))
        return self._strength * functional.binary_cross_entropy_with_logits(vector @ self._projection, self.target)

    def finish(self) -> Mark:
        """Return the mark; bits that training did not reach are counted in its report, not refused."""
        return self.reported(self.facts)


def _host_layer(weights: Weights, name: str) -> Layer:
    """Return the layer of that name, or the largest weight beside the classifier; of equal ones the first."""
    if name:
        return named_layer(weights, name)
    answering, names = set(classifiers(weights)), prunable(weights)
    layers = [Layer(n, weights.shape(n), weights.dtype(n)) for n in names if n not in answering]
    if not layers:
        raise BadInput("this model has no convolution or linear weight beside its classifier to host a mark")
    return max(layers, key=lambda layer: layer.size)
