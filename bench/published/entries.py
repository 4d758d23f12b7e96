"""The list of published results: one entry a result, in the order in which readers look at them."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from bench.suite import Suite, load_suite, narrow
from bench.suite.cell import Cell
from bench.support.schema import Fields, Name, Positive, validated
from bench.support.strict_yaml import read_yaml
from cwwm.support.errors import BadInput, unknown_name

LIST = "published.yaml"

Names = Annotated[list[Name], Field(min_length=1)]


class Entry(Fields):
    """One result, and what makes it: a suite, a study, or a command that a person runs.

    Attributes:
        result: a folder of records or a Markdown page, as a path below the folder of results.
        suite: what makes the records of a folder; `models`, `schemes`, `attacks`, `payloads`, `seeds` and
            `numerics` are the options of ``cwwm-bench run`` of these names.
        study: of `bench.studies`, what makes a page, with `arguments` as on its command line.
        made: the command that a person runs, of a result that is neither; with its `date` and `hardware`, and the
            commit that was its `source` if that is known.
        about: what it is, in a few words.
        reads: files whose content the page depends on, as patterns below the folder around that of results; what a
            pattern that begins with ! matches does not count.
        then: the command by which a person publishes a suite's run, which is then not packed.
        keeps: the study's option for the file of finished measurements that it goes on from.
        by_name: why it is run only where it is named.
    """

    result: Name
    about: str = ""
    suite: Name | None = None
    models: Names = Field([])
    schemes: Names = Field([])
    attacks: Names = Field([])
    payloads: Annotated[list[Positive], Field(min_length=1)] = Field([])
    seeds: Positive | None = None
    numerics: Name | None = None
    then: Name | None = None
    study: Name | None = None
    arguments: str = ""
    reads: Names = Field([])
    keeps: Name | None = None
    made: Name | None = None
    date: Name | None = None
    hardware: Name | None = None
    source: Name | None = None
    by_name: str = ""

    @model_validator(mode="after")
    def _one_maker(self) -> "Entry":
        """Refuse an entry with no maker or two, and fields of another kind of entry."""
        makers = [kind for kind in _FIELDS if getattr(self, kind) is not None]
        if len(makers) != 1:
            raise BadInput(
                f"'{self.result}' takes one of {', '.join(_FIELDS)}, not {' and '.join(makers) or 'none'}"
            )
        given = self.model_fields_set - {"result", "about", "by_name"}
        for name in sorted(given - {makers[0], *_FIELDS[makers[0]]}):
            raise BadInput(f"'{self.result}' is made by a {makers[0]}: drop '{name}'")
        if self.study and not self.result.endswith(".md"):
            raise BadInput(f"'{self.result}' is made by a study: a Markdown page, such as hosts.md")
        return self

    @property
    def cuts(self) -> dict[str, Any]:
        """Return how the suite is narrowed, as `bench.suite.narrow` takes it."""
        kinds = ("models", "schemes", "attacks", "payloads")
        return {kind: getattr(self, kind) for kind in kinds} | {"seeds": self.seeds}

    def narrowed(self) -> Suite:
        """Return the suite as the entry narrows it; BadInput for a name that it does not know."""
        if self.suite is None:
            raise BadInput(f"{self.result} is made by no suite")
        try:
            return narrow(load_suite(self.suite), **self.cuts)
        except BadInput as error:
            raise BadInput(f"{self.result}: {error}") from error

    def only(self, cells: Iterable[Cell]) -> "Entry":
        """Return the entry with as few models, schemes and attacks as these cells have, and maybe some more cells.

        Where a suite stops at what decides a run, an attack depends on those before it: all of them stay.
        """
        suite, wanted = self.narrowed(), list(cells)
        parts: dict[str, tuple[Sequence[str], set[str]]] = {
            "models": ([model.name for model in suite.models], {cell.host.model.name for cell in wanted}),
            "schemes": ([entry.label for entry in suite.schemes], {cell.mark.scheme.label for cell in wanted}),
        }
        if not suite.stop:
            parts["attacks"] = ([e.label for e in suite.attacks], {cell.attack.label for cell in wanted})
        fewer = {
            kind: [escape(name) for name in names if name in some]
            for kind, (names, some) in parts.items()
            if not some.issuperset(names)
        }
        return self.model_copy(update=fewer)

    def run_options(self) -> list[str]:
        """Return the suite and the options of ``cwwm-bench run``."""
        several = (("model", self.models), ("scheme", self.schemes), ("attack", self.attacks))
        payloads = [str(payload) for payload in self.payloads]
        options = [
            part
            for option, values in (*several, ("payload", payloads))
            for value in values
            for part in (f"--{option}", value)
        ]
        options += ["--seeds", str(self.seeds)] if self.seeds else []
        return [str(self.suite), *options, *(["--numerics", self.numerics] if self.numerics else [])]

    def study_arguments(self) -> list[str]:
        """Return the study's arguments but for the page."""
        return shlex.split(self.arguments)


_FIELDS = {
    "suite": ("models", "schemes", "attacks", "payloads", "seeds", "numerics", "then"),
    "study": ("arguments", "reads", "keeps"),
    "made": ("date", "hardware", "source"),
}


class _File(Fields):
    """The whole file."""

    results: Annotated[list[Entry], Field(min_length=1)]


@dataclass(frozen=True)
class Published:
    """The results of one folder, in the order of readers."""

    folder: Path
    entries: Sequence[Entry]

    def named(self, names: Iterable[str]) -> list[Entry]:
        """Return the entries of these names, in the list's order; BadInput for one that is not there.

        A page may be named without its ending where no folder has that name.
        """
        known = {entry.result for entry in self.entries}
        wanted = {name if name in known else f"{name}.md" for name in (name.rstrip("/") for name in names)}
        for name in sorted(wanted - known):
            raise unknown_name("result", name.removesuffix(".md"), known, str(self.folder / LIST))
        return [entry for entry in self.entries if entry.result in wanted]

    def of_page(self, page: str) -> Entry | None:
        """Return the entry of the study whose page has this name, if there is one."""
        return next((entry for entry in self.entries if entry.study and entry.result == page), None)


def read_published(folder: Path) -> Published:
    """Return the list of a folder of results.

    Raises:
        BadInput: one line, for a folder without a list, or a list of another form.
    """
    path = folder / LIST
    if not path.exists():
        raise BadInput(f"{path} is missing; run this in a checkout, or name the folder of results with --folder")
    entries = validated(_File, read_yaml(path), str(path)).results
    seen: set[str] = set()
    for entry in entries:
        if entry.result in seen:
            raise BadInput(f"{path}: '{entry.result}' has two entries; keep one")
        seen.add(entry.result)
    return Published(folder, entries)
