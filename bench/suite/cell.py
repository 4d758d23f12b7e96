"""What a result is of: a host, a mark in it, and an attack on that; each with its identity and its seeds.

Who makes a host takes a `HostSpec`, who marks one a `MarkSpec`, who runs an attack a `Cell`. Each holds the one
before, so nobody needs a mark to ask for an unmarked model.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.models.registry import ModelSpec
from bench.suite.sources import attack_source, host_source, mark_source
from cwwm.codes import Bits
from cwwm.ownership.keys import NONCE_BYTES, Key, Stream
from cwwm.readers import Blind
from cwwm.schemes import Scheme
from cwwm.support.seeds import derive_seed, identity

if TYPE_CHECKING:  # a cell depends on what entries say, which its identity holds, not on how suites are read
    from bench.suite import AttackEntry, SchemeEntry


@dataclass(frozen=True)
class HostSpec:
    """An unmarked network.

    Attributes:
        model: architecture, data and recipe.
        seed: of initialisation, batches and split.
        runtime: what results depend on beside recipe and source: versions, device, threads, processor.
        weights: how those of an untrained network begin (`bench.suite.untrained.WEIGHTS`); None trains it.
    """

    model: ModelSpec
    seed: int
    runtime: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None

    @property
    def untrained(self) -> bool:
        """Say whether nothing is trained."""
        return self.weights is not None

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Return what identifies the host, the source that makes it included."""
        source = host_source(self.model.data, untrained=self.untrained)
        weights = {"weights": self.weights} if self.untrained else {}
        return {"model": self.model.to_json(), "seed": self.seed, **weights, "source": source, **self.runtime}

    @property
    def part(self) -> dict[str, Any]:
        """Return what the seeds of all that is made of this host depend on."""
        return {"model": self.model.name, "seed": self.seed}

    def identity(self, kind: str) -> str:
        """Return the name under which an unmarked model of this host is stored."""
        return identity(kind=kind, **self.recipe)

    def derive(self, part: str) -> int:
        """Return the seed of ``"host"``, ``"second phase"`` or ``"twin"``."""
        return derive_seed(part=part, **self.part)


class Secret(NamedTuple):
    """What the owner of a mark in the bench has: key and message, uint8 (k,), from seeds, which prove nothing."""

    key: Key
    message: Bits
    nonce: bytes


@dataclass(frozen=True)
class MarkSpec:
    """A host with a mark.

    Attributes:
        scheme: the encoding, with nothing left to choose. payload: bits of the message.
        number: of the marked copy: 0 is the one that is attacked and read, others are only held by colluders.
    """

    host: HostSpec
    scheme: "SchemeEntry"
    payload: int
    number: int = 0

    def copy(self, number: int) -> "MarkSpec":
        """Return another marked copy of the same host: another key, another message."""
        return replace(self, number=number)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Return what identifies the marked model, the source of its scheme included."""
        source = mark_source(self.scheme.classes, untrained=self.host.untrained)
        return {"host": self.host.recipe, "scheme": {**self._scheme, "source": source}, **self._rest}

    @property
    def identity(self) -> str:
        """Return the name under which the marked model is stored."""
        return identity(kind="marked", **self.recipe)

    def build(self) -> Scheme:
        """Return the scheme for this payload."""
        return self.scheme.build(self.payload)

    def derive(self, part: str) -> int:
        """Return the seed of ``"message"`` or ``"key"``."""
        mark = {"scheme": self.scheme.name, "parameters": dict(self.scheme.parameters), **self._rest}
        return derive_seed(part=part, **self.host.part, **mark)

    def secret(self) -> Secret:
        """Return key, message and nonce, all from the seeds."""
        seed = self.derive("message")
        message = Stream(seed.to_bytes(32, "little")).bits(self.payload)
        nonce = hashlib.sha256(str(seed).encode()).digest()[:NONCE_BYTES]
        return Secret(Key.for_harness(seed=self.derive("key")), np.asarray(message, np.uint8), nonce)

    @property
    def _scheme(self) -> dict[str, Any]:
        finished = {"finished": True} if self.scheme.finished else {}
        return {"name": self.scheme.name, "parameters": dict(self.scheme.parameters), **finished}

    @property
    def _rest(self) -> dict[str, int]:
        return {"payload": self.payload, **({"copy": self.number} if self.number else {})}


@dataclass(frozen=True)
class Cell:
    """One curve: a marked model, an attack over its strengths, and how suspects are read; one record.

    Attributes:
        readings: how many cells of the run read these attacked models, one after the other; not in the identity.
    """

    mark: MarkSpec
    attack: "AttackEntry"
    readings: int = 1

    @property
    def host(self) -> HostSpec:
        """Return the host of the mark."""
        return self.mark.host

    @property
    def attacked(self) -> str:
        """Return what identifies the attacked models within a run, however they are read."""
        made = {"attack": self.attack.attack.to_json(), "strengths": list(self.attack.strengths)}
        return identity(kind="attacked", mark=self.mark.identity, **made)

    @property
    def attack_recipe(self) -> dict[str, Any]:
        """Return what identifies attack and reading, the source of them and of the measurement included."""
        attack, reader = self.attack.attack, self.mark.scheme.reader
        source = attack_source(self.attack.classes, attack.other_data, untrained=self.host.untrained, reader=reader)
        made = {"attack": attack.to_json(), "strengths": list(self.attack.strengths), "source": source}
        return made if reader == Blind.name else {**made, "reader": reader}

    @property
    def recipe(self) -> dict[str, Any]:
        """Return all that the cell is made from, for the reader of its record and for `check`."""
        levels = [[points, strength] for points, strength in self.attack.levels]
        return {
            **self.mark.recipe,
            "label": self.mark.scheme.label,
            **self.attack_recipe,
            "attack_label": self.attack.label,
            "strength_means": type(self.attack.attack).strength,
            **({"levels": levels} if levels else {}),
        }

    @cached_property
    def identity(self) -> str:
        """Return the cell's identity: all that its rows depend on."""
        return identity(mark=self.mark.recipe, **self.attack_recipe)

    @property
    def key(self) -> dict[str, Any]:
        """Return the row key that results of different versions, devices and dates are joined on."""
        host = self.host
        return {
            "model": host.model.name,
            "data": host.model.data,
            "scheme": self.mark.scheme.shown,
            "payload": self.mark.payload,
            "seed": host.seed,
            "attack": self.attack.label,
            **({"weights": host.weights} if host.untrained else {}),
        }


def attack_seed(host: HostSpec, attack: "AttackEntry") -> int:
    """Return the seed of an attack: the same on every mark of a host."""
    return derive_seed(part="attack", **host.part, attack=attack.attack.to_json())
