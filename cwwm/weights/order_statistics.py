"""Exact order statistics of weight magnitudes, for many ranks and many sets of tensors in two passes.

The bit pattern of a non-negative float32 grows with its value, so a histogram of the upper 16 bits finds
the bin of every rank, and a second pass over those bins alone finds the value: no copy of the weights, and a
memory that does not grow with them. float16 and bfloat16 widen exactly to float32. A GPU sorts a copy
instead where nothing is excluded: two passes are some twenty small kernels a tensor, and take ten times as long.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cwwm.support.errors import BadInput
from cwwm.weights.digests import of_each
from cwwm.weights.view import Weights

_HIGH = 1 << 15  # upper 16 bits of |w|: the sign bit is gone
_LOW = 1 << 16
_INFINITE = 0x7F80  # bins from here on hold infinities and NaN
_CHUNK = {"cpu": 1 << 17, "cuda": 1 << 25}
_CHUNK_HALVES = {"cpu": 1 << 18, "cuda": 1 << 26}
_SORTED = 1 << 28  # up to this many magnitudes on a GPU are sorted: with their indices 12 bytes each, twice
_FEW = 1 << 20  # up to this many magnitudes are sorted; more are counted in a table of the lower halves

_Counted = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]  # bit patterns, ascending, and how often each


@dataclass(frozen=True, eq=False)
class UpperHalves:
    """The upper halves of |w| that occur in a tensor, ascending, int64 (n,), and how often each does."""

    bins: Tensor
    counts: Tensor

    @classmethod
    def of(cls, tensor: Tensor) -> "UpperHalves":
        """Count those of a tensor."""
        if tensor.numel() < _HIGH:  # thousands of small tensors: no table for each
            halves = torch.cat([half.long().cpu() for half in _upper_halves(tensor)])
            bins, counts = np.unique(halves.numpy(), return_counts=True)
            return cls(torch.from_numpy(bins), torch.from_numpy(counts))
        return cls.of_table(_high_counts(tensor))

    @classmethod
    def of_table(cls, table: Tensor) -> "UpperHalves":
        """Return the counts of a table of all upper halves, int64 (2^15,)."""
        bins = table.nonzero().view(-1)
        return cls(bins, table[bins])

    def without(self, values: Tensor) -> "UpperHalves":
        """Return the counts less those of values that are in the tensor."""
        return self.of_table(self.added_to(-_high_counts(values)))

    def added_to(self, table: Tensor) -> Tensor:
        """Add the counts to a table of all upper halves, int64 (2^15,), and return it."""
        return table.index_add_(0, self.bins, self.counts)

    def at(self, bins: Sequence[int]) -> Tensor:
        """Return the counts of some upper halves, int64."""
        wanted = torch.tensor(bins, dtype=torch.int64)
        places = torch.searchsorted(self.bins, wanted).clamp(max=max(0, len(self.bins) - 1))
        if not len(self.bins):
            return torch.zeros_like(wanted)
        return torch.where(self.bins[places] == wanted, self.counts[places], 0)

    def finite(self) -> bool:
        """Say whether there is no infinity and no NaN."""
        return not len(self.bins) or int(self.bins[-1]) < _INFINITE


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
        counted: the first pass over each tensor, if it is made already.
    """

    tensors: Sequence[Tensor]
    excluded: Mapping[int, Tensor] = field(default_factory=dict)
    counted: InitVar[Sequence[UpperHalves] | None] = None

    @classmethod
    def of(
        cls, weights: Weights, names: Sequence[str], excluded: Mapping[int, Tensor] | None = None
    ) -> "MagnitudeTable":
        """Return the table of tensors of a model, without the first pass over those that the weights remember."""
        counted = of_each(weights, names, "magnitudes", lambda name: UpperHalves.of(weights.tensor(name)))
        return cls([weights.tensor(name) for name in names], excluded or {}, counted)

    def __post_init__(self, counted: Sequence[UpperHalves] | None) -> None:
        """Keep the first pass that was made."""
        self._counted_before = counted

    @cached_property
    def _all(self) -> list[UpperHalves]:
        """Return what the first pass counts, excluded values with the others; made when it is first needed."""
        before = self._counted_before
        return list(map(UpperHalves.of, self.tensors) if before is None else before)

    @cached_property
    def high(self) -> list[UpperHalves]:
        """Return what counts of each tensor."""
        excluded = self.excluded
        return [all_.without(excluded[i]) if i in excluded else all_ for i, all_ in enumerate(self._all)]

    def size(self, members: Sequence[int]) -> int:
        """Return how many magnitudes count in these tensors."""
        return sum(
            self.tensors[i].numel() - (self.excluded[i].numel() if i in self.excluded else 0) for i in members
        )

    def non_finite(self) -> list[int]:
        """Return the tensors that hold an infinity or a NaN."""
        return [i for i, counts in enumerate(self._all) if not counts.finite()]

    def kth(self, questions: Sequence[Rank]) -> list[float]:
        """Return the magnitude that each question asks for; one more pass over the tensors concerned.

        Raises:
            BadInput: for a rank outside 1..size.
        """
        if self._is_sorted(questions):
            return kth_by_sorting(self.tensors, questions)
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

    def _is_sorted(self, questions: Sequence[Rank]) -> bool:
        """Say whether all that is asked for lies on a GPU, is small enough to be sorted, and counts."""
        members = {member for question in questions for member in question.members}
        on_gpu = all(self.tensors[member].device.type == "cuda" for member in members)
        return on_gpu and not members & self.excluded.keys() and self.size(sorted(members)) <= _SORTED

    def near(self, members: Sequence[int], ranks: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return the magnitudes of these ranks over `members` to within 0.4 %, without a pass over the weights.

        Raises:
            BadInput: for a rank outside 1..size.
        """
        pool = self._cumulated(members)
        highs = np.array([_locate(pool, rank)[0] for rank in ranks], np.int32)
        return ((highs << 16) | (_LOW // 2)).view(np.float32)

    def _cumulated(self, members: Sequence[int]) -> UpperHalves:
        """Return the upper halves of some tensors together, with how many magnitudes lie up to each."""
        if len(members) == 1:
            pool = self.high[members[0]]
        else:
            counts = torch.zeros(_HIGH, dtype=torch.int64)
            for member in members:
                self.high[member].added_to(counts)
            pool = UpperHalves.of_table(counts)
        return UpperHalves(pool.bins, pool.counts.cumsum(0))

    def _counted(self, member: int, bins: list[int]) -> _Counted:
        """Return the magnitudes of a tensor inside these bins, those excluded with a count less each."""
        tensor, found = self.tensors[member], self.high[member].at(bins)
        if tensor.dtype is torch.bfloat16:  # its lower halves are empty
            return np.array(bins, np.int32) << 16, found.numpy()
        size = int(found.sum())
        excluded = self.excluded.get(member)
        if excluded is None:
            return _count_inside(tensor, bins, size)
        lost, times = _count_inside(excluded, bins, excluded.numel())
        patterns, counts = _count_inside(tensor, bins, size + int(times.sum()))
        counts[np.searchsorted(patterns, lost)] -= times
        return patterns, counts


def kth_by_sorting(tensors: Sequence[Tensor], questions: Sequence[Rank]) -> list[float]:
    """Return the magnitude that each question asks for; see `MagnitudeTable.kth`.

    Each set of members is copied and sorted once, and read once.
    """
    asked: dict[tuple[int, ...], list[int]] = {}
    for question in questions:
        asked.setdefault(question.members, []).append(question.rank)
    answers = {members: iter(_at_ranks([tensors[i] for i in members], ranks)) for members, ranks in asked.items()}
    return [next(answers[question.members]) for question in questions]


def _at_ranks(tensors: Sequence[Tensor], ranks: Sequence[int]) -> list[float]:
    magnitudes = torch.cat([tensor.detach().reshape(-1).float() for tensor in tensors]).abs_()
    for rank in ranks:
        _require_rank(rank, len(magnitudes))
    ordered = magnitudes.sort().values
    found: list[float] = ordered[torch.tensor(ranks, device=ordered.device) - 1].tolist()
    return found


def _require_rank(rank: int, size: int) -> None:
    if not 1 <= rank <= size:
        raise BadInput(f"rank {rank} is outside 1..{size}, the size of the pool")


def _patterns(tensor: Tensor) -> Iterator[Tensor]:
    """Yield the bit patterns of |w| as int32, a chunk at a time."""
    flat = tensor.detach().reshape(-1)
    for chunk in torch.split(flat, _CHUNK.get(flat.device.type, 1 << 22)):
        yield chunk.float().view(torch.int32) & 0x7FFFFFFF


def _high_counts(tensor: Tensor) -> Tensor:
    counts = torch.zeros(_HIGH, dtype=torch.int64, device=tensor.device)
    for upper in _upper_halves(tensor):
        counts += torch.bincount(upper, minlength=_HIGH)
    return counts.cpu()


def _upper_halves(tensor: Tensor) -> Iterator[Tensor]:
    """Yield the upper halves of the bit patterns of |w| as int32 or int16; of bfloat16 there are no others."""
    if tensor.dtype is torch.bfloat16:
        flat = tensor.detach().reshape(-1).view(torch.int16)
        yield from (chunk & 0x7FFF for chunk in torch.split(flat, _CHUNK_HALVES.get(flat.device.type, 1 << 22)))
    else:
        yield from (patterns >> 16 for patterns in _patterns(tensor))


def _locate(cumulated: UpperHalves, rank: int) -> tuple[int, int]:
    """Return the upper half of the magnitude of this rank, and the rank that is left inside its bin."""
    size = int(cumulated.counts[-1]) if len(cumulated.counts) else 0
    _require_rank(rank, size)
    place = int(torch.searchsorted(cumulated.counts, rank))
    return int(cumulated.bins[place]), rank - (int(cumulated.counts[place - 1]) if place else 0)


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
