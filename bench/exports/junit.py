"""JUnit XML of the regression gate: a case a scheme, payload and attack, red where the gate finds it worse.

The gate is that of nightly runs (`bench.regression`): what it calls worse, or no longer measured, is a failure.
Cells that failed are errors, with a baseline and without one. A case that says nothing is skipped: all of its cells
were refused, or too few seeds judge it.
"""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from bench.exports.base import Export, Source
from bench.leaderboard.compatibility import shortfalls
from bench.records.record import Record
from bench.records.schema import TrainedResult
from bench.records.untrained_schema import UntrainedResult
from bench.regression import compare
from bench.regression.compare import OPEN, WORSE, Comparison, Judgement
from bench.regression.curves import Place
from bench.regression.report import name as in_words
from bench.support.plain_text import plain

_SHOWN = 50  # lines of a case
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


class Title(NamedTuple):
    """What a case is of, on all models."""

    scheme: str
    payload: int
    attack: str


@dataclass
class Case:
    """What is known of a scheme under an attack, a line a fact.

    Attributes:
        worse: what the gate found. failed: cells. unjudged: why something says nothing; told beside a case that
            passes, and why it is skipped if nothing else is known. notes: what else is told.
        measured: something was measured and is fine. seconds: that its attacks took.
    """

    worse: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    measured: bool = False
    seconds: float = 0.0

    @property
    def result(self) -> tuple[str, str, Sequence[str]] | None:
        """Return the element, its type and its lines; None for a case that passes."""
        if self.worse:
            return "failure", "regression", [*self.worse, *self.failed]
        if self.failed:
            return "error", "failed cells", self.failed
        return None if self.measured else ("skipped", "not judged", self.unjudged)


class JUnit(Export):
    """Every CI and code host that shows tests: the regression gate as a test report."""

    name: ClassVar[str] = "junit"

    def files(self, source: Source) -> dict[str, bytes]:
        """Return junit.xml."""
        root = _report(source, _cases(source))
        ET.indent(root, " ")
        return {"junit.xml": ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"}


def _cases(source: Source) -> dict[Title, Case]:
    cases: dict[Title, Case] = {}
    compared = source.baseline is not None
    for record in sorted(source.records, key=lambda record: (record.key.model, record.key.seed, record.identity)):
        _add_record(cases.setdefault(Title(*record.key.curve[1:]), Case()), record, compared=compared)
    if source.baseline is not None:
        _add_comparison(cases, compare(source.baseline, source.records))
    return dict(sorted(cases.items()))


def _add_record(case: Case, record: Record, *, compared: bool) -> None:
    told = f"{record.key.model}, seed {record.key.seed}: {record.status}: {record.reason}"
    if record.failed:
        case.failed.append(told)
    elif isinstance(record, TrainedResult):
        case.measured |= not compared  # else the comparison says whether it is fine
        case.seconds += sum(row.timing.attack_s for row in record.rows)
    elif isinstance(record, UntrainedResult):
        case.measured = True
        case.seconds += sum(sum(row.timing.values()) for row in record.rows)
        case.notes += [f"{record.key.model}, {record.key.weights}: {short}" for short in shortfalls(record)]
    else:
        case.unjudged.append(told)


def _add_comparison(cases: dict[Title, Case], comparison: Comparison) -> None:
    for judgement in comparison.judgements:
        _add_judgement(_of(cases, judgement.place), judgement)
    for place, reason in comparison.lost.items():
        _of(cases, place).worse.append(f"{in_words(place)}: gave a result in the baseline, now {reason}")
    for place, strengths in comparison.vanished.items():
        _of(cases, place).unjudged.append(f"{in_words(place)}: only the baseline has {_numbers(strengths)}")
    for place, strengths in comparison.new.items():
        case = _of(cases, place)
        case.measured = True
        case.notes.append(f"{in_words(place)}: the baseline has no {_numbers(strengths)}")


def _of(cases: dict[Title, Case], place: Place) -> Case:
    return cases.setdefault(Title(*place[1:]), Case())


def _add_judgement(case: Case, judgement: Judgement) -> None:
    what = f"{in_words(judgement.place)}: {judgement.metric}"
    if judgement.verdict == WORSE:
        sides = f"{judgement.before.mean:.6g} in the baseline, {judgement.after.mean:.6g} now"
        case.worse.append(f"{what}: {sides}, adjusted p = {judgement.p:.1e}")
    elif judgement.verdict == OPEN:
        case.unjudged.append(f"{what}: some seed got worse; {judgement.needed} seeds a side would judge it")
    else:
        case.measured = True


def _numbers(strengths: Iterable[float]) -> str:
    return "strength " + " ".join(f"{strength:g}" for strength in strengths)


def _report(source: Source, cases: dict[Title, Case]) -> ET.Element:
    """Return the report: a suite a scheme and payload."""
    root = ET.Element("testsuites", {"name": f"cwwm-bench {source.suite}", **_counted(cases.values())})
    for scheme, payload in dict.fromkeys((title.scheme, title.payload) for title in cases):
        own = {title: case for title, case in cases.items() if title[:2] == (scheme, payload)}
        about = f"{scheme}, {payload} bits" if payload else scheme
        suite = ET.SubElement(root, "testsuite", {"name": about, **_counted(own.values()), **_ended(source)})
        for title, case in own.items():
            _add_case(suite, f"{source.suite}.{about}", title.attack, case)
    return root


def _counted(cases: Iterable[Case]) -> dict[str, str]:
    known = list(cases)
    kinds = Counter(case.result[0] for case in known if case.result)
    counts = {"failures": kinds["failure"], "errors": kinds["error"], "skipped": kinds["skipped"]}
    seconds = sum(case.seconds for case in known)
    return {"tests": str(len(known)), **{kind: str(n) for kind, n in counts.items()}, "time": f"{seconds:.3f}"}


def _ended(source: Source) -> dict[str, str]:
    """Return when the last cell ended, as its record says, in UTC without the zone."""
    latest = max((record.environment.date for record in source.records), default="")
    found = _TIME.match(latest)
    return {"timestamp": found[0]} if found else {}


def _add_case(suite: ET.Element, group: str, attack: str, case: Case) -> None:
    named = {"classname": plain(group), "name": plain(attack), "time": f"{case.seconds:.3f}"}
    element = ET.SubElement(suite, "testcase", named)
    if case.result:
        kind, about, lines = case.result
        told = [plain(" ".join(line.split())) for line in lines]
        message = f"{told[0]}{f' (and {len(told) - 1} more)' if told[1:] else ''}" if told else about
        ET.SubElement(element, kind, {"type": about, "message": message}).text = _text(told)
    if beside := case.notes + case.unjudged * (case.result is None):
        ET.SubElement(element, "system-out").text = _text(beside)


def _text(lines: Sequence[str]) -> str:
    more = [f"... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n".join([*map(plain, lines[:_SHOWN]), *more])
