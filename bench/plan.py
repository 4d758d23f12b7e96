"""From a suite to cells: which models x schemes x payloads x seeds x attacks, each with its identity and seeds."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from bench.suite import SUITES, AttackEntry, SchemeEntry, Suite
from bench.zoo import PACKAGE, ModelSpec
from cwwm.errors import BadInput
from cwwm.seeds import derive_seed, identity

#: source that a record depends on; a change to any of it runs the cells again
_SOURCES = (
    "../cwwm",
    "attacks",
    "data",
    "artefacts.py",
    "cell.py",
    "covertness.py",
    "evaluate.py",
    "false_positives.py",
    "networks.py",
    "plan.py",
    "suite.py",
    "workshop.py",
    "zoo.py",
)


@dataclass(frozen=True)
class Cell:
    """One (model, scheme, payload, seed, attack) curve: one record, a row a strength."""

    model: ModelSpec
    scheme: SchemeEntry
    payload: int
    seed: int
    attack: AttackEntry
    runtime: Mapping[str, Any] = field(default_factory=dict)

    @property
    def host_recipe(self) -> dict[str, Any]:
        """Return what identifies the trained host."""
        return {"model": self.model.to_json(), "seed": self.seed, "source": source_digest(), **self.runtime}

    @property
    def mark_recipe(self) -> dict[str, Any]:
        """Return what identifies the marked model."""
        scheme = {"name": self.scheme.name, "parameters": dict(self.scheme.parameters)}
        return {"host": self.host_recipe, "scheme": scheme, "payload": self.payload}

    @property
    def identity(self) -> str:
        """Return the cell's cache identity: its recipe, and the digest of the source that runs it."""
        attack = {"attack": self.attack.attack.to_json(), "strengths": list(self.attack.strengths)}
        return identity(mark=self.mark_recipe, **attack)

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


@cache
def source_digest() -> str:
    """Return the digest of all source that a record depends on."""
    return digest_of(PACKAGE, _SOURCES)


def digest_of(package: Path, sources: Iterable[str]) -> str:
    """Return the digest of Python files and of folders of them, all named relative to `package`."""
    digest = hashlib.sha256()
    for source in sources:
        path = package / source
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            name = PurePosixPath(source, file.relative_to(path).as_posix())
            digest.update(str(name).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:32]


def cells(suite: Suite, runtime: Mapping[str, Any]) -> list[Cell]:
    """Return the cells of a suite, host by host, so that each host and mark is made once and then attacked.

    Args:
        suite: what to cover.
        runtime: what results depend on beside recipe and source: torch version, kind of device, threads.

    Raises:
        BadInput: if a tuned scheme has no calibrated strength for one of them, or an attack that is run at
            levels of lost accuracy has no strengths chosen on one of the models.
    """
    return [
        Cell(model, _strong(suite, scheme, payload, model), payload, seed, _levelled(suite, attack, model), runtime)
        for model in suite.models
        for seed in range(suite.seeds)
        for scheme in suite.schemes
        for payload in suite.payloads_of(scheme)
        for attack in suite.attacks
        if payload in suite.payloads_of(attack)
    ]


def _strong(suite: Suite, entry: SchemeEntry, payload: int, model: ModelSpec) -> SchemeEntry:
    """Return the entry of a cell, with its calibrated strength if it is tuned."""
    if entry.tune is None:
        return entry.fixed(payload)
    strength = suite.calibrated.values.get((entry.label, payload, model.name), {})
    if set(strength) != {entry.tune.parameter}:
        raise BadInput(
            f"scheme '{entry.label}' has no calibrated {entry.tune.parameter} at {payload} bits on {model.name}; "
            f"run first: {_calibrate(suite)}"
        )
    return entry.fixed(payload, strength)


def _levelled(suite: Suite, entry: AttackEntry, model: ModelSpec) -> AttackEntry:
    """Return the entry of a cell, with the strengths chosen on the model's control if it is run at levels."""
    found = suite.calibrated.attacks.get((entry.label, model.name))
    if not entry.is_settled(found):
        levels = ", ".join(f"{points:g}" for points in entry.lost)
        raise BadInput(
            f"attack '{entry.label}' has no strengths chosen from its candidates at {levels} points lost on "
            f"{model.name}; run first: {_calibrate(suite)}"
        )
    return entry.fixed(found)


def _calibrate(suite: Suite) -> str:
    return f"cwwm-bench calibrate {suite.path if suite.path.parent != SUITES else suite.name}"
