"""Exact order statistics of weight magnitudes, for many ranks and many sets of tensors in two passes.

The bit pattern of a non-negative float32 grows with its value, so a histogram of the upper 16 bits finds
the bin of every rank, and a histogram of the lower 16 bits inside those bins finds the value: no sorting,
no copy of the weights, a fixed amount of memory, the same code on CPU and GPU. float16 and bfloat16 widen
exactly to float32.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cwwm.errors import BadInput

_HIGH = 1 << 15  # upper 16 bits of |w|: the sign bit is gone
_LOW = 1 << 16
_INFINITE = 0x7F80  # bins from here on hold infinities and NaN
_CHUNK = {"cpu": 1 << 18, "cuda": 1 << 25}


@dataclass(frozen=True)
class Rank:
    """A question: the `rank`-th smallest magnitude (1-based) over the tensors `members` (their indices)."""

    members: tuple[int, ...]
    rank: int


@dataclass
class MagnitudeTable:
    """Upper-half histograms of |w| for some tensors; answers any number of `Rank` questions.

    Args:
        tensors: float32, float16 or bfloat16 tensors of any shape.
        excluded: for some tensors, values (float32, any number) that are in it but do not count.
    """

    tensors: Sequence[Tensor]
    excluded: Mapping[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the first pass."""
        self.high = [_high_counts(tensor) for tensor in self.tensors]
        self._non_finite = [i for i, counts in enumerate(self.high) if int(counts[_INFINITE:].sum())]
        for member, values in self.excluded.items():
            self.high[member] -= _high_counts(values)

    def size(self, members: Sequence[int]) -> int:
        """Return how many magnitudes count in these tensors."""
        return sum(int(self.high[member].sum()) for member in members)

    def non_finite(self) -> list[int]:
        """Return the tensors that hold an infinity or a NaN."""
        return self._non_finite

    def kth(self, questions: Sequence[Rank]) -> list[float]:
        """Return the magnitude that each question asks for; one more pass over the tensors concerned.

        Raises:
            BadInput: for a rank outside 1..size.
        """
        found = [self._bin(question) for question in questions]
        wanted: dict[int, set[int]] = {}
        for question, (high, _) in zip(questions, found, strict=True):
            for member in question.members:
                wanted.setdefault(member, set()).add(high)
        low = {member: self._low_counts(member, sorted(bins)) for member, bins in wanted.items()}
        return [
            _value(high, torch.stack([low[member][high] for member in question.members]).sum(0), rest)
            for question, (high, rest) in zip(questions, found, strict=True)
        ]

    def _bin(self, question: Rank) -> tuple[int, int]:
        """Return the upper half of the answer, and the rank that is left inside its bin."""
        counts = sum((self.high[member] for member in question.members), torch.zeros(_HIGH, dtype=torch.int64))
        cumulated = counts.cumsum(0)
        if not 1 <= question.rank <= int(cumulated[-1]):
            raise BadInput(f"rank {question.rank} is outside 1..{int(cumulated[-1])}, the size of the pool")
        high = int(torch.searchsorted(cumulated, question.rank))
        return high, question.rank - int(cumulated[high] - counts[high])

    def _low_counts(self, member: int, bins: list[int]) -> dict[int, Tensor]:
        counts = _low_histograms(self.tensors[member], bins)
        if member in self.excluded:
            counts -= _low_histograms(self.excluded[member], bins)
        return dict(zip(bins, counts, strict=True))


def _patterns(tensor: Tensor) -> Iterator[Tensor]:
    """Yield the bit patterns of |w| as int32, a chunk at a time."""
    flat = tensor.detach().reshape(-1)
    for chunk in torch.split(flat, _CHUNK.get(flat.device.type, 1 << 22)):
        yield chunk.float().view(torch.int32) & 0x7FFFFFFF


def _high_counts(tensor: Tensor) -> Tensor:
    counts = torch.zeros(_HIGH, dtype=torch.int64, device=tensor.device)
    for patterns in _patterns(tensor):
        counts += torch.bincount(patterns >> 16, minlength=_HIGH)
    return counts.cpu()


def _low_histograms(tensor: Tensor, bins: list[int]) -> Tensor:
    """Return the histogram of the lower 16 bits inside each bin, int64 (bins, 65536), on the CPU."""
    slots = torch.full((_HIGH,), -1, dtype=torch.int32, device=tensor.device)
    slots[torch.tensor(bins, device=tensor.device)] = torch.arange(
        len(bins), dtype=torch.int32, device=tensor.device
    )
    counts = torch.zeros(len(bins) * _LOW, dtype=torch.int64, device=tensor.device)
    for patterns in _patterns(tensor):
        slot = slots[patterns >> 16]
        inside = slot >= 0
        counts += torch.bincount(slot[inside] * _LOW + (patterns[inside] & 0xFFFF), minlength=len(counts))
    return counts.view(len(bins), _LOW).cpu()


def _value(high: int, low_counts: Tensor, rest: int) -> float:
    low = int(torch.searchsorted(low_counts.cumsum(0), rest))
    return float(torch.tensor((high << 16) | low, dtype=torch.int32).view(torch.float32))


def pruned_count(rate: float, size: int) -> int:
    """Return how many of `size` weights a pruning rate in [0, 1] removes: floor(R N), safe from rounding."""
    return math.floor(rate * size + 1e-9)


def next_above(value: float, dtype: torch.dtype) -> float:
    """Return the smallest number of `dtype` that is strictly above `value` (finite, >= 0)."""
    near = torch.tensor(value, dtype=torch.float64).to(dtype)
    if float(near) <= value:
        near = _neighbour(near, 1)
    return float(near)


def at_most(value: float, dtype: torch.dtype) -> float:
    """Return the largest number of `dtype` that does not exceed `value` (finite, >= 0)."""
    near = torch.tensor(value, dtype=torch.float64).to(dtype)
    if float(near) > value:
        near = _neighbour(near, -1)
    return float(near)


def _neighbour(value: Tensor, step: int) -> Tensor:
    pattern = torch.int32 if value.dtype == torch.float32 else torch.int16
    return (value.view(pattern) + step).to(pattern).view(value.dtype)
