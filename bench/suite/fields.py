"""What the YAML file of a suite holds, field by field; names and parameters are looked up by who loads it."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from bench.suite.calibration_file import Equal
from bench.suite.entries import Tune
from bench.support.schema import Fields, FromMapping, Name, Positive, refuse_numbers, validated
from bench.support.strict_yaml import read_yaml
from cwwm.readers import Blind
from cwwm.support.errors import BadInput

Numbers = Annotated[list[float], Field(min_length=1)]
Names = Annotated[list[Name], Field(min_length=1)]
Payloads = Annotated[list[Positive], Field(min_length=1)]


class _Entry(Fields):
    """A name with parameters, which stand beside the entry's own fields."""

    model_config = ConfigDict(extra="allow")

    name: Name
    label: Name | None = None
    payloads: Payloads = Field([])

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the fields that are not the entry's own."""
        return dict(self.model_extra or {})


def _entry(value: Any) -> Any:  # noqa: ANN401 (what YAML gave)
    """Return a mapping for an entry that is a name alone."""
    refuse_numbers(value)
    return {"name": value} if isinstance(value, str) else value


class SchemeFields(_Entry):
    """A scheme; see `SchemeEntry`. One with `readers` is an entry for each of them, of the same marks."""

    at: dict[Positive, dict[str, Any]] = Field({})
    reader: Name = Blind.name
    readers: Names = Field([])
    finished: bool = False
    tune: Annotated[Tune, FromMapping()] | None = None

    @property
    def shown(self) -> str:
        """Return the label, or else the name."""
        return self.label or self.name


class AttackFields(_Entry):
    """An attack; see `AttackEntry`."""

    strengths: Numbers = Field([])
    lost: Numbers = Field([])
    between: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None


class SuiteFile(Fields):
    """The whole file; see `Suite`."""

    models: Names
    schemes: Annotated[list[Annotated[SchemeFields, BeforeValidator(_entry)]], Field(min_length=1)]
    attacks: Annotated[list[Annotated[AttackFields, BeforeValidator(_entry)]], Field(min_length=1)]
    description: str = ""
    payloads: Payloads = Field([256])
    seeds: Positive = 1
    reference: Name | None = None
    equal: Equal = "energy"
    untrained: Names = Field([])
    stop: bool = False
    tuned_in: Name | None = None


def read_suite_file(path: Path) -> SuiteFile:
    """Read the YAML file of a suite; BadInput, one line, if it is not of this form."""
    return validated(SuiteFile, read_yaml(path), str(path))


def check_payloads(given: Iterable[int], known: Collection[int], where: str) -> None:
    """Raise BadInput for a payload in bits that is none of the suite's."""
    for payload in given:
        if payload not in known:
            raise BadInput(f"{where}: {payload} is none of the suite's payloads, {' '.join(map(str, known))}")
