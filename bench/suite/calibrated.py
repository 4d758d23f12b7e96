"""What calibration found for a suite: of its tuned schemes, here or in another suite, and of its attacks."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from bench.suite.calibration_file import SUFFIX, Equal, Strengths, read_strengths, strengths_path
from bench.suite.fields import SchemeFields, SuiteFile, read_suite_file
from cwwm.support.errors import BadInput, unknown_name


def calibrated(path: Path, file: SuiteFile, levelled: Collection[str]) -> Strengths:
    """Return the strengths that hold for the suite in `path`, whose attacks `levelled` have points to be lost.

    Raises:
        BadInput: for a scheme, an attack or terms that are not the suite's; if the suite that it is tuned in is not
            there, or tunes a scheme of this one otherwise.
    """
    own = read_strengths(strengths_path(path))
    tuned = [scheme for scheme in file.schemes if scheme.tune is not None]
    known = [] if file.tuned_in else [scheme.shown for scheme in tuned]
    where = strengths_path(path)
    _check_known((label for label, _ in own.attacks), levelled, "attack with 'lost'", f"{where}: attacks")
    _check_known((label for label, _, _ in own.values), known, "tuned scheme", f"{where}: values")
    if file.tuned_in is None:
        return _on_terms(own, path, file.equal)
    other = path.with_name(f"{file.tuned_in}.yaml")
    _check_same(tuned, other, f"{path}: tuned_in")
    theirs = _on_terms(read_strengths(strengths_path(other)), other, file.equal)
    return replace(theirs, attacks=own.attacks)


def _check_known(labels: Iterable[str], known: Collection[str], what: str, where: str) -> None:
    for label in labels:
        if label not in known:
            raise unknown_name(what, label, known, where)


def _on_terms(strengths: Strengths, path: Path, equal: Equal) -> Strengths:
    """Return strengths that were found on a suite's own terms; BadInput for others."""
    if strengths.values and strengths.equal != equal:
        raise BadInput(
            f"{strengths_path(path)}: its strengths were found at equal {strengths.equal}, and the suite asks for "
            f"equal {equal}; delete it and calibrate again"
        )
    return strengths


def _check_same(tuned: Iterable[SchemeFields], other: Path, where: str) -> None:
    """Refuse schemes that the other suite does not have, or tunes otherwise: its strengths would not be theirs."""
    if not other.exists():
        names = [p.stem for p in other.parent.glob("*.yaml") if not p.name.endswith(SUFFIX)]
        raise unknown_name("suite", other.stem, names, where)
    file = read_suite_file(other)
    if file.tuned_in is not None:
        raise BadInput(f"{where}: suite {other.stem} is tuned in {file.tuned_in} itself; name that one")
    theirs = {scheme.shown: scheme for scheme in file.schemes}
    for scheme in tuned:
        found = theirs.get(scheme.shown)
        if found is None or any(_made(found)[part] != made for part, made in _made(scheme).items()):
            raise BadInput(f"{where}: suite {other.stem} tunes no scheme '{scheme.shown}' with these parameters")


def _made(scheme: SchemeFields) -> dict[str, object]:
    return {"name": scheme.name, "parameters": scheme.parameters, "at": scheme.at, "tune": scheme.tune}
