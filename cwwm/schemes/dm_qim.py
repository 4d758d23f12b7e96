"""Scheme `dm-qim`: each keyed weight lies on the dithered lattice of its bit (dither modulation, QIM).

After dither-modulation quantisation of weights (IH&MMSec 2021) and Chen and Wornell 2001: a weight w carries
bit b at a point of b D / 2 + d + D Z, d a keyed dither uniform on [0, D). It is read by the nearer of the two
lattices, sum over S weights of a soft decision. The step is absolute: a model that is rescaled is lost.
Our choices: exact zeros abstain (pruning otherwise adds noise where S > 1, and nothing changes for S = 1); the
host magnitudes keep their distribution but for a uniform error of at most D / 2, so the bit error is about
R^S / 2; while training a weight may move within D / 8 of its point, half way to where its bit flips.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor

from cwwm.codes import Bits
from cwwm.ownership.keys import Key, Streams
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import EmbedContext
from cwwm.schemes.common.coded import OuterCoded, SoftWord, summed
from cwwm.schemes.common.keyed import KeyedEmbedding, read_hosts
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier
from cwwm.weights.moments import carrier_deviation
from cwwm.weights.view import FLOAT_DTYPES, Weights

_CELL = 1 / 8  # of the step: how far a host may lie off its point; a bit flips at 1/4


@dataclass(frozen=True, kw_only=True)
class DitherModulation(OuterCoded):
    """Dithered lattices.

    Attributes:
        step: D in standard deviations of the carrier at the start; noise flips a bit beyond D / 4.
        repetition: S, weights a bit.
        carrier: rule that chooses the host layers.
    """

    name: ClassVar[str] = "dm-qim"

    step: float = 0.5
    repetition: int = 1
    carrier: str = "all"

    def __post_init__(self) -> None:
        """Refuse parameters that carry nothing."""
        super().__post_init__()
        if self.repetition < 1 or not 0 < self.step < float("inf"):
            raise BadInput("dm-qim needs repetition >= 1 and a finite step above 0")

    @property
    def strength_parameter(self) -> str:
        """Return the step of the lattice."""
        return "step"

    @property
    def hosts(self) -> int:
        """Return L, the number of host weights."""
        return self.symbols * self.repetition

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "LatticeEmbedding":
        """Move the host weights to their lattices.

        Raises:
            BadInput: also if a layer's dtype is too coarse for the step.
        """
        return LatticeEmbedding(self, weights, message, key, context)

    def soft_word(self, suspect: Weights, key: Key, mark: Mark) -> SoftWord | str:
        """Return the soft sum of the S weights of each symbol: 1 - 4 |offset from the lattice of ones| / D each."""
        hosts = read_hosts(suspect, key, mark, self.hosts)
        if isinstance(hosts, str):
            return hosts
        step, streams = _step_of(mark), mark.streams(key)
        values = hosts.values.astype(np.float64)
        phase = np.mod(values - step * dither(streams, self.hosts), step) / step
        return SoftWord(summed(np.where(values == 0, 0.0, 1 - 4 * np.abs(phase - 0.5)), self.repetition))

    def lost(self, attack: str, rate: float) -> float | None:
        """Return the law's probability that a host is zeroed by pruning at `rate`, or None for other attacks.

        Of magnitude pruning: P(|w + e| <= tau(R)) for w ~ N(0, 1) and the quantiser's error e uniform on
        [-D/2, D/2], independent of w by the dither; the integral of Phi is x Phi(x) + phi(x).
        """
        if attack != "magnitude" or rate >= 1:
            return rate if attack in ("magnitude", "random") else None
        tau, half = float(ndtri((1 + rate) / 2)), self.step / 2
        ends = np.array([tau + half, tau - half, half - tau, -half - tau])
        integral = ends * ndtr(ends) + np.exp(-ends * ends / 2) / np.sqrt(2 * np.pi)
        return float(np.clip((integral @ [1, -1, -1, 1]) / self.step, 0.0, 1.0))

    def survival(self, attack: str, strength: float) -> float | None:
        """Return the law for magnitude and random pruning: a symbol is erased where its S hosts are all zeroed."""
        lost = self.lost(attack, strength)
        return None if lost is None else self.recovered_after(lost**self.repetition)


def _step_of(mark: Mark) -> float:
    """Return the step in weight units; BadInput if the mark's state lacks it."""
    step = mark.state.get("step")
    if not isinstance(step, (int, float)) or isinstance(step, bool) or not 0 < step < float("inf"):
        raise BadInput("the mark is damaged: its state has no step above 0")
    return float(step)


def dither(streams: Streams, count: int) -> npt.NDArray[np.float64]:
    """Return the keyed dithers in steps, float64 (count,) uniform on [0, 1)."""
    return streams.stream("dither").uniform(count)


class LatticeEmbedding(KeyedEmbedding):
    """Holds the host weights near the points of their lattices."""

    def __init__(
        self, scheme: DitherModulation, weights: Weights, message: Bits, key: Key, context: EmbedContext
    ) -> None:
        """Choose the hosts, fix the step and quantise."""
        pool = Carrier.choose(weights, scheme.carrier, context.dead)
        self._step = scheme.step * carrier_deviation(weights, pool)
        super().__init__(
            scheme,
            weights,
            message,
            key,
            context,
            rule=scheme.carrier,
            count=scheme.hosts,
            state={"step": self._step},
        )
        self.scheme = scheme
        bits = scheme.symbols_of(message, self.streams).repeat(scheme.repetition)
        shift = self._step * (dither(self.streams, scheme.hosts) + bits / 2)
        self._shift = torch.from_numpy(shift).to(self.device)
        self._quantise()

    @torch.no_grad()
    def project(self) -> None:
        """Pull a weight that left its cell back to the cell's edge, D / 8 from its point."""
        values = self.hosts.gather(self.weights).double()
        points, cell = self._points(values), _CELL * self._step
        self.hosts.scatter(self.weights, (points + (values - points).clamp(-cell, cell)).float())

    @torch.no_grad()
    def finish(self) -> Mark:
        """Quantise once more, so that the noise margin is whole, and return the mark."""
        self._quantise()
        return self.reported({"step": self._step})

    def _quantise(self) -> None:
        points = self._points(self.hosts.gather(self.weights).double())
        self._require_readable(points)
        self.hosts.scatter(self.weights, points.float())

    def _points(self, values: Tensor) -> Tensor:
        """Return the nearest point of each host's lattice, float64 (L,)."""
        return torch.round((values - self._shift) / self._step) * self._step + self._shift

    def _require_readable(self, points: Tensor) -> None:
        """Raise BadInput if some layer's dtype would store a point more than D / 8 off."""
        for index, slots, _ in self.hosts.parts:
            layer, wanted = self.carrier.layers[index], points[slots]
            stored = wanted.to(FLOAT_DTYPES[layer.dtype]).double()
            if not bool(((stored - wanted).abs() <= _CELL * self._step).all()):
                raise BadInput(
                    f"{layer.dtype} is too coarse for a step of {self._step:.3g} in {layer.name}; use a larger "
                    "step, another carrier, or mark in float32"
                )
