"""From a suite to cells: which models x schemes x payloads x seeds x attacks, each with its identity and seeds."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from bench.attacks import Attack, make_attack
from bench.config import check_fields, read_yaml
from bench.zoo import PACKAGE, ModelSpec, find_models
from cwwm.errors import BadInput, unknown_name
from cwwm.schemes import SCHEMES, Scheme, make_scheme
from cwwm.seeds import derive_seed, identity

SUITES = PACKAGE / "suites"
#: source that a record depends on; a change to any of it runs the cells again
_SOURCES = (
    "../cwwm",
    "attacks",
    "data",
    "artefacts.py",
    "cell.py",
    "evaluate.py",
    "plan.py",
    "workshop.py",
    "zoo.py",
)


@dataclass(frozen=True)
class SchemeEntry:
    """A scheme as a suite lists it; the payload is filled in by the plan."""

    label: str
    name: str
    parameters: Mapping[str, Any]

    def build(self, payload_bits: int) -> Scheme:
        """Return the scheme for a payload."""
        return make_scheme(self.name, {**self.parameters, "payload_bits": payload_bits}, f"scheme {self.label}")


@dataclass(frozen=True)
class AttackEntry:
    """An attack with its list of strengths."""

    label: str
    attack: Attack
    strengths: tuple[float, ...]


@dataclass(frozen=True)
class Suite:
    """What a run covers."""

    name: str
    description: str
    models: tuple[ModelSpec, ...]
    schemes: tuple[SchemeEntry, ...]
    attacks: tuple[AttackEntry, ...]
    payloads: tuple[int, ...] = (256,)
    seeds: int = 1


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
    digest = hashlib.sha256()
    for source in _SOURCES:
        path = PACKAGE / source
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{source}/{file.name}".encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:32]


def suite_names() -> list[str]:
    """Return the names of the suites that come with the bench."""
    return sorted(path.stem for path in SUITES.glob("*.yaml"))


def load_suite(name: str) -> Suite:
    """Read a suite by name, or from the path of a YAML file.

    Raises:
        BadInput: for an unknown suite, or an unknown field, model, scheme or attack in it.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else SUITES / f"{name}.yaml"
    if not path.exists():
        raise unknown_name("suite", name, suite_names())
    known = {"description", "models", "payloads", "seeds", "schemes", "attacks"}
    value = check_fields(read_yaml(path), known, str(path), required={"models", "schemes", "attacks"})
    return Suite(
        name=path.stem,
        description=str(value.get("description", "")),
        models=tuple(find_models(_list(value["models"], f"{path}: models"))),
        schemes=tuple(_scheme_entry(v, f"{path}: schemes[{i}]") for i, v in enumerate(value["schemes"])),
        attacks=tuple(_attack_entry(v, f"{path}: attacks[{i}]") for i, v in enumerate(value["attacks"])),
        payloads=tuple(_list(value.get("payloads", [256]), f"{path}: payloads")),
        seeds=int(value.get("seeds", 1)),
    )


def _list(value: Any, where: str) -> list[Any]:  # noqa: ANN401
    if not isinstance(value, list) or not value:
        raise BadInput(f"{where}: expected a list with at least one entry, found {value!r}")
    return value


def _scheme_entry(value: Any, where: str) -> SchemeEntry:  # noqa: ANN401
    value = {"name": value} if isinstance(value, str) else value
    if not isinstance(value, dict) or "name" not in value:
        raise BadInput(f"{where}: a scheme is a name, or a mapping with a name and parameters, not {value!r}")
    parameters = {k: v for k, v in value.items() if k not in ("name", "label")}
    entry = SchemeEntry(str(value.get("label", value["name"])), value["name"], parameters)
    make_scheme(entry.name, entry.parameters, where)
    return entry


def _attack_entry(value: Any, where: str) -> AttackEntry:  # noqa: ANN401
    if not isinstance(value, dict):
        raise BadInput(f"{where}: an attack is a mapping with a name and strengths, not {value!r}")
    strengths = tuple(float(s) for s in _list(value.get("strengths"), f"{where}.strengths"))
    attack = make_attack({k: v for k, v in value.items() if k not in ("strengths", "label")}, where)
    return AttackEntry(str(value.get("label", attack.label)), attack, strengths)


def narrow(
    suite: Suite,
    *,
    models: Sequence[str] = (),
    schemes: Sequence[str] = (),
    attacks: Sequence[str] = (),
    seeds: int | None = None,
) -> Suite:
    """Return the suite with some lists narrowed (by label, name or wildcard) or replaced.

    Models may be any timm names, schemes any registered ones; attacks are picked from the suite's.

    Raises:
        BadInput: for a name that matches nothing, or seeds below 1.
    """
    if models:
        suite = replace(suite, models=tuple(find_models(list(models))))
    if schemes:
        suite = replace(suite, schemes=tuple(e for s in schemes for e in _pick_schemes(suite, s)))
    if attacks:
        suite = replace(suite, attacks=tuple(e for a in attacks for e in _pick_attacks(suite, a)))
    if seeds is not None:
        if seeds < 1:
            raise BadInput(f"--seeds is at least 1, not {seeds}")
        suite = replace(suite, seeds=seeds)
    return suite


def _pick_schemes(suite: Suite, name: str) -> list[SchemeEntry]:
    found = [entry for entry in suite.schemes if fnmatch(entry.label, name) or fnmatch(entry.name, name)]
    if not found and name not in SCHEMES:
        raise unknown_name("scheme", name, {*SCHEMES, *(entry.label for entry in suite.schemes)})
    return found or [SchemeEntry(name, name, {})]


def _pick_attacks(suite: Suite, name: str) -> list[AttackEntry]:
    found = [e for e in suite.attacks if fnmatch(e.label, name) or fnmatch(e.attack.name, name)]
    if not found:
        raise unknown_name("attack of this suite", name, {entry.label for entry in suite.attacks})
    return found


def cells(suite: Suite, runtime: Mapping[str, Any]) -> list[Cell]:
    """Return the cells of a suite, host by host, so that each host and mark is made once and then attacked.

    Args:
        suite: what to cover.
        runtime: what results depend on beside recipe and source: torch version, kind of device, threads.
    """
    return [
        Cell(model, scheme, payload, seed, attack, runtime)
        for model in suite.models
        for seed in range(suite.seeds)
        for scheme in suite.schemes
        for payload in suite.payloads
        for attack in suite.attacks
    ]
