"""One cell of a suite: a (model, scheme, payload, seed, attack) curve, its identity and its seeds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.provenance import source_digest
from bench.zoo import ModelSpec
from cwwm.seeds import derive_seed, identity

if TYPE_CHECKING:  # a cell depends on what entries say, which its identity holds, not on how suites are read
    from bench.suite import AttackEntry, SchemeEntry


@dataclass(frozen=True)
class Cell:
    """One curve: one record, a row a strength."""

    model: ModelSpec
    scheme: "SchemeEntry"
    payload: int
    seed: int
    attack: "AttackEntry"
    runtime: Mapping[str, Any] = field(default_factory=dict)

    @property
    def host_recipe(self) -> dict[str, Any]:
        """Return what identifies the trained host, the source that makes it included."""
        source = source_digest("bench.workshop")
        return {"model": self.model.to_json(), "seed": self.seed, "source": source, **self.runtime}

    @property
    def mark_recipe(self) -> dict[str, Any]:
        """Return what identifies the marked model, the source of its scheme included."""
        scheme = {
            "name": self.scheme.name,
            "parameters": dict(self.scheme.parameters),
            "source": source_digest(self.scheme.module),
        }
        return {"host": self.host_recipe, "scheme": scheme, "payload": self.payload}

    @property
    def attack_recipe(self) -> dict[str, Any]:
        """Return what identifies the attack, the source of it and of the measurement included."""
        return {
            "attack": self.attack.attack.to_json(),
            "strengths": list(self.attack.strengths),
            "source": source_digest("bench.running", *self.attack.modules),
        }

    @property
    def identity(self) -> str:
        """Return the cell's cache identity: all that its rows depend on."""
        return identity(mark=self.mark_recipe, **self.attack_recipe)

    @property
    def key(self) -> dict[str, Any]:
        """Return the row key that results of different versions, devices and dates are joined on."""
        return {
            "model": self.model.name,
            "data": self.model.data,
            "scheme": self.scheme.label,
            "payload": self.payload,
            "seed": self.seed,
            "attack": self.attack.label,
        }

    def derive(self, part: str) -> int:
        """Return the seed of a named part of this cell; parts do not see what they do not depend on."""
        host = {"model": self.model.name, "seed": self.seed}
        mark = {"scheme": self.scheme.name, "parameters": dict(self.scheme.parameters), "payload": self.payload}
        depends: dict[str, dict[str, Any]] = {
            "host": host,
            "second phase": host,
            "twin": host,
            "message": {**host, **mark},
            "key": {**host, **mark},
            "attack": {**host, "attack": self.attack.attack.to_json()},
        }
        return derive_seed(part=part, **depends[part])
