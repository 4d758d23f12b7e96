"""Dummy channels: what gives them and what is read of them, such that together they change no output."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.attacks.symmetry.base import generator
from cwwm.channels.groups import GIVES, READS, Slot

ZERO, SPLIT, CLIQUE = "zero", "split", "clique"
KINDS = (ZERO, SPLIT, CLIQUE)
_SHIFTS = ("bias", "running_mean")  # zero where a dummy is to stay silent
_LEAST_SHARE = 0.2  # of a split channel's weights, before all its shares are divided by their sum


@dataclass(frozen=True, eq=False)
class Dummies:
    """New channels of one group; random values are drawn, with replacement, from the tensor that gets them.

    Attributes:
        kind: ``"zero"``, ``"split"`` or ``"clique"``.
        prototypes: int64 (m,), for each dummy the channel that it copies (split) or its clique; dummies of one
            prototype are given equally.
        silent: bool (m,), dummies given by zeros; what reads the others is zero. All False unless of kind zero.
        seed: of all draws, which repeat.
    """

    kind: str
    prototypes: Tensor
    silent: Tensor
    seed: int

    def join(self, slot: Slot, rows: Tensor) -> Tensor:
        """Return the rows (n, ...) of a slot's tensor with those of the dummies at the end, (n + m, ...)."""
        draws = generator(self.seed, f"{slot.tensor} {slot.role}")
        if slot.role == READS:
            return self._read(rows, draws)
        new = rows[self.prototypes.to(rows.device)] if self.kind == SPLIT else self._given(rows, draws)
        if slot.role == GIVES or slot.tensor.endswith(_SHIFTS):
            new = _masked(new, self.silent)
        return torch.cat([rows, new])

    def _given(self, rows: Tensor, draws: torch.Generator) -> Tensor:
        return _drawn(rows, 1 + int(self.prototypes.max()), draws)[self.prototypes.to(rows.device)]

    def _read(self, rows: Tensor, draws: torch.Generator) -> Tensor:
        if self.kind == SPLIT:
            everyone = torch.cat([torch.arange(len(rows)), self.prototypes])
            shares = _LEAST_SHARE + torch.rand(len(everyone), generator=draws, dtype=torch.float64)
            shares /= _sums(shares, everyone)
            return rows[everyone.to(rows.device)] * _like(shares, rows)
        new = _drawn(rows, len(self.prototypes), draws)
        if self.kind == CLIQUE:
            count = _sums(torch.ones(len(new), dtype=torch.float64), self.prototypes)
            return torch.cat([rows, new - _sums(new, self.prototypes) / _like(count, new)])
        return torch.cat([rows, _masked(new, ~self.silent)])


def make_dummies(kind: str, width: int, count: int, seed: int, group: str) -> Dummies:
    """Return `count` dummies for a group of `width` channels; cliques have two members, one three if need be."""
    draws = generator(seed, group)
    every, silent = torch.arange(count), torch.zeros(count, dtype=torch.bool)
    if kind == ZERO:
        silent[torch.randperm(count, generator=draws)[: (count + 1) // 2]] = True
        return Dummies(kind, every, silent, seed)
    if kind == CLIQUE:
        return Dummies(kind, (every // 2).clamp(max=count // 2 - 1), silent, seed)
    rounds = [torch.randperm(width, generator=draws) for _ in range(-(-count // width))]
    return Dummies(kind, torch.cat(rounds)[:count], silent, seed)


def _drawn(rows: Tensor, count: int, draws: torch.Generator) -> Tensor:
    chosen = torch.randint(rows.numel(), (count, *rows.shape[1:]), generator=draws)
    return rows.reshape(-1)[chosen.to(rows.device)]


def _sums(rows: Tensor, prototypes: Tensor) -> Tensor:
    """Return for each row the sum of all rows of its prototype."""
    where = prototypes.to(rows.device)
    sums = rows.new_zeros(1 + int(prototypes.max()), *rows.shape[1:]).index_add_(0, where, rows)
    return sums[where]


def _masked(rows: Tensor, zero: Tensor) -> Tensor:
    return rows * _like(~zero, rows)


def _like(values: Tensor, rows: Tensor) -> Tensor:
    return values.to(rows).view(-1, *[1] * (rows.ndim - 1))
