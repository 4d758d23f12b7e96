"""Codewords on magnitudes: what the constant-weight schemes share, embedding and reading alike.

The ones of a codeword sit on host magnitudes of at least T1, its zeros on magnitudes of at most T0; the
thresholds follow the pool while it trains, and are needed only to write.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from cwwm.codes import Bits, Word
from cwwm.ownership.evidence import log10_vacancy_tail
from cwwm.ownership.keys import Key, Streams
from cwwm.ownership.mark import Mark
from cwwm.residual.expected import Expected
from cwwm.schemes.base import EmbedContext, Scheme
from cwwm.schemes.common.covert import redraw
from cwwm.schemes.common.keyed import HostReading, KeyedEmbedding, count_survivors, keyed_signs
from cwwm.support.errors import BadInput
from cwwm.weights.order_statistics import MagnitudeTable
from cwwm.weights.thresholds import Thresholds, find_thresholds, pool_quantile
from cwwm.weights.view import Weights


class MagnitudeCode(Protocol):
    """What the embedding needs to know of a code."""

    @property
    def length(self) -> int:
        """Return L, the number of symbols."""
        ...


@dataclass(frozen=True, kw_only=True)
class MagnitudeScheme(Scheme):
    """A codeword carried by large against small magnitudes.

    Attributes:
        survive: magnitude-pruning rate R* that ones withstand: T1 is that quantile of the pool that is pruned.
        low: quantile of the carrier that becomes T0.
        lift: factor by which ones are raised above what pruning asks for: margin against drift, at a price in
            energy. At least 1.
        carrier: rule that chooses the host layers.
        covert: draw changed magnitudes from the host's own distribution beyond the thresholds instead of
            setting them to the thresholds (no repeated values).
        projection: ``"step"`` after each optimiser step, or ``"end"`` only when training is over.
        interval: steps between two updates of the thresholds while training.
    """

    survive: float = 0.9
    low: float = 0.5
    lift: float = 1.0
    carrier: str = "all"
    covert: bool = False
    projection: str = "step"
    interval: int = 25

    def __post_init__(self) -> None:
        """Refuse parameters that make no thresholds."""
        super().__post_init__()
        if not 0 < self.low < self.survive < 1:
            raise BadInput(f"{self.name} needs 0 < low < survive < 1, not low={self.low}, survive={self.survive}")
        if not 1 <= self.lift < float("inf"):
            raise BadInput(f"{self.name} needs a finite lift of at least 1, not {self.lift}")
        if self.projection not in ("step", "end") or self.interval < 1:
            raise BadInput(f"{self.name} needs projection 'step' or 'end', and an interval of at least 1 step")

    @property
    def strength_parameter(self) -> str:
        """Return the lift, which raises the ones."""
        return "lift"

    @property
    @abstractmethod
    def code(self) -> "MagnitudeCode":
        """Return the code."""

    @property
    def hosts(self) -> int:
        """Return L, the length of the codeword."""
        return self.code.length

    @abstractmethod
    def codeword(self, message: Bits, streams: Streams) -> Word:
        """Return the codeword of a message, bool (L,), whitened by the keyed pad."""

    @abstractmethod
    def code_parameters(self) -> dict[str, Any]:
        """Return the parameters that fix the code where the scheme's own leave a choice, as JSON values."""

    def expected(self, original: Weights, mark: Mark) -> Mapping[str, Expected]:
        """Return what a one and a zero make of each weight: at least T1, at most T0, of the original's own pool.

        Hosts and codeword, which move the thresholds a little, are not looked at: no step of reading may see them.
        """
        if mark.carrier is None:
            return {}
        table = MagnitudeTable([original.tensor(layer.name) for layer in mark.carrier.layers])
        pool = tuple(range(len(mark.carrier.layers)))
        low, high = (pool_quantile(table, pool, rate) for rate in (self.low, self.survive))
        return {
            layer.name: _one_and_zero(original.tensor(layer.name), low, self.lift * high)
            for layer in mark.carrier.layers
        }

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "MagnitudeEmbedding":
        """Put the codeword into the weights as they are, to be held while they train."""
        return MagnitudeEmbedding(self, weights, message, key, context)


def _one_and_zero(original: Tensor, low: float, high: float) -> Expected:
    """Return what reading against the original compares a layer with; it shows ranks."""
    magnitudes = original.detach().float().abs()
    signs = torch.where(original >= 0, 1.0, -1.0)
    one, zero = signs * magnitudes.clamp(min=high), signs * magnitudes.clamp(max=low)
    return Expected(half=(one - zero) / 2, center=(one + zero) / 2, ranked=True)


class MagnitudeEmbedding(KeyedEmbedding):
    """Holds the host magnitudes beyond the thresholds, which follow the pool as training moves it."""

    def __init__(
        self, scheme: MagnitudeScheme, weights: Weights, message: Bits, key: Key, context: EmbedContext
    ) -> None:
        """Choose the hosts, find the thresholds and project once."""
        parameters = {**scheme.parameters, **scheme.code_parameters()}
        super().__init__(
            scheme, weights, message, key, context, rule=scheme.carrier, count=scheme.hosts, parameters=parameters
        )
        self.scheme = scheme
        self.word: Word = scheme.codeword(message, self.streams)
        self._signs = keyed_signs(self.streams, len(self.word)).to(self.device)
        self._ones = torch.from_numpy(self.word).to(self.device)
        self._steps = 0
        self._refresh()
        if scheme.projection == "step":
            self._clamp()

    @torch.no_grad()
    def project(self) -> None:
        """Clamp the host magnitudes to their side of the thresholds, signs kept."""
        self._steps += 1
        if self.scheme.projection == "end":
            return
        if self._steps % self.scheme.interval == 0:
            self._refresh()
        self._clamp()

    @torch.no_grad()
    def finish(self) -> Mark:
        """Project once more, to the thresholds of the final pool, and check that the mark reads back."""
        if self._steps:  # else the pool is still the one that `begin` found: only hosts have changed
            self._refresh()
        clamped = self._clamp()
        if self.scheme.covert:  # hosts that lay on an earlier threshold and did not move since repeat it, too
            clamped |= _repeated(self.hosts.gather(self.weights).abs())
            redraw(
                self.weights,
                self.hosts,
                clamped,
                self._ones,
                self.thresholds,
                self.streams.stream("covert"),
            )
        mark = self._reported()
        read = self.scheme.extract(self.weights, self.key, mark)
        if not (read.ok and np.array_equal(read.bits, self.message)):
            raise RuntimeError("the mark does not read back from the weights just marked; please report this")
        return mark

    def _refresh(self) -> None:
        found = find_thresholds(
            self.weights,
            self.carrier,
            self.hosts,
            self.word,
            survive=self.scheme.survive,
            low=self.scheme.low,
        )
        self.thresholds: Thresholds = replace(found, high=self.scheme.lift * found.high)
        layer = torch.from_numpy(self.hosts.layer)
        self._low = self.thresholds.low[layer].to(self.device)
        self._high = self.thresholds.high[layer].to(self.device)

    def _clamp(self) -> Tensor:
        """Write the projected host weights; return which of them lie on a threshold, bool (L,)."""
        values = self.hosts.gather(self.weights)
        magnitudes = values.abs()
        wanted = torch.where(self._ones, magnitudes.maximum(self._high), magnitudes.minimum(self._low))
        signs = torch.where(values == 0, self._signs, values.sign())
        self.hosts.scatter(self.weights, signs * wanted)
        return wanted == torch.where(self._ones, self._high, self._low)

    def _reported(self) -> Mark:
        return self.reported(
            {
                "code": repr(self.scheme.code),
                "survive": self.scheme.survive,
                "t0": float(self.thresholds.low.max()),
                "t1_min": float(self.thresholds.high.min()),
                "t1_max": float(self.thresholds.high.max()),
                "unprotected_layers": list(self.thresholds.unprotected),
            },
        )


def _repeated(values: Tensor) -> Tensor:
    """Return which values, (L,), occur more than once, bool (L,)."""
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    return torch.as_tensor(counts)[inverse] > 1


def survivor_counts(suspect: Weights, mark: Mark, hosts: HostReading) -> dict[str, int]:
    """Return how many hosts are not exactly zero and, where some are, how many weights of the pool.

    Not of the pool of an aligned suspect: which of its channels are zero follows from the hosts that the search
    could not see, so no draw of hosts from the pool says how many are.
    """
    counts = {"survivors": int(np.count_nonzero(hosts.values))}
    if counts["survivors"] < len(hosts.values) and mark.carrier is not None and not suspect.aligned:
        survivors = count_survivors(suspect, mark.carrier, hosts.missing)
        counts |= {"pool": mark.carrier.size, "pool_survivors": survivors}
    return counts


def vacancy(counts: Mapping[str, int], length: int) -> dict[str, float]:
    """Return the statistic of zeroed hosts by name (exact, hypergeometric): log10 p, 0 if there are none."""
    if "pool" not in counts:
        return {"vacancy": 0.0}
    tail = log10_vacancy_tail(counts["survivors"], length, counts["pool"], counts["pool_survivors"])
    return {"vacancy": tail}
