"""What schemes in keyed weight positions share: positions, pad, gathering, evidence of bits."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cwwm.codes import Bits, Check
from cwwm.ownership.evidence import Evidence, log10_match_tail
from cwwm.ownership.keys import Key, Streams
from cwwm.ownership.mark import Mark
from cwwm.schemes.base import Claim, EmbedContext, Embedding, Extraction, Scheme
from cwwm.support.bounds import MOST_HOSTS
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import Carrier, Placement
from cwwm.weights.view import Weights

_CHUNK = 1 << 20


def place(carrier: Carrier, streams: Streams, count: int) -> Placement:
    """Return `count` keyed host positions, in keyed order.

    Raises:
        BadInput: if the pool is smaller than the code.
    """
    if count > carrier.size:
        raise BadInput(
            f"carrier '{carrier.rule}' has {carrier.size:,} weights, the code needs {count:,}; "
            "choose a larger carrier or a shorter payload"
        )
    if count > MOST_HOSTS:
        raise BadInput(f"the code needs {count:,} weights; {MOST_HOSTS:,} are the most")
    return carrier.at(streams.stream("positions").sample(carrier.size, count))


def placed(carrier: Carrier, streams: Streams, count: int) -> Placement:
    """Return the same as `place`, made once while one mark is read many times; not to be moved or changed."""
    return streams.remembered((carrier, count), lambda: place(carrier, streams, count))


def pad_bits(bits: Bits, streams: Streams, length: int | None = None) -> Bits:
    """Return `bits`, extended by zeros to `length`, XOR the keyed pad: whitens, and undoes itself."""
    extended = np.zeros(length or len(bits), np.uint8)
    extended[: len(bits)] = bits
    return extended ^ streams.stream("pad").bits(len(extended))


def keyed_check(streams: Streams, check_bits: int) -> Check:
    """Return the keyed check of codewords: bits uint8 (k,), codeword number -> uint8 (check_bits,).

    HMAC-SHA256 under the stream key, cut to `check_bits` (at most 256): nobody without the key can aim at it.
    """

    def check(bits: Bits, number: int) -> Bits:
        data = number.to_bytes(4, "little") + np.packbits(bits, bitorder="little").tobytes()
        digest = np.frombuffer(streams.check(data), np.uint8)
        return np.unpackbits(digest, count=check_bits, bitorder="little")

    return check


def keyed_signs(streams: Streams, count: int) -> Tensor:
    """Return float32 (count,) of -1 and 1: the signs of host weights that are exactly zero."""
    return torch.from_numpy(streams.stream("signs").signs(count).astype(np.float32))


class KeyedEmbedding(Embedding):
    """An embedding in keyed host weights: binds the mark, chooses them, and reports when they are final.

    Attributes:
        weights, message, key: of the embedding.
        mark: all that reading uses, bound before the first weight changes; without a report.
        carrier, hosts: where the mark lives.
    """

    def __init__(
        self,
        scheme: Scheme,
        weights: Weights,
        message: Bits,
        key: Key,
        context: EmbedContext,
        *,
        rule: str,
        count: int,
        parameters: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Bind the mark and choose `count` hosts of the carrier that `rule` names; BadInput if they do not fit."""
        self.weights, self.message, self.key = weights, message, key
        self.carrier = Carrier.choose(weights, rule, context.dead)
        self.mark = scheme.bind(
            weights, message, key, context, carrier=self.carrier, parameters=parameters, state=state
        )
        self.streams = self.mark.streams(key)
        self.hosts = place(self.carrier, self.streams, count)
        self.before = self.hosts.gather(weights)
        self.device = self.before.device
        self.hosts.to(self.device)

    def reported(self, report: Mapping[str, Any]) -> Mark:
        """Return the mark with a report, which gains pool size, weights touched and squared change."""
        change = self.hosts.gather(self.weights) - self.before
        facts = {
            "pool": self.carrier.size,
            "touched": int(torch.count_nonzero(change)),
            "squared_change": float(change.double().square().sum()),
        }
        return replace(self.mark, report={**facts, **report})


@dataclass(frozen=True)
class HostReading:
    """The host weights of a suspect.

    Attributes:
        values: float32 (count,), in keyed order; zero where a weight is not finite or its layer is missing.
        missing: layers of the carrier, by index, that the suspect lacks, with the reason.
    """

    values: npt.NDArray[np.float32]
    missing: dict[int, str]


def read_hosts(suspect: Weights, key: Key, mark: Mark, count: int) -> HostReading | str:
    """Return the host weights of a suspect, or why the mark has no place in it.

    A layer that is missing or has another shape (a replaced classifier, say) erases its hosts; a suspect
    that lacks them all is not applicable.
    """
    if mark.carrier is None:
        return "the mark names no carrier"
    missing = mark.carrier.missing(suspect)
    if len(missing) == len(mark.carrier.layers):
        return missing[0]
    values = placed(mark.carrier, mark.streams(key), count).gather(suspect, missing)
    return HostReading(torch.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).cpu().numpy(), missing)


def hidden_hosts(key: Key, mark: Mark, count: int) -> dict[str, Tensor]:
    """Return the places of `count` hosts as flat indices, int64, by tensor: what a search must not look at."""
    if mark.carrier is None or not count:
        return {}
    hosts = placed(mark.carrier, mark.streams(key), count)
    return {mark.carrier.layers[layer].name: inside for layer, _, inside in hosts.parts}


def count_survivors(suspect: Weights, carrier: Carrier, missing: Container[int]) -> int:
    """Return how many weights of the pool are there, finite and not exactly zero: as `read_hosts` sees them."""
    present = [layer for index, layer in enumerate(carrier.layers) if index not in missing]
    chunks = (c for layer in present for c in torch.split(layer.living(suspect.tensor(layer.name)), _CHUNK))
    floats = (chunk.float() for chunk in chunks)  # as hosts are read: what is tiny in float64 is zero there
    return sum(int(torch.count_nonzero(chunk.isfinite() & (chunk != 0))) for chunk in floats)


def match_evidence(extraction: Extraction, claim: Claim) -> Evidence:
    """Return the binomial evidence of matched bits: under a random key the pad makes each a fair coin."""
    if not extraction.applicable:
        return Evidence({})
    matched = int(np.sum(extraction.bits == claim.message))
    return Evidence(
        {"matched bits": log10_match_tail(matched, len(claim.message))},
        {"matched": matched, "bits": len(claim.message)},
    )
