"""What planning needs of a pool: its thresholds, and what a host on either side of them costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cwwm.weights.carrier import Carrier, prunable
from cwwm.weights.order_statistics import MagnitudeTable, Rank, pruned_count
from cwwm.weights.thresholds import pool_quantile, require_finite
from cwwm.weights.view import Weights

Floats = npt.NDArray[np.float64]

_POINTS = 128  # quantiles that stand for the distribution of the pool's magnitudes
_SAMPLE = 1 << 18  # weights of a layer that costs are averaged over


@dataclass(frozen=True)
class Pool:
    """Thresholds of a carrier, and the mean squared changes of a host.

    Attributes:
        size: N. power: mean of w^2 over the pool.
        t0: by quantile, what a zero may reach. t1: by quantile (survival rate), what a one must exceed in every
            layer; a layer of large weights asks for more, as in `Thresholds`.
        zero: by quantile, mean of max(|w| - T0, 0)^2 for each layer, float64 (layers,).
        one: by quantile, mean of max(T1 - |w|, 0)^2, T1 of the layer, float64 (layers,).
        layer_power: mean of w^2 for each layer, float64 (layers,). layer_share: its part of the pool.
        quantiles: equally likely magnitudes of the pool, to within 0.4 %, float32 (128,).
    """

    carrier: Carrier
    size: int
    power: float
    t0: Mapping[float, float]
    t1: Mapping[float, float]
    zero: Mapping[float, Floats]
    one: Mapping[float, Floats]
    layer_power: Floats
    layer_share: Floats
    quantiles: npt.NDArray[np.float32]

    @classmethod
    def measure(
        cls, weights: Weights, carrier: Carrier, *, survive: Sequence[float], low: Sequence[float]
    ) -> "Pool":
        """Measure a carrier of a model for some survival rates and low quantiles.

        Order statistics are exact; mean changes are exact for layers of up to 2^18 weights, and over a regular
        sample of so many in larger ones. Memory does not grow with the model.

        Raises:
            BadInput: for non-finite weights or a pool whose quantile at T0 is zero.
        """
        names = list(dict.fromkeys([*(layer.name for layer in carrier.layers), *prunable(weights)]))
        table = MagnitudeTable.of(weights, names)
        require_finite(table, names)
        members, everything = tuple(range(len(carrier.layers))), tuple(range(len(names)))
        pool_quantile(table, members, min(low))  # raises where the model is sparse already
        rankings = [members, everything, *((i,) for i in members)]
        asked = [(members, rate) for rate in low] + [(r, rate) for rate in survive for r in rankings]
        found = table.kth([Rank(m, max(1, pruned_count(rate, table.size(m)))) for m, rate in asked])
        t0 = dict(zip(low, found, strict=False))
        rest = found[len(low) :]
        per_rate = [rest[i * len(rankings) : (i + 1) * len(rankings)] for i in range(len(survive))]
        shared = [max(values[:2]) for values in per_rate]
        own = [[max(high, value) for value in values[2:]] for high, values in zip(shared, per_rate, strict=True)]
        moments = _moments(weights, carrier, list(t0.values()), own)
        share = np.array([layer.size for layer in carrier.layers]) / carrier.size
        ranked = table.size(members)
        return cls(
            carrier=carrier,
            size=carrier.size,
            power=float(share @ moments[:, -1]),
            t0=t0,
            t1=dict(zip(survive, shared, strict=True)),
            zero={rate: moments[:, i] for i, rate in enumerate(low)},
            one={rate: moments[:, len(low) + i] for i, rate in enumerate(survive)},
            layer_power=moments[:, -1],
            layer_share=share,
            quantiles=table.near(members, [1 + ranked * (2 * i + 1) // (2 * _POINTS) for i in range(_POINTS)]),
        )

    def energy(self, ones: int, zeros: int, *, survive: float, low: float) -> float:
        """Return the predicted squared change over the squared norm of the pool, for so many hosts."""
        change = ones * self.one[survive] + zeros * self.zero[low]
        return float(self.layer_share @ change) / (self.size * self.power)

    def depth_energy(self, ones: int, zeros: int, *, survive: float, low: float) -> float:
        """Return the sum over layers of the same, each relative to the layer's own squared norm."""
        change = (ones * self.one[survive] + zeros * self.zero[low]) / self.size
        return float(np.sum(change / np.maximum(self.layer_power, np.finfo(np.float64).tiny)))


def _moments(weights: Weights, carrier: Carrier, t0s: Sequence[float], t1s: Sequence[Sequence[float]]) -> Floats:
    """Return for each layer the mean squared cut at each T0, raise at each T1, and power; (layers, values)."""
    rows: list[Any] = []
    for index, layer in enumerate(carrier.layers):
        flat = layer.living(weights.tensor(layer.name))
        magnitudes = flat[:: max(1, -(-len(flat) // _SAMPLE)) | 1].float().abs()
        cuts = [(magnitudes - t0).clamp(min=0) for t0 in t0s]
        raises = [(values[index] - magnitudes).clamp(min=0) for values in t1s]
        rows.append([float(part.double().square().mean()) for part in (*cuts, *raises, magnitudes)])
    return np.array(rows)
