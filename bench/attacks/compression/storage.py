"""What a pruned and quantised model takes to store: bits of values, and bits of their positions.

Counted as the compression papers count (deep compression, arXiv 1510.00149; unified ADMM, arXiv 1811.01907):
against 32 bits for each weight; codebooks, scales, biases and norms are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from cwwm.support.errors import BadInput

DENSE_BITS = 32
_WIDTHS = range(1, 33)


def data_bits(counts: Sequence[int], bits: Sequence[int]) -> int:
    """Return sum(count x bits) over layers: the bits of all kept values, without their positions."""
    return sum(count * width for count, width in zip(counts, bits, strict=True))


def gaps(kept: Tensor) -> Tensor:
    """Return the distance of every kept entry from the one before, int64; the first counts from position 0.

    Args:
        kept: a bool mask of any shape, read in memory order, or ascending positions (n,) of integers.

    Raises:
        BadInput: if positions are negative or do not ascend.
    """
    positions = kept.reshape(-1).nonzero().view(-1) if kept.dtype == torch.bool else kept.long()
    if len(positions) and not bool((positions[0] >= 0) & (positions.diff() > 0).all()):
        raise BadInput("positions are zero or more and ascend")
    return positions.diff(prepend=positions.new_zeros(1))


def fillers(kept: Tensor, width: int) -> int:
    """Return how many filler zeros relative indices of `width` bits need.

    An index holds a gap up to 2^width - 1; across a longer one a filler entry stands every 2^width - 1 places, as
    in deep compression, whose figure has a 3-bit index hold 8; here it holds what its bits hold, 0 to 7.
    Zeros after the last kept weight are not stored.
    """
    return int(_fillers(gaps(kept), width))


def index_bits(kept: Tensor, width: int) -> int:
    """Return the bits of the relative indices of all entries, fillers among them.

    A filler is an entry like any other in deep compression: beside its index it has a value. Those value bits are
    not counted here; they are ``fillers(kept, width)`` times the bits of a value.
    """
    distances = gaps(kept)
    return (len(distances) + int(_fillers(distances, width))) * width


def best_width(kept: Tensor, value_bits: int = 0) -> int:
    """Return the index width with the fewest bits, fillers at `value_bits` each included; the least such width."""
    distances = gaps(kept)
    longest = int(distances.max()) if len(distances) else 0
    widths = range(1, max(1, longest.bit_length()) + 1)  # beyond that there are no fillers to save
    extra = torch.stack([_fillers(distances, width) for width in widths]).tolist()
    costs = [(len(distances) + n) * w + n * value_bits for n, w in zip(extra, widths, strict=True)]
    return widths[costs.index(min(costs))]


def _fillers(distances: Tensor, width: int) -> Tensor:
    if width not in _WIDTHS:
        raise BadInput(f"an index has from {_WIDTHS[0]} to {_WIDTHS[-1]} bits, not {width}")
    return torch.sum((distances - 1).clamp(min=0) // (2**width - 1))


@dataclass(frozen=True, kw_only=True)
class LayerStorage:
    """The storage of one layer; counts of entries, and bits.

    Attributes:
        weights, kept: all weights, and those that are not zero.
        bits: of one value.
        distinct: different non-zero values; more than 2^bits only if values are scaled by channel, or if the bits
            claimed are too few.
        data_bits: of the kept values.
        index_width, index_bits: of one relative index, and of all, those of fillers included.
        filler_bits: of the values of the fillers, which deep compression stores too.
    """

    weights: int
    kept: int
    bits: int
    distinct: int
    data_bits: int
    index_width: int
    index_bits: int
    filler_bits: int


@dataclass(frozen=True)
class StorageReport:
    """The storage of the compressed weights of a model, by layer; a ratio is None where nothing is kept."""

    layers: Mapping[str, LayerStorage]

    def total(self, field: str) -> int:
        """Return the sum of a field of `LayerStorage` over the layers."""
        return sum(int(getattr(layer, field)) for layer in self.layers.values())

    @property
    def weight_ratio(self) -> float | None:
        """All weights over kept weights."""
        return _ratio(self.total("weights"), self.total("kept"))

    @property
    def data_ratio(self) -> float | None:
        """Dense float32 bits over the bits of kept values: the papers' "data size", without positions."""
        return self._against("data_bits")

    @property
    def ratio_with_index(self) -> float | None:
        """Dense float32 bits over values, indices and the values of fillers, as deep compression stores them."""
        return self._against("data_bits", "index_bits", "filler_bits")

    @property
    def ratio_with_bare_fillers(self) -> float | None:
        """As `ratio_with_index`, but a filler costs its index only, as if one index code were an escape."""
        return self._against("data_bits", "index_bits")

    def _against(self, *fields: str) -> float | None:
        return _ratio(DENSE_BITS * self.total("weights"), sum(self.total(field) for field in fields))

    def to_json(self) -> dict[str, Any]:
        """Return totals and ratios, and each layer under ``storage``, as a JSON object."""
        return {
            "weights": self.total("weights"),
            "kept": self.total("kept"),
            "data_bits": self.total("data_bits"),
            "index_bits": self.total("index_bits"),
            "filler_bits": self.total("filler_bits"),
            "weight_ratio": self.weight_ratio,
            "data_ratio": self.data_ratio,
            "ratio_with_index": self.ratio_with_index,
            "ratio_with_bare_fillers": self.ratio_with_bare_fillers,
            "storage": {name: asdict(layer) for name, layer in self.layers.items()},
        }


def _ratio(whole: int, part: int) -> float | None:
    return whole / part if part else None


def measure_storage(
    tensors: Mapping[str, Tensor], bits: Mapping[str, int], widths: Mapping[str, int] | None = None
) -> StorageReport:
    """Return what compressed weights take, such as those that `prunable_tensors` gives; what is not zero is kept.

    Args:
        tensors: the weights by parameter name, dense, of any floating dtype.
        bits: of a value, by parameter name; 32 for a layer that is only pruned.
        widths: index bits by parameter name; a layer without one takes the width that is cheapest for it, the
            values of fillers included.

    Raises:
        BadInput: if a layer has no bits.
    """
    missing = [name for name in tensors if name not in bits]
    if missing:
        raise BadInput(f"storage: give the bits of a value for {', '.join(missing)}")
    chosen = widths or {}
    return StorageReport({name: _layer(tensor, bits[name], chosen.get(name)) for name, tensor in tensors.items()})


def _layer(tensor: Tensor, bits: int, width: int | None) -> LayerStorage:
    mask = tensor != 0
    positions = mask.reshape(-1).nonzero().view(-1)
    width = best_width(positions, bits) if width is None else width
    return LayerStorage(
        weights=tensor.numel(),
        kept=len(positions),
        bits=bits,
        distinct=len(torch.unique(tensor[mask])),
        data_bits=data_bits([len(positions)], [bits]),
        index_width=width,
        index_bits=index_bits(positions, width),
        filler_bits=fillers(positions, width) * bits,
    )
