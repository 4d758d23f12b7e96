"""Scheme `protected-cwc`: blocks of constant weight under an outer Reed-Solomon code with erasures.

Derived for this project. Pruning is an erasure channel for ones, so a message is spread over many small
blocks, each of which carries one symbol by the place of its alpha_b large magnitudes among L_b. A block whose
ones were removed has a small gap between its largest magnitudes, and is declared an erasure first; a keyed
check decides when to stop, so that no false message is returned silently (generalised minimum distance,
Forney 1966). Hosts are keyed positions of the whole pool in keyed order: a removed filter hits many blocks
lightly.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, comb
from typing import Any, ClassVar

import numpy as np

from cwwm.codes import Bits, ProtectedCode, Word
from cwwm.codes.protected import Symbols, require_block
from cwwm.codes.survival import (
    gaussian_quantile,
    gaussian_zeros,
    misread_under_noise,
    recovered_after_erasures,
    recovered_after_errors,
)
from cwwm.ownership.evidence import Evidence, log10_match_tail
from cwwm.ownership.keys import Key, Streams
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import Claim, Extraction
from cwwm.schemes.common.keyed import keyed_check, pad_bits, read_hosts
from cwwm.schemes.common.magnitudes import MagnitudeScheme, survivor_counts, vacancy
from cwwm.weights.view import Weights

DEFAULT_RATE = 36 / 160  # of blocks that carry data; stands random pruning of 0.6 with room to spare


@dataclass(frozen=True, kw_only=True)
class ProtectedConstantWeight(MagnitudeScheme):
    """Protected constant-weight code.

    The defaults are for marking while a model trains: ones far above zeros, at 1.5 tau(.999), and few weights
    cut, T0 = tau(.98). Such a mark outlives fine-tuning at 2.5 times the rate of training on most networks.
    `cwwm.design` chooses for a finished model.

    Attributes:
        blocks: n; by default as many as give the rate of 36 data blocks in 160.
        block_length, block_weight: L_b and alpha_b of each block.
        check_bits: of the keyed check of each outer codeword.
    """

    name: ClassVar[str] = "protected-cwc"

    survive: float = 0.999
    low: float = 0.98
    lift: float = 1.5
    blocks: int | None = None
    block_length: int = 256
    block_weight: int = 1
    check_bits: int = 32

    def __post_init__(self) -> None:
        """Refuse parameters that make no code."""
        super().__post_init__()
        _ = self.code

    @cached_property
    def code(self) -> ProtectedCode:
        """Return the code."""
        return ProtectedCode(
            payload_bits=self.payload_bits,
            blocks=self.blocks
            or default_blocks(self.payload_bits, self.block_length, self.block_weight, self.check_bits),
            block_length=self.block_length,
            block_weight=self.block_weight,
            check_bits=self.check_bits,
        )

    def code_parameters(self) -> dict[str, Any]:
        """Return n."""
        return {"blocks": self.code.blocks}

    def codeword(self, message: Bits, streams: Streams) -> Word:
        """Return the codeword of a message, bool (L,), whitened by the keyed pad."""
        return self.code.encode(pad_bits(message, streams), keyed_check(streams, self.check_bits))

    def read(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Read each block by its largest magnitudes, without decoding."""
        hosts = read_hosts(suspect, key, mark, self.hosts)
        if isinstance(hosts, str):
            return Extraction.not_applicable(self.payload_bits, hosts)
        read = self.code.read(np.abs(hosts.values))
        return Extraction(
            bits=np.zeros(self.payload_bits, np.uint8),
            ok=False,
            reliabilities=read.gaps.astype(np.float64),
            erased=int(np.sum(read.gaps == 0)),
            symbols=read.values,
            counts=survivor_counts(suspect, mark, hosts),
        )

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        """Read the blocks and decode, least reliable ones erased first."""
        found = self.read(suspect, key, mark)
        if not found.applicable:
            return found
        streams = mark.streams(key)
        check = keyed_check(streams, self.check_bits)
        decoded = self.code.decode_one(Symbols(found.symbols, found.reliabilities), check)
        if not decoded.ok:
            return found
        return replace(found, bits=pad_bits(decoded.bits, streams), ok=True)

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        """Return the tails of the blocks read right, Binomial(n, 2^-m), and of vacancy.

        Blocks with a tie (all zeros, say), and those whose word stands for no symbol, say nothing and are no
        trials; of the others the symbol is uniform on all 2^m, since the places are random. A mark whose message
        is lost is often still proof: 18 of 160 one-hot blocks of 256 right by chance has probability 1e-20.
        """
        if not extraction.applicable:
            return Evidence({})
        right, known = self._right(extraction, claim)
        chance = 2.0**-self.code.symbol_bits
        log10_p = {"blocks": log10_match_tail(right, known, chance)}
        return Evidence(
            {**log10_p, **vacancy(extraction.counts, self.code.length)},
            {"blocks right": right, "blocks known": known, "blocks": self.code.blocks, **extraction.counts},
        )

    def overlap(self, extraction: Extraction, claim: Claim) -> float:
        """Return the share of the blocks that were read right."""
        return self._right(extraction, claim)[0] / self.code.blocks if extraction.applicable else 0.0

    def survival(self, attack: str, strength: float) -> float | None:
        """Return the probability that the message is recovered.

        Magnitude pruning: 1 up to R*, beyond it as random pruning. Random pruning: at most n - n_data blocks
        lose a one. Noise, in units of the pool's standard deviation: at most half as many misread, a lower
        bound for a Gaussian pool.
        """
        if attack == "magnitude" and strength <= self.survive:
            return 1.0
        if attack in ("magnitude", "random"):
            return self._every_codeword(recovered_after_erasures, 1 - (1 - strength) ** self.block_weight)
        if attack == "noise":
            one = self.lift * float(gaussian_quantile(self.survive))
            wrong = misread_under_noise(
                gaussian_zeros(self.low), one, strength, self.block_length, self.block_weight
            )
            return self._every_codeword(recovered_after_errors, wrong)
        return None

    def _every_codeword(self, law: Any, rate: float) -> float:  # noqa: ANN401
        return float(np.prod([law(n, self.code.data_symbols, rate) for n in self.code.codeword_lengths]))

    def _right(self, extraction: Extraction, claim: Claim) -> tuple[int, int]:
        """Return how many blocks match the claim, and how many could be read."""
        check = keyed_check(claim.streams, self.check_bits)
        wanted = self.code.symbols(pad_bits(claim.message, claim.streams), check)
        known = extraction.reliabilities > 0
        return int(np.sum((extraction.symbols == wanted) & known)), int(known.sum())


def default_blocks(payload_bits: int, block_length: int, block_weight: int, check_bits: int) -> int:
    """Return how many blocks carry a payload at the default rate: 160 for 256 bits in one-hot blocks of 256."""
    require_block(block_length, block_weight)
    bits = min(16, comb(block_length, block_weight).bit_length() - 1)
    for codewords in range(1, payload_bits + 1):
        data = ceil((ceil(payload_bits / codewords) + check_bits) / max(1, bits))
        blocks = ceil(codewords * data / DEFAULT_RATE)
        if blocks <= codewords * (2**bits - 1):
            return blocks
    return 1  # no number of blocks is enough; the code says why
