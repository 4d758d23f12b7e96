"""What a network costs on memristor crossbars: its matrices cut into tiles, counted before and after pruning.

After Yuan et al., ISLPED 2019 (arXiv 1908.11691). A weight tensor is seen as the matrix that a matrix product
(GEMM) uses, `weight.reshape(filters, -1)`; its inputs lie along the rows of a crossbar and its filters along
the columns. The paper does not say how it obtained power and area; counting crossbars reproduces its headline
savings, so both are taken as proportional to that count.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cwwm.support.errors import BadInput

BITS_PER_CELL = 4  # arXiv 1908.11691: 4-bit cells, several crossbars ganged for wider weights
BASELINE_BITS = 9  # the paper's uncompressed weight: sign and 8 bits, four cells
_BITS = range(2, 17)  # one bit has no magnitude to store; above 16 float32 weights hardly move


def slice_count(bits: int) -> int:
    """Return how many base-16 digits hold the magnitude of a signed weight of `bits` bits, one cell for each.

    Raises:
        BadInput: unless `bits` is an integer from 2 to 16.
    """
    if bits not in _BITS:
        raise BadInput(f"crossbar: bits are an integer from {_BITS[0]} to {_BITS[-1]}, not {bits:g}")
    return math.ceil((bits - 1) / BITS_PER_CELL)


def cells_per_weight(bits: int) -> int:
    """Return the cells of one signed weight: one a digit and polarity, 2 up to 5 bits and 4 up to 9.

    Raises:
        BadInput: unless `bits` is an integer from 2 to 16.
    """
    return 2 * slice_count(bits)


def reduction(ratio: float, cells_before: float, cells_after: float) -> float:
    """Return the saving without tile padding in per cent, 100 (1 - cells_after / (ratio cells_before)).

    Args:
        ratio: weights before over weights after; infinite if nothing is left.
        cells_before, cells_after: cells a weight.

    Raises:
        BadInput: for a ratio or a number of cells that is not positive.
    """
    if not (ratio > 0 and 0 < cells_before < math.inf and 0 < cells_after < math.inf):
        raise BadInput(
            f"crossbar: ratio and cells a weight are positive, not {ratio:g}, {cells_before:g}, {cells_after:g}"
        )
    return 100 * (1 - cells_after / (ratio * cells_before))


@dataclass(frozen=True)
class Crossbar:
    """The size of one crossbar, in cells.

    Attributes:
        rows: inputs that one crossbar takes (the paper's 128 for VGG-16 and ResNet-18, 32 for LeNet-5).
        columns: filters that one crossbar serves (64, and 32).
    """

    rows: int = 128
    columns: int = 64

    def __post_init__(self) -> None:
        """Refuse a size that is not a positive integer."""
        for side, cells in (("rows", self.rows), ("columns", self.columns)):
            if not isinstance(cells, int) or cells < 1:
                raise BadInput(f"crossbar: {side} are an integer of at least 1, not {cells}")

    def count(self, shape: Sequence[int]) -> int:
        """Return the crossbars that one slice of a weight of `shape` (filters, inputs...) fills.

        A grouped convolution counts as the one matrix that its tensor reshapes to.

        Raises:
            BadInput: for a shape of fewer than two axes or with a negative length.
        """
        filters, inputs = gemm_shape(shape)
        return math.ceil(inputs / self.rows) * math.ceil(filters / self.columns)

    def whole_tiles(self, kept: tuple[int, int], shape: Sequence[int]) -> tuple[int, int]:
        """Return `kept` (filters, inputs) rounded up to whole tiles, and never above the layer's own size.

        What is gained costs nothing: the crossbars are the same.

        Args:
            kept: how many filters and inputs pruning should leave.
            shape: of the layer's weight, (filters, inputs...).

        Raises:
            BadInput: if `kept` is negative or larger than the layer.
        """
        filters, inputs = gemm_shape(shape)
        if not (0 <= kept[0] <= filters and 0 <= kept[1] <= inputs):
            raise BadInput(f"crossbar: cannot keep {kept} filters and inputs of a layer that has {filters, inputs}")
        return _round_up(kept[0], self.columns, filters), _round_up(kept[1], self.rows, inputs)


def _round_up(kept: int, tile: int, size: int) -> int:
    return min(size, math.ceil(kept / tile) * tile)


def gemm_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Return (filters, inputs) of the matrix that a weight of `shape` reshapes to.

    Raises:
        BadInput: for a shape of fewer than two axes or with a negative length.
    """
    if len(shape) < 2 or min(shape) < 0:
        raise BadInput(f"crossbar: a weight has the shape (filters, inputs...), not {tuple(shape)}")
    return shape[0], math.prod(shape[1:])


def kept_shape(weight: Tensor) -> tuple[int, int]:
    """Return how many filters and inputs of `weight` (filters, inputs...) hold anything but zeros.

    These are the sides of the matrix once structured pruning's empty rows and columns are taken out; zeros
    inside it still occupy cells.

    Raises:
        BadInput: for a tensor of fewer than two axes.
    """
    alive = weight.reshape(gemm_shape(weight.shape)) != 0
    return int(alive.any(1).sum()), int(alive.any(0).sum())


@dataclass(frozen=True)
class LayerCost:
    """One layer before and after compression.

    Attributes:
        before, after: (filters, inputs) of its matrix.
        crossbars_before, crossbars_after: crossbars of one slice and polarity.
    """

    before: tuple[int, int]
    after: tuple[int, int]
    crossbars_before: int
    crossbars_after: int


@dataclass(frozen=True)
class CostReport:
    """A model's crossbars before and after compression.

    Attributes:
        layers: each layer's own, by parameter name.
        cells_before, cells_after: cells a weight.
    """

    layers: Mapping[str, LayerCost]
    cells_before: int
    cells_after: int

    @property
    def crossbars(self) -> tuple[int, int]:
        """Return all crossbars before and after: those of one slice, times the cells a weight."""
        before = sum(layer.crossbars_before for layer in self.layers.values())
        after = sum(layer.crossbars_after for layer in self.layers.values())
        return before * self.cells_before, after * self.cells_after

    @property
    def weights(self) -> tuple[int, int]:
        """Return the weights mapped before and after: filters times inputs of every matrix."""
        before = sum(math.prod(layer.before) for layer in self.layers.values())
        after = sum(math.prod(layer.after) for layer in self.layers.values())
        return before, after

    @property
    def ratio(self) -> float:
        """Return weights before over weights after, infinite if none is left."""
        before, after = self.weights
        return before / after if after else math.inf

    @property
    def relative_cost(self) -> float:
        """Return power, and area, after over before: the ratio of the crossbar counts, tile padding included."""
        before, after = self.crossbars
        return after / before

    @property
    def formula_reduction(self) -> float:
        """Return the saving in per cent by `reduction`, which knows no tiles."""
        return reduction(self.ratio, self.cells_before, self.cells_after)

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object; `ratio` is None if no weight is left."""
        (crossbars_before, crossbars_after), (before, after) = self.crossbars, self.weights
        return {
            "ratio": self.ratio if after else None,
            "crossbars": {"before": crossbars_before, "after": crossbars_after},
            "cells_per_weight": {"before": self.cells_before, "after": self.cells_after},
            "cells": {"before": before * self.cells_before, "after": after * self.cells_after},
            "relative_power": self.relative_cost,
            "relative_area": self.relative_cost,
            "reduction_percent": {"tiled": 100 * (1 - self.relative_cost), "formula": self.formula_reduction},
            "layers": {name: _layer_json(layer) for name, layer in self.layers.items()},
        }


def _layer_json(layer: LayerCost) -> dict[str, Any]:
    return {
        "filters": {"before": layer.before[0], "after": layer.after[0]},
        "inputs": {"before": layer.before[1], "after": layer.after[1]},
        "crossbars_per_slice": {"before": layer.crossbars_before, "after": layer.crossbars_after},
    }


def cost_report(
    weights: Mapping[str, Tensor],
    crossbar: Crossbar,
    bits: int,
    shapes: Mapping[str, Sequence[int]] | None = None,
    baseline_bits: int = BASELINE_BITS,
) -> CostReport:
    """Return what compressed `weights` cost on crossbars, beside the dense layers that they were.

    A layer after pruning counts by the filters and inputs that `kept_shape` finds, as they are and not
    rounded up, which is how the LeNet-5 anchor counts (1796 crossbars dense, 84 at 5 bits on 32 x 32).

    Args:
        weights: compressed weights by name, each (filters, inputs...), with exact zeros where pruned.
        crossbar: the size of a crossbar.
        bits: signed bits of a compressed weight.
        shapes: of the layers before, by name; None if pruning left their shapes.
        baseline_bits: signed bits of a weight before.

    Raises:
        BadInput: without a weight, for a tensor of fewer than two axes or an empty one, for bits out of range.
    """
    layers = {}
    for name, weight in weights.items():
        before, after = gemm_shape((shapes or {}).get(name, weight.shape)), kept_shape(weight)
        layers[name] = LayerCost(before, after, crossbar.count(before), crossbar.count(after))
    if not all(layer.crossbars_before for layer in layers.values()) or not layers:
        raise BadInput("crossbar: a cost report needs at least one layer, and no layer without weights")
    return CostReport(layers, cells_per_weight(baseline_bits), cells_per_weight(bits))
