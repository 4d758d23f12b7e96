"""Chooses a code for a stated target from the weights themselves: capacity, energy, predicted survival."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from cwwm.carrier import Carrier, prunable
from cwwm.codes import ConstantWeightCode
from cwwm.errors import BadInput
from cwwm.evidence import critical_overlap
from cwwm.order_statistics import MagnitudeTable, Rank, pruned_count
from cwwm.thresholds import pool_quantile, require_finite
from cwwm.weights import Weights

DENSITIES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5)


@dataclass(frozen=True)
class Option:
    """One code for the payload and what it costs and stands.

    Attributes:
        length, weight: L and alpha.
        share: L / N, the part of the pool that is touched.
        energy: predicted squared change over squared norm of the pool.
        survive_magnitude: the rate R* that is asked for; recovery up to it is certain.
        survive_random_1, survive_random_5: P(whole message) after random pruning of 1 % and 5 %.
        proof_overlap: ones that must be found for a proof at 1e-6.
    """

    length: int
    weight: int
    share: float
    energy: float
    survive_magnitude: float
    survive_random_1: float
    survive_random_5: float
    proof_overlap: int

    def to_json(self) -> dict[str, Any]:
        """Return the option as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Pool:
    """What planning needs of a pool: its size, thresholds and mean squared changes a symbol.

    Attributes:
        t1: what a one must exceed in every layer; a layer of large weights asks for more, as in `Thresholds`.
        one, zero: mean of max(T1 - |w|, 0)^2, T1 of the weight's layer, and of max(|w| - T0, 0)^2 over the pool.
        power: mean of w^2.
    """

    size: int
    t0: float
    t1: float
    one: float
    zero: float
    power: float

    @classmethod
    def measure(cls, weights: Weights, carrier: Carrier, *, survive: float, low: float) -> "Pool":
        """Measure a carrier of a model; two passes over the prunable weights, one over the carrier.

        Raises:
            BadInput: for non-finite weights or a pool whose quantile at T0 is zero.
        """
        names = list(dict.fromkeys([*(layer.name for layer in carrier.layers), *prunable(weights)]))
        table = MagnitudeTable([weights.tensor(name) for name in names])
        require_finite(table, names)
        members, everything = tuple(range(len(carrier.layers))), tuple(range(len(names)))
        t0 = pool_quantile(table, members, low)
        rankings = [members, everything, *((i,) for i in members)]
        found = table.kth([Rank(m, max(1, pruned_count(survive, table.size(m)))) for m in rankings])
        t1 = max(t0, *found[:2])
        sums = _moments(weights, carrier, t0, [max(t1, own) for own in found[2:]]) / carrier.size
        return cls(carrier.size, t0, t1, float(sums[0]), float(sums[1]), float(sums[2]))

    def option(self, code: ConstantWeightCode, survive: float) -> Option:
        """Return what this code would cost and stand here."""
        energy = (code.weight * self.one + (code.length - code.weight) * self.zero) / (self.size * self.power)
        return Option(
            length=code.length,
            weight=code.weight,
            share=code.length / self.size,
            energy=energy,
            survive_magnitude=survive,
            survive_random_1=0.99**code.weight,
            survive_random_5=0.95**code.weight,
            proof_overlap=critical_overlap(code.length, code.weight, 1e-6)[0],
        )


def _moments(weights: Weights, carrier: Carrier, t0: float, t1s: Sequence[float]) -> torch.Tensor:
    sums = torch.zeros(3, dtype=torch.float64)
    for layer, t1 in zip(carrier.layers, t1s, strict=True):
        for chunk in torch.split(weights.tensor(layer.name).reshape(-1), 1 << 20):
            magnitudes = chunk.float().abs()
            parts = ((t1 - magnitudes).clamp(min=0), (magnitudes - t0).clamp(min=0), magnitudes)
            sums += torch.stack([part.double().square().sum() for part in parts]).cpu()
    return sums


def plan(
    weights: Weights,
    carrier: Carrier,
    payload_bits: int,
    *,
    survive: float,
    low: float = 0.5,
    densities: Sequence[float] = DENSITIES,
) -> list[Option]:
    """Return the codes that carry the payload and survive the rate, the cheapest in energy first.

    Raises:
        BadInput: if none fits the pool, saying what would, or as `Pool.measure`.
    """
    if not 0 < low < survive < 1:
        raise BadInput(f"a plan needs 0 < low < survive < 1, not low={low:g}, survive={survive:g}")
    pool = Pool.measure(weights, carrier, survive=survive, low=low)
    codes = [ConstantWeightCode.smallest(payload_bits, density) for density in densities]
    fitting = [c for c in codes if c.length <= pool.size and c.weight <= (1 - survive) * pool.size]
    if not fitting:
        shortest = min(codes, key=lambda code: code.length)
        raise BadInput(
            f"no code for {payload_bits} bits at survival {survive:g} fits the {pool.size:,} weights of carrier "
            f"'{carrier.rule}'; the shortest has L = {shortest.length:,}: take a larger carrier or fewer bits"
        )
    return sorted((pool.option(code, survive) for code in fitting), key=lambda option: option.energy)
