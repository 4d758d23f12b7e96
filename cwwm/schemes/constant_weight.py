"""Scheme `cwc`: a codeword with a fixed number of ones, carried by large against small weight magnitudes.

After arXiv 2107.02961 and J. Imaging 2022, 8(6):152: the alpha ones of an enumerative constant-weight code
sit on magnitudes of at least T1, the L - alpha zeros on magnitudes of at most T0; extraction takes the alpha
largest host magnitudes for the ones, so neither thresholds nor the model's scale are needed to read.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from cwwm.codes import Bits, ConstantWeightCode, Word
from cwwm.errors import BadInput
from cwwm.evidence import Evidence, log10_overlap_tail, log10_vacancy_tail
from cwwm.keys import Key
from cwwm.mark import Mark
from cwwm.schemes.base import Claim, EmbedContext, Extraction, Scheme, check_message
from cwwm.schemes.covert import redraw
from cwwm.schemes.keyed import KeyedEmbedding, count_survivors, keyed_signs, pad_bits, read_hosts
from cwwm.thresholds import Thresholds, find_thresholds
from cwwm.weights import Weights


@dataclass(frozen=True, kw_only=True)
class ConstantWeight(Scheme):
    """Constant-weight code on magnitudes.

    Attributes:
        length, weight: L and alpha of the code; by default the shortest code of `density` for the payload.
        density: alpha / L where they are not given; the energy-optimal range is 0.1 to 0.25.
        survive: magnitude-pruning rate R* up to which recovery is certain.
        low: quantile of the carrier that becomes T0.
        carrier: rule that chooses the host layers.
        covert: draw changed magnitudes from the host's own distribution beyond the thresholds instead of
            setting them to the thresholds (no repeated values).
        projection: ``"step"`` after each optimiser step, or ``"end"`` only when training is over.
        interval: steps between two updates of the thresholds while training.
    """

    name: ClassVar[str] = "cwc"

    length: int | None = None
    weight: int | None = None
    density: float = 0.1
    survive: float = 0.9
    low: float = 0.5
    carrier: str = "all"
    covert: bool = False
    projection: str = "step"
    interval: int = 25

    def __post_init__(self) -> None:
        """Refuse parameters that make no code or no thresholds."""
        super().__post_init__()
        if not 0 < self.low < self.survive < 1:
            raise BadInput(f"cwc needs 0 < low < survive < 1, not low={self.low}, survive={self.survive}")
        if self.projection not in ("step", "end") or self.interval < 1:
            raise BadInput("cwc needs projection 'step' or 'end', and an interval of at least 1 step")
        if self.code.payload_bits < self.payload_bits:
            raise BadInput(f"{self.code!r} carries {self.code.payload_bits} bits, not {self.payload_bits}")

    @cached_property
    def code(self) -> ConstantWeightCode:
        """Return the code."""
        if self.length is None or self.weight is None:
            return ConstantWeightCode.smallest(self.payload_bits, self.density)
        return ConstantWeightCode(length=self.length, weight=self.weight)

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "ConstantWeightEmbedding":
        """Put the codeword into the weights as they are, to be held while they train."""
        check_message(message, self.payload_bits)
        return ConstantWeightEmbedding(self, weights, message, key, context.salt)

    def codeword(self, message: Bits, key: Key, salt: bytes) -> Word:
        """Return the codeword of a message: whitened, and filled up by the pad to the code's capacity."""
        return self.code.encode(pad_bits(message, key, salt, self.code.payload_bits))

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Read the alpha largest host magnitudes as the ones."""
        hosts = read_hosts(suspect, key, mark, self.code.length)
        if isinstance(hosts, str):
            return Extraction.not_applicable(self.payload_bits, hosts)
        magnitudes = np.abs(hosts.values).astype(np.float64)
        decoded = self.code.decode(magnitudes)
        bits = pad_bits(decoded.bits, key, mark.salt)
        counts = {"survivors": int(np.count_nonzero(hosts.values))}
        if counts["survivors"] < self.code.length and mark.carrier is not None:
            survivors = count_survivors(suspect, mark.carrier, hosts.missing)
            counts |= {"pool": mark.carrier.size, "pool_survivors": survivors}
        return Extraction(
            bits=bits[: self.payload_bits] if decoded.ok else np.zeros(self.payload_bits, np.uint8),
            ok=decoded.ok and not bits[self.payload_bits :].any(),
            reliabilities=magnitudes,
            erased=decoded.erased,
            symbols=self.code.ones(magnitudes),
            counts=counts,
        )

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        """Return the hypergeometric tails of overlap and vacancy (watermark theory: both exact)."""
        if not extraction.applicable:
            return Evidence({})
        overlap = int(np.sum(self.codeword(claim.message, claim.key, claim.mark.salt) & extraction.symbols))
        length, weight, counts = self.code.length, self.code.weight, extraction.counts
        log10_p = {"overlap": log10_overlap_tail(overlap, length, weight)}
        if "pool" in counts:
            log10_p["vacancy"] = log10_vacancy_tail(
                counts["survivors"], length, counts["pool"], counts["pool_survivors"]
            )
        return Evidence(log10_p, {"overlap": overlap, "ones": weight, "hosts": length, **counts})

    def overlap(self, extraction: Extraction, claim: Claim) -> float:
        """Return the share of the codeword's ones that were found."""
        if not extraction.applicable:
            return 0.0
        word = self.codeword(claim.message, claim.key, claim.mark.salt)
        return float(np.sum(word & extraction.symbols) / self.code.weight)

    def survival(self, attack: str, strength: float) -> float | None:
        """Return 1 up to R*, then (1-R)^alpha, for magnitude pruning; (1-R)^alpha for random pruning."""
        if attack == "magnitude":
            return 1.0 if strength <= self.survive else float((1 - strength) ** self.code.weight)
        return float((1 - strength) ** self.code.weight) if attack == "random" else None


class ConstantWeightEmbedding(KeyedEmbedding):
    """Holds the host magnitudes beyond the thresholds, which follow the pool as training moves it."""

    def __init__(self, scheme: ConstantWeight, weights: Weights, message: Bits, key: Key, salt: bytes) -> None:
        """Choose the hosts, find the thresholds and project once."""
        super().__init__(scheme, weights, key, salt, rule=scheme.carrier, count=scheme.code.length)
        self.scheme, self.message = scheme, message
        self.word: Word = scheme.codeword(message, key, salt)
        self._signs = keyed_signs(key, salt, len(self.word)).to(self.device)
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
        if self.scheme.covert:
            redraw(
                self.weights,
                self.hosts,
                clamped,
                self._ones,
                self.thresholds,
                self.key.stream("covert", self.salt),
            )
        mark = self._mark()
        read = self.scheme.extract(self.weights, self.key, mark)
        if not (read.ok and np.array_equal(read.bits, self.message)):
            raise RuntimeError("the mark does not read back from the weights just marked; please report this")
        return mark

    def _refresh(self) -> None:
        self.thresholds: Thresholds = find_thresholds(
            self.weights,
            self.carrier,
            self.hosts,
            self.word,
            survive=self.scheme.survive,
            low=self.scheme.low,
        )
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

    def _mark(self) -> Mark:
        code = self.scheme.code
        return self.mark(
            {**self.scheme.parameters, "length": code.length, "weight": code.weight},
            {
                "code": repr(code),
                "survive": self.scheme.survive,
                "t0": float(self.thresholds.low.max()),
                "t1_min": float(self.thresholds.high.min()),
                "t1_max": float(self.thresholds.high.max()),
                "unprotected_layers": list(self.thresholds.unprotected),
            },
        )
