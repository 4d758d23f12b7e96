"""A suite: which models x schemes x payloads x attacks x strengths x seeds, read strictly."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from bench.attacks import make_attack
from bench.calibration.attack_levels import check_comparable
from bench.calibration.bisection import middle
from bench.models.registry import ModelSpec, find_models
from bench.suite.calibrated import calibrated
from bench.suite.calibration_file import SUFFIX, Equal, Strengths
from bench.suite.entries import AttackEntry, SchemeEntry
from bench.suite.fields import AttackFields, SchemeFields, SuiteFile, check_payloads, read_suite_file
from bench.suite.untrained import WEIGHTS, architectures
from bench.support.git import PACKAGE
from cwwm.readers import Blind, find_reader
from cwwm.schemes import SCHEMES, make_scheme
from cwwm.support.errors import BadInput, unknown_name

SUITES = PACKAGE / "suites"


@dataclass(frozen=True)
class Suite:
    """What a run covers.

    Attributes:
        path: of its YAML file; its calibration lies beside it.
        first_seed: seeds count from here; another gives other hosts, batches, keys and messages.
        reference: the scheme whose change calibration matches, or None for the noise floor; `narrow` keeps it.
        equal: what that change is: energy, or the share of answers (`bench.calibration.terms`).
        shared: by label of an entry the one whose calibration holds for it: of several readings of the same marks
            the first, without the reader in its label. `narrow` keeps it.
        tuned_in: the suite beside this one whose calibration gives the strengths of tuned schemes, or None.
        calibrated: the strengths found for tuned schemes, and for attacks at levels of lost accuracy.
        untrained: if any, nothing is trained: each architecture among the models is tried with these weights, keys
            of `bench.suite.untrained.WEIGHTS`, and no accuracy is measured.
        stop: attacks are run in the order of their tiers, and not where an earlier one has decided the run; see
            `bench.suite.stopping`.
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
    equal: Equal = "energy"
    shared: Mapping[str, SchemeEntry] = field(default_factory=dict)
    tuned_in: str | None = None
    calibrated: Strengths = field(default_factory=Strengths)
    untrained: tuple[str, ...] = ()
    stop: bool = False

    @property
    def levels(self) -> dict[tuple[str, str], Mapping[float, float | None]]:
        """Return, by (attack, model), the strength chosen for each level of points lost."""
        labels, models = {entry.label for entry in self.attacks if entry.lost}, {m.name for m in self.models}
        return {
            place: found.chosen
            for place, found in self.calibrated.attacks.items()
            if place[0] in labels and place[1] in models
        }

    def tuned_as(self, entry: SchemeEntry) -> SchemeEntry:
        """Return the entry whose calibration holds for an entry, of another suite if this one is `tuned_in` it."""
        return self.shared.get(entry.label, entry)

    def payloads_of(self, entry: SchemeEntry | AttackEntry) -> tuple[int, ...]:
        """Return the payloads of this suite at which a scheme or an attack is run."""
        return tuple(p for p in self.payloads if not entry.payloads or p in entry.payloads)


def suite_names() -> list[str]:
    """Return the names of the suites that come with the bench."""
    return sorted(path.stem for path in SUITES.glob("*.yaml") if not path.name.endswith(SUFFIX))


def load_suite(name: str) -> Suite:
    """Read a suite by name, or from the path of a YAML file, with the calibration file beside it.

    Raises:
        BadInput: for an unknown suite; for an unknown field, model, scheme, attack or payload in it or in its
            calibration file; for a value of a wrong type, or a strength that its attack does not take.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else SUITES / f"{name}.yaml"
    if not path.exists():
        raise unknown_name("suite", name, suite_names())
    file = read_suite_file(path)
    readings = [_readings(v, f"{path}: schemes[{i}]", file.payloads) for i, v in enumerate(file.schemes)]
    schemes = [entry for entries in readings for entry in entries]
    shared = {
        entry.label: replace(entries[0], label=given.shown)
        for given, entries in zip(file.schemes, readings, strict=True)
        for entry in entries
    }
    attacks = [_attack_entry(v, f"{path}: attacks[{i}]", file.payloads) for i, v in enumerate(file.attacks)]
    _check_labels(path, schemes, attacks, stop=file.stop)
    _check_untrained(file, attacks, f"{path}: untrained")
    return Suite(
        name=path.stem,
        description=file.description,
        models=models_of(file.models, file.untrained, f"{path}: models"),
        schemes=tuple(schemes),
        attacks=tuple(attacks),
        path=path,
        payloads=tuple(file.payloads),
        seeds=file.seeds,
        reference=_reference(file.reference, schemes, f"{path}: reference"),
        equal=file.equal,
        shared=shared,
        tuned_in=file.tuned_in,
        calibrated=calibrated(path, file, [entry.label for entry in attacks if entry.lost]),
        untrained=tuple(file.untrained),
        stop=file.stop,
    )


def models_of(patterns: Sequence[str], untrained: Collection[str], where: str = "") -> tuple[ModelSpec, ...]:
    """Return the models of a suite; BadInput for a name that neither models.yaml nor timm knows."""
    found = find_models(list(patterns), where)
    return architectures(found) if untrained else tuple(found)


def _check_untrained(file: SuiteFile, attacks: Sequence[AttackEntry], where: str) -> None:
    """Refuse unknown weights to try without training, and what takes trained models beside them."""
    for name in file.untrained:
        if name not in WEIGHTS:
            raise unknown_name("weights", name, WEIGHTS, where)
    trained = {
        "'reference' takes": file.reference is not None,
        "'tune' takes": any(scheme.tune for scheme in file.schemes),
        "'lost' counts points of accuracy, which takes": any(attack.lost for attack in attacks),
        "'stop' takes": file.stop,
        "'equal: answers' takes": file.equal != "energy",
    }
    for what, given in trained.items():
        if file.untrained and given:
            raise BadInput(f"{where}: {what} trained models; drop one of the two")


def _readings(given: SchemeFields, where: str, payloads: Collection[int]) -> list[SchemeEntry]:
    """Return an entry for each reader of a scheme, labelled by it unless it reads blind."""
    if not given.readers:
        return [_scheme_entry(given, where, payloads)]
    if "reader" in given.model_fields_set:
        raise BadInput(f"{where}: 'reader' and 'readers' are both given; drop one of the two")
    label = given.shown
    read = [
        given.model_copy(update={"reader": name, "label": label if name == Blind.name else f"{label} {name}"})
        for name in given.readers
    ]
    return [_scheme_entry(fields, where, payloads) for fields in read]


def _scheme_entry(given: SchemeFields, where: str, payloads: Collection[int]) -> SchemeEntry:
    check_payloads(given.at, payloads, f"{where}.at")
    check_payloads(given.payloads, payloads, f"{where}.payloads")
    entry = SchemeEntry(
        label=given.shown,
        name=given.name,
        parameters=given.parameters,
        at=given.at,
        payloads=tuple(given.payloads),
        tune=given.tune,
        reader=given.reader,
        finished=given.finished,
    )
    _check_scheme(entry.name, entry.parameters, where)
    if entry.finished and not SCHEMES[entry.name].one_shot:
        raise BadInput(f"{where}.finished: scheme '{entry.name}' marks only while training")
    _check_reader(entry, f"{where}.reader")
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


def _check_reader(entry: SchemeEntry, where: str) -> None:
    """Refuse a reader that is not known, or that cannot read this scheme."""
    try:
        find_reader(entry.reader).require(make_scheme(entry.name, entry.parameters))
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from error


def _check_tune(entry: SchemeEntry, where: str) -> None:
    """Refuse a strength that is no real number, choices the scheme does not take, and what is given as well."""
    if (tune := entry.tune) is None:
        return
    kinds = [f.type for f in fields(SCHEMES[entry.name]) if f.name == tune.parameter]  # none of an unknown name
    if kinds and kinds[0] not in (float, float | None):
        raise BadInput(f"{where}: '{tune.parameter}' of scheme '{entry.name}' takes no real number to search over")
    for strength, chosen in product((tune.low, tune.high), tune.combinations):
        _check_scheme(entry.name, {**entry.parameters, **chosen, tune.parameter: strength}, where)
    for name, given in product((tune.parameter, *tune.choices), (entry.parameters, *entry.at.values())):
        if name in given:
            raise BadInput(f"{where}: '{name}' is both given and tuned; drop one of the two")


def _attack_entry(given: AttackFields, where: str, payloads: Collection[int]) -> AttackEntry:
    check_payloads(given.payloads, payloads, f"{where}.payloads")
    attack = make_attack({"name": given.name, **given.parameters}, where)
    entry = AttackEntry(
        label=given.label or attack.label,
        attack=attack,
        strengths=tuple(given.strengths),
        payloads=tuple(given.payloads),
        lost=tuple(given.lost),
        between=(given.between[0], given.between[1]) if given.between else None,
    )
    _check_strengths(entry, entry.strengths, f"{where}.strengths")
    _check_between(entry, where)
    _check_lost(entry, where)
    return entry


def _check_strengths(entry: AttackEntry, strengths: Iterable[float], where: str) -> None:
    """Refuse, before anything is run, a strength that the attack refuses of every model."""
    for strength in strengths:
        try:
            entry.attack.check_strength(strength)
        except BadInput as error:
            raise BadInput(f"{where}: {error}") from error


def _check_between(entry: AttackEntry, where: str) -> None:
    """Refuse an attack with neither strengths nor bounds, with both, and bounds that nothing can lie between."""
    if entry.between is None:
        if not entry.strengths:
            raise BadInput(f"{where}: field 'strengths' is missing; with 'lost' it may be 'between' instead")
        return
    low, high = entry.between
    if entry.strengths:
        raise BadInput(f"{where}.between: 'strengths' are given too; drop one of the two")
    if not entry.lost:
        raise BadInput(f"{where}.between: it takes 'lost', the points for which strengths are to be found")
    _check_strengths(entry, entry.between, f"{where}.between")
    if low == high or middle(entry.attack, low, high) is None:
        raise BadInput(
            f"{where}.between: {entry.attack.name} takes no strength between {low:g} and {high:g}; "
            "give the mildest and the hardest, or strengths"
        )


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


def _reference(label: str | None, schemes: Sequence[SchemeEntry], where: str) -> SchemeEntry | None:
    if label is None:
        return None
    found = [entry for entry in schemes if entry.label == label]
    if not found:
        raise unknown_name("scheme", label, (entry.label for entry in schemes), where)
    if found[0].tune:
        raise BadInput(f"{where}: scheme '{label}' is tuned itself; name one with parameters of its own")
    return found[0]


def _check_labels(
    path: Path, schemes: Sequence[SchemeEntry], attacks: Sequence[AttackEntry], *, stop: bool
) -> None:
    """Refuse labels that would make entries of the calibration file, or reasons of a skip, mean two things."""
    labels = [entry.label for entry in schemes]
    _check_unique(labels, labels, "schemes", path)
    levelled = {entry.label for entry in attacks if entry.lost or stop}
    _check_unique([entry.label for entry in attacks], levelled, "attacks", path)


def _check_unique(labels: Sequence[str], unique: Collection[str], kind: str, path: Path) -> None:
    for label in labels:
        if label in unique and labels.count(label) > 1:
            raise BadInput(f"{path}: {kind}: two {kind} are labelled '{label}'; give one of them another label")
