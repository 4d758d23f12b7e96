"""What schemes in keyed weight positions share: positions, pad, gathering, evidence of bits."""

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cwwm.carrier import Carrier, Placement
from cwwm.codes import Bits, Check
from cwwm.errors import BadInput
from cwwm.evidence import Evidence, log10_match_tail
from cwwm.keys import Key
from cwwm.mark import Mark
from cwwm.schemes.base import Claim, Embedding, Extraction, Scheme
from cwwm.weights import Weights

_CHUNK = 1 << 20


def place(carrier: Carrier, key: Key, salt: bytes, count: int) -> Placement:
    """Return `count` keyed host positions, in keyed order.

    Raises:
        BadInput: if the pool is smaller than the code.
    """
    if count > carrier.size:
        raise BadInput(
            f"carrier '{carrier.rule}' has {carrier.size:,} weights, the code needs {count:,}; "
            "choose a larger carrier or a shorter payload"
        )
    return carrier.at(key.stream("positions", salt).sample(carrier.size, count))


def pad_bits(bits: Bits, key: Key, salt: bytes, length: int | None = None) -> Bits:
    """Return `bits`, extended by zeros to `length`, XOR the keyed pad: whitens, and undoes itself."""
    extended = np.zeros(length or len(bits), np.uint8)
    extended[: len(bits)] = bits
    return extended ^ key.stream("pad", salt).bits(len(extended))


def keyed_check(key: Key, salt: bytes, check_bits: int) -> Check:
    """Return the keyed check of codewords: bits uint8 (k,), codeword number -> uint8 (check_bits,).

    HMAC-SHA256 under the key, cut to `check_bits` (at most 256): nobody without the key can aim at it.
    """

    def check(bits: Bits, number: int) -> Bits:
        data = salt + number.to_bytes(4, "little") + np.packbits(bits, bitorder="little").tobytes()
        digest = np.frombuffer(bytes.fromhex(key.authenticate(data, "check")), np.uint8)
        return np.unpackbits(digest, count=check_bits, bitorder="little")

    return check


def keyed_signs(key: Key, salt: bytes, count: int) -> Tensor:
    """Return float32 (count,) of -1 and 1: the signs of host weights that are exactly zero."""
    return torch.from_numpy(key.stream("signs", salt).signs(count).astype(np.float32))


class KeyedEmbedding(Embedding):
    """An embedding in keyed host weights: chooses them, and writes the mark when they are final."""

    def __init__(self, scheme: Scheme, weights: Weights, key: Key, salt: bytes, *, rule: str, count: int) -> None:
        """Choose `count` hosts of the carrier that `rule` names."""
        self.weights, self.key, self.salt = weights, key, salt
        self.carrier = Carrier.choose(weights, rule)
        self.hosts = place(self.carrier, key, salt, count)
        self.before = self.hosts.gather(weights)
        self.device = self.before.device
        self.hosts.to(self.device)
        self._scheme = scheme

    def mark(self, parameters: dict[str, Any], report: dict[str, Any]) -> Mark:
        """Return the mark; the report gains the pool's size, the weights touched and the squared change."""
        change = self.hosts.gather(self.weights) - self.before
        return Mark(
            scheme=self._scheme.name,
            parameters=parameters,
            payload_bits=self._scheme.payload_bits,
            carrier=self.carrier,
            salt=self.salt,
            key_digest=self.key.digest,
            key_origin=self.key.origin,
            report={
                "pool": self.carrier.size,
                "touched": int(torch.count_nonzero(change)),
                "squared_change": float(change.double().square().sum()),
                **report,
            },
        )


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
    values = place(mark.carrier, key, mark.salt, count).gather(suspect, missing)
    return HostReading(torch.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).cpu().numpy(), missing)


def hidden_hosts(key: Key, mark: Mark, count: int) -> dict[str, Tensor]:
    """Return the places of `count` hosts as flat indices, int64, by tensor: what a search must not look at."""
    if mark.carrier is None or not count:
        return {}
    hosts = place(mark.carrier, key, mark.salt, count)
    return {mark.carrier.layers[layer].name: inside for layer, _, inside in hosts.parts}


def count_survivors(suspect: Weights, carrier: Carrier, missing: Container[int]) -> int:
    """Return how many weights of the pool are there, finite and not exactly zero: as `read_hosts` sees them."""
    present = [layer for index, layer in enumerate(carrier.layers) if index not in missing]
    chunks = (chunk for layer in present for chunk in torch.split(suspect.tensor(layer.name).reshape(-1), _CHUNK))
    return sum(int(torch.count_nonzero(chunk.isfinite() & (chunk != 0))) for chunk in chunks)


def match_evidence(extraction: Extraction, claim: Claim) -> Evidence:
    """Return the binomial evidence of matched bits: under a random key the pad makes each a fair coin."""
    if not extraction.applicable:
        return Evidence({})
    matched = int(np.sum(extraction.bits == claim.message))
    return Evidence(
        {"matched bits": log10_match_tail(matched, len(claim.message))},
        {"matched": matched, "bits": len(claim.message)},
    )
