"""Scheme `patchwork`, after the mark of images by Bender, Gruhl, Morimoto and Lu (1996), in weights."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from cwwm.codes import Bits
from cwwm.ownership.evidence import Evidence
from cwwm.ownership.keys import Key
from cwwm.ownership.mark import Mark
from cwwm.schemes import Claim, EmbedContext, Extraction, Scheme
from cwwm.schemes.common.keyed import KeyedEmbedding, match_evidence, pad_bits, read_hosts
from cwwm.schemes.sign import decide
from cwwm.weights.moments import carrier_deviation
from cwwm.weights.view import Weights


@dataclass(frozen=True, kw_only=True)
class Patchwork(Scheme):
    """A bit is which of two keyed groups of weights is the larger in magnitude."""

    name: ClassVar[str] = "patchwork"
    group: int = 64  # weights in each group
    gap: float = 0.3  # by which a group's mean magnitude is held above, or below, that of all hosts

    def begin(self, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> "PatchworkEmbedding":
        return PatchworkEmbedding(self, weights, message, key, context)

    def extract(self, suspect: Weights, key: Key, mark: Mark) -> Extraction:
        hosts = read_hosts(suspect, key, mark, 2 * self.group * self.payload_bits)
        if isinstance(hosts, str):  # why the mark has no place in this suspect
            return Extraction.not_applicable(self.payload_bits, hosts)
        differences = np.diff(np.abs(hosts.values).reshape(-1, 2, self.group)[:, ::-1], axis=1)
        return decide(differences.ravel(), self.group, mark.streams(key))

    def evidence(self, extraction: Extraction, claim: Claim) -> Evidence:
        return match_evidence(extraction, claim)


class PatchworkEmbedding(KeyedEmbedding):
    """Holds the means of both groups of each bit apart."""

    def __init__(self, scheme: Patchwork, weights: Weights, message: Bits, key: Key, context: EmbedContext) -> None:
        super().__init__(scheme, weights, message, key, context, rule="all", count=2 * scheme.group * len(message))
        carrier_deviation(weights, self.carrier)  # refuses weights that are not finite, and sparse ones
        first = torch.from_numpy(pad_bits(message, self.streams)).bool().to(self.device)
        self.scheme, self.larger = scheme, torch.stack([first, ~first], 1)

    @torch.no_grad()
    def project(self) -> None:
        groups = self.hosts.gather(self.weights).view(-1, 2, self.scheme.group)
        means, middle = groups.abs().mean(2).clamp_min(1e-12), groups.abs().mean()
        up, down = (1 + self.scheme.gap) * middle / means, (1 - self.scheme.gap) * middle / means
        scales = torch.where(self.larger, up.clamp_min(1), down.clamp_max(1))
        self.hosts.scatter(self.weights, (groups * scales.unsqueeze(2)).flatten())

    def finish(self) -> Mark:
        self.project()
        return self.reported({})
