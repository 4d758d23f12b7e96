"""Exact order statistics of weight magnitudes, for many ranks and many sets of tensors in two passes.

The bit pattern of a non-negative float32 grows with its value, so a histogram of the upper 16 bits finds
the bin of every rank, and a second pass over those bins alone finds the value: no copy of the weights, a
memory that does not grow with them, the same code on CPU and GPU. float16 and bfloat16 widen exactly to
float32.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cwwm.support.errors import BadInput

_HIGH = 1 << 15  # upper 16 bits of |w|: the sign bit is gone
_LOW = 1 << 16
_INFINITE = 0x7F80  # bins from here on hold infinities and NaN
_CHUNK = {"cpu": 1 << 17, "cuda": 1 << 25}
_FEW = 1 << 20  # up to this many magnitudes are sorted; more are counted in a table of the lower halves

_Counted = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]  # bit patterns, ascending, and how often each


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
        pools = {question.members: self._cumulated(question.members) for question in questions}
        found = [_locate(pools[question.members], question.rank) for question in questions]
        wanted: dict[int, set[int]] = {}
        for question, (high, _) in zip(questions, found, strict=True):
            for member in question.members:
                wanted.setdefault(member, set()).add(high)
        counted = {member: self._counted(member, sorted(bins)) for member, bins in wanted.items()}
        return [
            _value([_of_bin(counted[member], high) for member in question.members], high, rest)
            for question, (high, rest) in zip(questions, found, strict=True)
        ]

    def near(self, members: Sequence[int], ranks: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return the magnitudes of these ranks over `members` to within 0.4 %, without a pass over the weights.

        Raises:
            BadInput: for a rank outside 1..size.
        """
        pool = self._cumulated(members)
        highs = np.array([_locate(pool, rank)[0] for rank in ranks], np.int32)
        return ((highs << 16) | (_LOW // 2)).view(np.float32)

    def _cumulated(self, members: Sequence[int]) -> Tensor:
        counts = torch.zeros(_HIGH, dtype=torch.int64)
        for member in members:
            counts += self.high[member]
        return counts.cumsum(0)

    def _counted(self, member: int, bins: list[int]) -> _Counted:
        """Return the magnitudes of a tensor inside these bins, those excluded with a count less each."""
        tensor, size = self.tensors[member], int(self.high[member][bins].sum())
        excluded = self.excluded.get(member)
        if excluded is None:
            return _count_inside(tensor, bins, size)
        lost, times = _count_inside(excluded, bins, excluded.numel())
        patterns, counts = _count_inside(tensor, bins, size + int(times.sum()))
        counts[np.searchsorted(patterns, lost)] -= times
        return patterns, counts


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


def _locate(cumulated: Tensor, rank: int) -> tuple[int, int]:
    """Return the upper half of the magnitude of this rank, and the rank that is left inside its bin."""
    if not 1 <= rank <= int(cumulated[-1]):
        raise BadInput(f"rank {rank} is outside 1..{int(cumulated[-1])}, the size of the pool")
    high = int(torch.searchsorted(cumulated, rank))
    return high, rank - (int(cumulated[high - 1]) if high else 0)


def _count_inside(tensor: Tensor, bins: list[int], size: int) -> _Counted:
    """Count the magnitudes inside these bins, of which there are at most `size`."""
    return _count_by_sorting(tensor, bins) if size <= _FEW else _count_by_table(tensor, bins)


def _count_by_sorting(tensor: Tensor, bins: list[int]) -> _Counted:
    wanted = torch.zeros(_HIGH, dtype=torch.bool, device=tensor.device)
    wanted[bins] = True
    picked = [_select(patterns, wanted.index_select(0, patterns >> 16)) for patterns in _patterns(tensor)]
    patterns, counts = np.unique(np.concatenate([np.empty(0, np.int32), *picked]), return_counts=True)
    return patterns, counts.astype(np.int64, copy=False)


def _select(patterns: Tensor, wanted: Tensor) -> npt.NDArray[np.int32]:
    """Return the patterns wanted; on the CPU by NumPy, which takes a third less time for it than torch."""
    if patterns.device.type == "cpu":
        return np.asarray(patterns.numpy()[wanted.numpy()], np.int32)
    return np.asarray(patterns[wanted].cpu().numpy(), np.int32)


def _count_by_table(tensor: Tensor, bins: list[int]) -> _Counted:
    uppers = torch.tensor(bins, dtype=torch.int32, device=tensor.device)
    slots = torch.full((_HIGH,), -1, dtype=torch.int32, device=tensor.device)
    slots[uppers] = torch.arange(len(bins), dtype=torch.int32, device=tensor.device)
    table = torch.zeros(len(bins) * _LOW, dtype=torch.int64, device=tensor.device)
    for keys in _gathered(_keys(tensor, slots), len(table)):
        table += torch.bincount(keys, minlength=len(table))
    places = table.nonzero().view(-1)
    patterns = (uppers[places // _LOW] << 16) | (places % _LOW)
    return patterns.int().cpu().numpy(), table[places].cpu().numpy()


def _keys(tensor: Tensor, slots: Tensor) -> Iterator[Tensor]:
    """Yield the places in the table of the magnitudes inside the bins."""
    for patterns in _patterns(tensor):
        slot = slots.index_select(0, patterns >> 16)
        inside = slot >= 0
        yield (slot[inside] << 16) | (patterns[inside] & 0xFFFF)


def _gathered(pieces: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    """Join pieces until they hold `size` entries: adding to a table costs its whole length each time."""
    waiting: list[Tensor] = []
    for piece in pieces:
        waiting.append(piece)
        if sum(map(len, waiting)) >= size:
            yield torch.cat(waiting)
            waiting = []
    if waiting:
        yield torch.cat(waiting)


def _of_bin(counted: _Counted, high: int) -> _Counted:
    patterns, counts = counted
    first = np.searchsorted(patterns, np.int32(high << 16))
    last = np.searchsorted(patterns, np.int32((high << 16) | 0xFFFF), side="right")
    return patterns[first:last], counts[first:last]


def _value(parts: Sequence[_Counted], high: int, rest: int) -> float:
    """Return the magnitude of rank `rest` among the parts, all of one bin."""
    patterns, counts = parts[0]
    if len(parts) > 1:  # whole numbers in float64: exact up to 2^53
        lows, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
        counts = np.bincount(lows & 0xFFFF, weights, _LOW)
        patterns = np.arange(_LOW, dtype=np.int32) | np.int32(high << 16)
    pattern = patterns[int(np.searchsorted(counts.cumsum(), rest))]
    return float(pattern.view(np.float32))


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
