"""Thresholds T0 < T1 on |w| for a survival rate, exact on the weights as they are.

A one survives magnitude pruning at rate R, whatever the pruner does with ties, if and only if at least
floor(R N) other weights of the ranking lie strictly below it. So T1 is one step of the stored dtype above
the realised order statistic of the marked pool, for each ranking that an attacker may use: all prunable
weights, the carrier, and each layer by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cwwm.codes import Word
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier, Placement, prunable
from cwwm.weights.order_statistics import MagnitudeTable, Rank, at_most, next_above, pruned_count
from cwwm.weights.view import FLOAT_DTYPES, Weights


@dataclass(frozen=True)
class Thresholds:
    """Bounds on host magnitudes, a value for each carrier layer, in that layer's dtype.

    Attributes:
        low: T0, float32 (layers,); zeros of the codeword lie at or below it.
        high: T1, float32 (layers,); ones lie at or above it.
        unprotected: layers too full of ones to survive a ranking of their own at the rate asked for.
    """

    low: Tensor
    high: Tensor
    unprotected: tuple[str, ...]


@dataclass(frozen=True)
class _Ranking:
    """A set of tensors that an attacker may rank together, and how many hosts of either kind it holds."""

    name: str
    members: tuple[int, ...]
    ones: int
    zeros: int

    def needed(self, table: MagnitudeTable, survive: float) -> int:
        """Return how many weights that host nothing must lie strictly below every one."""
        size = table.size(self.members) + self.ones + self.zeros
        return pruned_count(survive, size) - self.zeros


def find_thresholds(
    weights: Weights, carrier: Carrier, hosts: Placement, codeword: Word, *, survive: float, low: float
) -> Thresholds:
    """Return the thresholds at which `codeword` survives pruning rates up to `survive`.

    Args:
        weights: the host, as it is now; host weights may have any values.
        carrier: the pool.
        hosts: the host weights, L of them.
        codeword: bool (L,), True where a magnitude is to be large.
        survive: the rate R* of magnitude pruning under any of the rankings.
        low: the quantile of the carrier that becomes T0.

    Raises:
        BadInput: for non-finite weights, a pool whose quantile at T0 is zero, or a rate that the pool cannot
            give because too many of its weights are ones.
    """
    names = list(dict.fromkeys([*(layer.name for layer in carrier.layers), *prunable(weights)]))
    values = hosts.gather(weights)
    table = MagnitudeTable.of(
        weights,
        names,
        {layer: values[slots.to(values.device)] for layer, slots, _ in hosts.parts},
    )
    require_finite(table, names)
    rankings = _rankings(carrier, hosts, codeword, len(names))
    questions, unprotected = _questions(table, rankings, survive)
    # Asked together: each call of kth reads the whole pool.
    t0, *found = table.kth([_quantile(table, rankings[1].members, low), *questions.values()])
    _require_positive(t0, low)
    highs = {members: max(value, t0) for members, value in zip(questions, found, strict=True)}
    return _per_layer(carrier, t0, highs, unprotected)


def require_finite(table: MagnitudeTable, names: Sequence[str]) -> None:
    """Raise BadInput, naming a tensor, if any tensor of the table holds NaN or infinite weights."""
    bad = [names[i] for i in table.non_finite()]
    if bad:
        raise BadInput(f"tensor {bad[0]} holds NaN or infinite weights; a mark needs a finite checkpoint")


def pool_quantile(table: MagnitudeTable, members: tuple[int, ...], rate: float) -> float:
    """Return the `rate` quantile of the magnitudes in `members`; BadInput if it is zero."""
    (value,) = table.kth([_quantile(table, members, rate)])
    _require_positive(value, rate)
    return value


def _quantile(table: MagnitudeTable, members: tuple[int, ...], rate: float) -> Rank:
    return Rank(members, max(1, pruned_count(rate, table.size(members))))


def _require_positive(quantile: float, rate: float) -> None:
    if quantile == 0:
        raise BadInput(
            f"the quantile {rate:g} of the carrier is zero: the model is sparse already; "
            "choose another carrier, or mark before pruning"
        )


def _rankings(carrier: Carrier, hosts: Placement, codeword: Word, tensors: int) -> list[_Ranking]:
    ones = np.bincount(hosts.layer[codeword], minlength=len(carrier.layers))
    zeros = np.bincount(hosts.layer[~codeword], minlength=len(carrier.layers))
    layers = tuple(range(len(carrier.layers)))
    return [
        _Ranking("all prunable weights", tuple(range(tensors)), int(ones.sum()), int(zeros.sum())),
        _Ranking("the carrier", layers, int(ones.sum()), int(zeros.sum())),
        *(_Ranking(carrier.layers[i].name, (i,), int(ones[i]), int(zeros[i])) for i in layers if ones[i]),
    ]


def _questions(
    table: MagnitudeTable, rankings: Sequence[_Ranking], survive: float
) -> tuple[dict[tuple[int, ...], Rank], tuple[str, ...]]:
    """Return the order statistic to exceed, by ranking, and the rankings that cannot give it."""
    questions: dict[tuple[int, ...], Rank] = {}
    unprotected = []
    for index, ranking in enumerate(rankings):
        needed, size = ranking.needed(table, survive), table.size(ranking.members)
        if needed > size:
            if index < 2:
                raise BadInput(
                    f"{ranking.ones} ones are too many for survival {survive:g} in a pool of "
                    f"{size + ranking.ones + ranking.zeros}: the rate can be at most 1 - ones/pool"
                )
            unprotected.append(ranking.name)
        elif needed >= 1:
            questions[ranking.members] = Rank(ranking.members, needed)
    return questions, tuple(unprotected)


def _per_layer(
    carrier: Carrier, t0: float, highs: dict[tuple[int, ...], float], unprotected: tuple[str, ...]
) -> Thresholds:
    shared = max((value for members, value in highs.items() if len(members) != 1), default=t0)
    dtypes = [FLOAT_DTYPES[layer.dtype] for layer in carrier.layers]
    high = [next_above(max(shared, highs.get((i,), t0)), dtype) for i, dtype in enumerate(dtypes)]
    return Thresholds(torch.tensor([at_most(t0, dtype) for dtype in dtypes]), torch.tensor(high), unprotected)
