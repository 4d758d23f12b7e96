"""One cell of a suite: a (model, scheme, payload, seed, attack) curve, its identity and its seeds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.sources import attack_source, host_source, mark_source
from bench.zoo import ModelSpec
from cwwm.seeds import derive_seed, identity

if TYPE_CHECKING:  # a cell depends on what entries say, which its identity holds, not on how suites are read
    from bench.suite import AttackEntry, SchemeEntry


@dataclass(frozen=True)
class Cell:
    """One curve: one record, a row a strength.

    Attributes:
        number: of the marked copy: 0 is the one that is attacked and read, others are only held by colluders.
    """

    model: ModelSpec
    scheme: "SchemeEntry"
    payload: int
    seed: int
    attack: "AttackEntry"
    runtime: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0

    def copy(self, number: int) -> "Cell":
        """Return the cell of another marked copy of the same host: another key, another message."""
        return replace(self, number=number)

    @property
    def host_recipe(self) -> dict[str, Any]:
        """Return what identifies the trained host, the source that makes it included."""
        source = host_source(self.model.data)
        return {"model": self.model.to_json(), "seed": self.seed, "source": source, **self.runtime}

    @property
    def mark_recipe(self) -> dict[str, Any]:
        """Return what identifies the marked model, the source of its scheme included."""
        scheme = {
            "name": self.scheme.name,
            "parameters": dict(self.scheme.parameters),
            "source": self._mark_source,
        }
        return {"host": self.host_recipe, "scheme": scheme, "payload": self.payload, **self._number}

    @property
    def _number(self) -> dict[str, int]:
        return {"copy": self.number} if self.number else {}

    @property
    def attack_recipe(self) -> dict[str, Any]:
        """Return what identifies the attack, the source of it and of the measurement included."""
        return {
            "attack": self.attack.attack.to_json(),
            "strengths": list(self.attack.strengths),
            "source": attack_source(self.attack.classes, self.attack.attack.other_data),
        }

    @property
    def _mark_source(self) -> str:
        return mark_source(self.scheme.classes)

    @cached_property
    def identity(self) -> str:
        """Return the cell's cache identity: all that its rows depend on."""
        return identity(mark=self.mark_recipe, **self.attack_recipe)

    @property
    def key(self) -> dict[str, Any]:
        """Return the row key that results of different versions, devices and dates are joined on."""
        return {
            "model": self.model.name,
            "data": self.model.data,
            "scheme": self.scheme.shown,
            "payload": self.payload,
            "seed": self.seed,
            "attack": self.attack.label,
        }

    def derive(self, part: str) -> int:
        """Return the seed of a named part of this cell; parts do not see what they do not depend on."""
        depends: dict[str, Callable[[], dict[str, Any]]] = {
            "host": dict,
            "second phase": dict,
            "twin": dict,
            "message": self._mark,
            "key": self._mark,
            "attack": self._attack,
        }
        return derive_seed(part=part, model=self.model.name, seed=self.seed, **depends[part]())

    def _mark(self) -> dict[str, Any]:
        parameters = dict(self.scheme.parameters)
        return {"scheme": self.scheme.name, "parameters": parameters, "payload": self.payload, **self._number}

    def _attack(self) -> dict[str, Any]:
        return {"attack": self.attack.attack.to_json()}
