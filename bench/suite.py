"""A suite: which models x schemes x payloads x attacks x strengths x seeds, read strictly and narrowed."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from bench.attack_strengths import check_comparable, strengths_to_run
from bench.attacks import Attack, make_attack
from bench.compatibility import WEIGHTS, architectures
from bench.config import build_dataclass, check_fields, read_yaml
from bench.strengths import SUFFIX, AttackStrengths, Strengths, read_strengths, strengths_path
from bench.suite_fields import check_labels, read_at, read_list, read_numbers, read_payload, read_payloads
from bench.zoo import PACKAGE, ModelSpec, find_models
from cwwm.errors import BadInput, unknown_name
from cwwm.schemes import SCHEMES, Scheme, make_scheme

SUITES = PACKAGE / "suites"


@dataclass(frozen=True)
class Tune:
    """Which parameter of a scheme calibration fixes, and the least and largest value it tries."""

    parameter: str
    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse a range without a logarithm or an extent."""
        if not 0 < self.low < self.high < math.inf:
            raise BadInput(f"tune needs 0 < low < high, not {self.low:g} and {self.high:g}")


@dataclass(frozen=True)
class SchemeEntry:
    """A scheme as a suite lists it; the payload is filled in by the plan.

    Attributes:
        label: how tables name it, but for `shown`; unique in its suite.
        name: as registered.
        parameters: for every payload.
        at: parameters for single payloads, merged over those for all.
        payloads: the only payloads it is run at; empty: all of the suite's.
        tune: which parameter the suite's calibration file gives, or None.
    """

    label: str
    name: str
    parameters: Mapping[str, Any]
    at: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    payloads: tuple[int, ...] = ()
    tune: Tune | None = None

    def fixed(self, payload_bits: int, strength: Mapping[str, float | None] | None = None) -> "SchemeEntry":
        """Return the entry of one cell: all parameters in one mapping, and nothing left to choose.

        Args:
            payload_bits: of the cell.
            strength: the tuned parameter and its value; None as value leaves the scheme's default.
        """
        given = {name: value for name, value in (strength or {}).items() if value is not None}
        return SchemeEntry(self.label, self.name, {**self.parameters, **self.at.get(payload_bits, {}), **given})

    @property
    def shown(self) -> str:
        """Return the label for tables, which says what is our reconstruction of a paper."""
        known = SCHEMES.get(self.name)
        return f"{self.label} (reconstruction)" if known is not None and known.reconstruction else self.label

    @property
    def classes(self) -> tuple[type[Scheme], ...]:
        """Return the class of the scheme and of one that it stands around; BadInput if there is none such."""
        (own,) = _scheme_classes(self.name)
        inner = self.parameters.get("scheme", getattr(own, "scheme", None))
        return (own, *_scheme_classes(*filter(None, [inner])))

    def build(self, payload_bits: int) -> Scheme:
        """Return the scheme for a payload."""
        parameters = {**self.fixed(payload_bits).parameters, "payload_bits": payload_bits}
        return make_scheme(self.name, parameters, f"scheme {self.label}")


def _scheme_classes(*names: str) -> tuple[type[Scheme], ...]:
    """Return schemes by name; raise BadInput if there is none of a name."""
    for name in names:
        if name not in SCHEMES:
            raise unknown_name("scheme", name, sorted(SCHEMES))
    return tuple(SCHEMES[name] for name in names)


@dataclass(frozen=True)
class AttackEntry:
    """An attack as a suite lists it.

    Attributes:
        label: how tables name it; that of an attack with `lost` is unique in its suite.
        attack: with its parameters.
        strengths: all it is run at; with `lost`, the candidates from the mildest to the hardest.
        payloads: the only payloads it is run at; empty: all of the suite's.
        lost: levels, in points of accuracy lost on the unmarked control of each model: the calibration file
            gives for each one the strength. Empty: all strengths are run.
    """

    label: str
    attack: Attack
    strengths: tuple[float, ...]
    payloads: tuple[int, ...] = ()
    lost: tuple[float, ...] = ()

    @property
    def classes(self) -> tuple[type, ...]:
        """Return the class of the attack, of its parts, and of watermarks that they embed by name."""
        attacks = (self.attack, *self.attack.parts)
        named = [name for attack in attacks if (name := getattr(attack, "scheme", None)) in SCHEMES]
        return tuple(dict.fromkeys((*(type(attack) for attack in attacks), *_scheme_classes(*named))))

    def is_settled(self, found: AttackStrengths | None) -> bool:
        """Say whether nothing is left to choose: `found` is of this attack, these candidates and levels."""
        if not self.lost:
            return True
        if found is None or found.by != repr(self.attack):
            return False
        return (tuple(found.tried), set(found.chosen)) == (self.strengths, set(self.lost))

    def fixed(self, found: AttackStrengths | None) -> "AttackEntry":
        """Return the entry of one cell: the chosen strengths only, the mildest if none was chosen."""
        if not self.lost or found is None:
            return self
        return replace(self, strengths=strengths_to_run(self.strengths, found.chosen), lost=())


@dataclass(frozen=True)
class Suite:
    """What a run covers.

    Attributes:
        path: of its YAML file; its calibration lies beside it.
        first_seed: seeds count from here; another gives other hosts, batches, keys and messages.
        reference: the scheme whose energy calibration matches, or None for the noise floor; `narrow` keeps it.
        calibrated: the strengths found for tuned schemes, and for attacks at levels of lost accuracy.
        untrained: if any, nothing is trained: each architecture among the models is tried with these weights, keys
            of `bench.compatibility.WEIGHTS`, and no accuracy is measured.
    """

    name: str
    description: str
    models: tuple[ModelSpec, ...]
    schemes: tuple[SchemeEntry, ...]
    attacks: tuple[AttackEntry, ...]
    path: Path
    payloads: tuple[int, ...] = (256,)
    seeds: int = 1
    first_seed: int = 0
    reference: SchemeEntry | None = None
    calibrated: Strengths = field(default_factory=Strengths)
    untrained: tuple[str, ...] = ()

    @property
    def levels(self) -> dict[tuple[str, str], Mapping[float, float | None]]:
        """Return, by (attack, model), the strength chosen for each level of points lost."""
        labels, models = {entry.label for entry in self.attacks if entry.lost}, {m.name for m in self.models}
        return {
            place: found.chosen
            for place, found in self.calibrated.attacks.items()
            if place[0] in labels and place[1] in models
        }

    def payloads_of(self, entry: SchemeEntry | AttackEntry) -> tuple[int, ...]:
        """Return the payloads of this suite at which a scheme or an attack is run."""
        return tuple(p for p in self.payloads if not entry.payloads or p in entry.payloads)


def suite_names() -> list[str]:
    """Return the names of the suites that come with the bench."""
    return sorted(path.stem for path in SUITES.glob("*.yaml") if not path.name.endswith(SUFFIX))


def load_suite(name: str) -> Suite:
    """Read a suite by name, or from the path of a YAML file, with the calibration file beside it.

    Raises:
        BadInput: for an unknown suite, or an unknown field, model, scheme, attack or payload in it or in its
            calibration file.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else SUITES / f"{name}.yaml"
    if not path.exists():
        raise unknown_name("suite", name, suite_names())
    known = {"description", "models", "payloads", "seeds", "schemes", "attacks", "reference", "untrained"}
    value = check_fields(read_yaml(path), known, str(path), required={"models", "schemes", "attacks"})
    payloads = tuple(read_list(value.get("payloads", [256]), f"{path}: payloads"))
    schemes = [_scheme_entry(v, f"{path}: schemes[{i}]", payloads) for i, v in enumerate(value["schemes"])]
    attacks = [_attack_entry(v, f"{path}: attacks[{i}]", payloads) for i, v in enumerate(value["attacks"])]
    _check_labels(path, schemes, attacks)
    untrained = _untrained(value, schemes, attacks, f"{path}: untrained")
    return Suite(
        name=path.stem,
        description=str(value.get("description", "")),
        models=_models(read_list(value["models"], f"{path}: models"), untrained),
        schemes=tuple(schemes),
        attacks=tuple(attacks),
        path=path,
        payloads=payloads,
        seeds=int(value.get("seeds", 1)),
        reference=_reference(value.get("reference"), schemes, f"{path}: reference"),
        calibrated=_calibrated(path, schemes, attacks),
        untrained=untrained,
    )


def _models(patterns: Sequence[str], untrained: Collection[str]) -> tuple[ModelSpec, ...]:
    found = find_models(list(patterns))
    return architectures(found) if untrained else tuple(found)


def _untrained(
    value: Mapping[str, Any], schemes: Sequence[SchemeEntry], attacks: Sequence[AttackEntry], where: str
) -> tuple[str, ...]:
    """Return the weights to try without training, or (); refuse what takes trained models."""
    if "untrained" not in value:
        return ()
    for name in read_list(value["untrained"], where):
        if name not in WEIGHTS:
            raise unknown_name("weights", str(name), WEIGHTS, where)
    for taken, name in (("reference", value.get("reference")), ("tune", any(s.tune for s in schemes))):
        if name:
            raise BadInput(f"{where}: '{taken}' takes trained models; drop one of the two")
    if any(attack.lost for attack in attacks):
        raise BadInput(
            f"{where}: 'lost' counts points of accuracy, which takes trained models; drop one of the two"
        )
    return tuple(value["untrained"])


def _scheme_entry(value: Any, where: str, payloads: Collection[int]) -> SchemeEntry:  # noqa: ANN401
    value = {"name": value} if isinstance(value, str) else value
    if not isinstance(value, dict) or "name" not in value:
        raise BadInput(f"{where}: a scheme is a name, or a mapping with a name and parameters, not {value!r}")
    own = ("name", "label", "at", "payloads", "tune")
    entry = SchemeEntry(
        label=str(value.get("label", value["name"])),
        name=value["name"],
        parameters={k: v for k, v in value.items() if k not in own},
        at=read_at(value.get("at", {}), f"{where}.at", payloads),
        payloads=read_payloads(value, where, payloads),
        tune=build_dataclass(Tune, value["tune"], f"{where}.tune") if "tune" in value else None,
    )
    _check_scheme(entry.name, entry.parameters, where)
    for payload in entry.at:
        parameters = {**entry.fixed(payload).parameters, "payload_bits": payload}
        _check_scheme(entry.name, parameters, f"{where}.at.{payload}")
    _check_tune(entry, f"{where}.tune")
    return entry


def _check_scheme(name: str, parameters: Mapping[str, Any], where: str) -> None:
    try:
        make_scheme(name, parameters)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from error


def _check_tune(entry: SchemeEntry, where: str) -> None:
    """Refuse to tune what is no real-valued parameter of the scheme, or what the suite gives itself."""
    if (tune := entry.tune) is None:
        return
    kinds = [f.type for f in fields(SCHEMES[entry.name]) if f.name == tune.parameter]  # none of an unknown name
    if kinds and kinds[0] not in (float, float | None):
        raise BadInput(f"{where}: '{tune.parameter}' of scheme '{entry.name}' takes no real number to search over")
    for strength in (tune.low, tune.high):
        _check_scheme(entry.name, {**entry.parameters, tune.parameter: strength}, where)
    if any(tune.parameter in given for given in (entry.parameters, *entry.at.values())):
        raise BadInput(f"{where}: '{tune.parameter}' is both given and tuned; drop one of the two")


def _attack_entry(value: Any, where: str, payloads: Collection[int]) -> AttackEntry:  # noqa: ANN401
    if not isinstance(value, dict):
        raise BadInput(f"{where}: an attack is a mapping with a name and strengths, not {value!r}")
    own = ("strengths", "label", "payloads", "lost")
    attack = make_attack({k: v for k, v in value.items() if k not in own}, where)
    entry = AttackEntry(
        label=str(value.get("label", attack.label)),
        attack=attack,
        strengths=read_numbers(value.get("strengths"), f"{where}.strengths"),
        payloads=read_payloads(value, where, payloads),
        lost=read_numbers(value["lost"], f"{where}.lost") if "lost" in value else (),
    )
    _check_lost(entry, where)
    return entry


def _check_lost(entry: AttackEntry, where: str) -> None:
    """Refuse levels of lost accuracy that no calibration could find or tell apart."""
    if not entry.lost:
        return
    for name, numbers in (("strengths", entry.strengths), ("lost", entry.lost)):
        if len(set(numbers)) < len(numbers):
            raise BadInput(f"{where}.{name}: each number once, please, not {' '.join(f'{n:g}' for n in numbers)}")
    if min(entry.lost) < 0:
        raise BadInput(f"{where}.lost: points of accuracy are 0 or more, not {min(entry.lost):g}")
    try:
        check_comparable(entry.attack)
    except BadInput as error:
        raise BadInput(f"{where}.lost: {error}; drop 'lost'") from error


def _reference(label: Any, schemes: Sequence[SchemeEntry], where: str) -> SchemeEntry | None:  # noqa: ANN401
    if label is None:
        return None
    found = [entry for entry in schemes if entry.label == label]
    if not found:
        raise unknown_name("scheme", str(label), (entry.label for entry in schemes), where)
    if found[0].tune:
        raise BadInput(f"{where}: scheme '{label}' is tuned itself; name one with parameters of its own")
    return found[0]


def _check_labels(path: Path, schemes: Sequence[SchemeEntry], attacks: Sequence[AttackEntry]) -> None:
    """Refuse labels that would make entries of the calibration file mean two things."""
    labels = [entry.label for entry in schemes]
    check_labels(labels, labels, "schemes", f"{path}: schemes")
    levelled = {entry.label for entry in attacks if entry.lost}
    check_labels([entry.label for entry in attacks], levelled, "attacks", f"{path}: attacks")


def _calibrated(path: Path, schemes: Sequence[SchemeEntry], attacks: Sequence[AttackEntry]) -> Strengths:
    strengths = read_strengths(strengths_path(path))
    tuned = {entry.label for entry in schemes if entry.tune}
    levelled = {entry.label for entry in attacks if entry.lost}
    for label, _, _ in strengths.values:
        if label not in tuned:
            raise unknown_name("tuned scheme", label, tuned, f"{strengths_path(path)}: values")
    for label, _ in strengths.attacks:
        if label not in levelled:
            raise unknown_name("attack with 'lost'", label, levelled, f"{strengths_path(path)}: attacks")
    return strengths


def narrow(
    suite: Suite,
    *,
    models: Sequence[str] = (),
    schemes: Sequence[str] = (),
    attacks: Sequence[str] = (),
    payloads: Sequence[int] = (),
    seeds: int | None = None,
) -> Suite:
    """Return the suite with some lists narrowed (by label, name or wildcard) or replaced.

    Models may be any timm names, schemes any registered ones; attacks and payloads are picked from the suite's.

    Raises:
        BadInput: for a name that matches nothing, or seeds below 1.
    """
    if models:
        suite = replace(suite, models=_models(models, suite.untrained))
    if schemes:
        suite = replace(suite, schemes=tuple(e for s in schemes for e in _pick_schemes(suite, s)))
    if attacks:
        suite = replace(suite, attacks=tuple(e for a in attacks for e in _pick_attacks(suite, a)))
    if payloads:
        suite = replace(suite, payloads=tuple(read_payload(p, "--payload", suite.payloads) for p in payloads))
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
