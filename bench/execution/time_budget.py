"""A run inside a time budget: the most important cells first, none begun that would end too late."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from bench.execution.shared_models import host_names
from bench.execution.skipping import Skip, skip_none
from bench.records.fields import Amount, Name, Positive
from bench.suite import Suite
from bench.suite.cell import Cell
from bench.support.artifact_store import ArtefactStore
from bench.support.schema import plain_faults
from cwwm.support.errors import BadInput
from cwwm.support.files import read_json, write_json

_Cell = tuple[Name, Name, Positive, Name, Name, Amount]  # a kind, and the seconds that it took

DURATIONS = "durations.json"  # name of the file in the folder of a run
CUT = "cut.json"  # of what its budget cut
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_KEPT = 5  # durations of the latest cells of a kind; the longest of them is what the next may take


def parse_budget(text: str, option: str = "--budget") -> float:
    """Return the seconds of a budget such as 90s, 60m or 1.5h; BadInput, naming the option, for anything else."""
    number, unit = text[:-1], text[-1:]
    try:
        seconds = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise BadInput(f"{option} is a number with a unit, such as 90s, 60m or 1h, not '{text}'")
    return seconds


def by_importance(cells: Sequence[Cell], suite: Suite) -> list[Cell]:
    """Return cells with what may be cut last: all models, schemes and attacks at the first seed come first.

    Within a seed schemes come in the suite's order, and each on all models before the next.
    """
    schemes = {entry.label: number for number, entry in enumerate(suite.schemes)}
    payloads = {payload: number for number, payload in enumerate(suite.payloads)}

    def place(cell: Cell) -> tuple[int, int, int]:
        return cell.host.seed, payloads[cell.mark.payload], schemes[cell.mark.scheme.label]

    return sorted(cells, key=place)


class Kind(NamedTuple):
    """What tells how long a cell takes; `making` is the earliest model that must be made for it."""

    model: str
    scheme: str
    payload: int
    attack: str
    making: str

    @classmethod
    def of(cls, cell: Cell, store: ArtefactStore) -> "Kind":
        """Return the kind of a cell, given the models that are stored."""
        if not all(store.path(name).exists() for name in host_names(cell.host)):
            making = "host"
        else:
            making = "nothing" if store.path(cell.mark.identity).exists() else "mark"
        mark = cell.mark
        return cls(cell.host.model.name, mark.scheme.label, mark.payload, cell.attack.label, making)

    def likes(self) -> list[tuple[str | int, ...]]:
        """Return what to look for among the kinds measured, the most alike first."""
        return [
            self,
            ("attack on model", self.model, self.attack, self.making),
            ("attack", self.attack, self.making),
            ("model", self.model, self.making),
            ("making", self.making),
            ("any",),
        ]


class Durations:
    """The seconds that cells took, kept in a file from run to run of one machine."""

    def __init__(self, path: Path, hardware: str) -> None:
        """Read what is known from `path`, if it is of this hardware."""
        self._path, self._hardware = path, hardware
        self._seconds: dict[tuple[str | int, ...], deque[float]] = {}
        self.learn(path)

    def learn(self, path: Path) -> None:
        """Read what another file says of this hardware as well."""
        for model, scheme, payload, attack, making, seconds in _known(path, self._hardware):
            self._note(Kind(model, scheme, payload, attack, making), seconds)

    def add(self, kind: Kind, seconds: float) -> None:
        """Note how long a cell took."""
        self._note(kind, seconds)
        cells = [[*kind, s] for kind, known in self._seconds.items() if isinstance(kind, Kind) for s in known]
        write_json(self._path, {"hardware": self._hardware, "cells": cells})

    def expected(self, kind: Kind) -> float:
        """Return the longest of the latest durations of the cells most alike; 0 where nothing is known."""
        return next((max(self._seconds[like]) for like in kind.likes() if like in self._seconds), 0.0)

    def typical(self, likes: Iterable[tuple[str | int, ...]]) -> float | None:
        """Return the mean of the latest durations of the first of these kinds that was measured, if any was."""
        return next((mean(self._seconds[like]) for like in likes if like in self._seconds), None)

    def begin(self, cell: Cell, store: ArtefactStore) -> Callable[[float], None]:
        """Return what notes the seconds of a cell that begins, given the models that are stored."""
        return partial(self.add, Kind.of(cell, store))

    def _note(self, kind: Kind, seconds: float) -> None:
        for like in kind.likes():
            self._seconds.setdefault(like, deque(maxlen=_KEPT)).append(seconds)


class _DurationsFile(BaseModel):
    """What `Durations` keeps."""

    hardware: Name
    cells: list[_Cell]


def _known(path: Path, hardware: str) -> list[_Cell]:
    """Return what a file of durations says of this hardware; nothing where there is no file."""
    if not path.exists():
        return []
    value = read_json(path, "file of durations")
    try:
        found = _DurationsFile.model_validate(value)
    except ValidationError as error:
        raise BadInput(
            f"file of durations {path}: {plain_faults(error, value)[0]}; delete it, it holds no results"
        ) from error
    return found.cells if found.hardware == hardware else []


class TimeBudget:
    """Says which cells may begin, and hands them out in order while they are expected to end in time."""

    def __init__(
        self,
        cells: Sequence[Cell],
        *,
        deadline: float,
        durations: Durations,
        store: ArtefactStore,
        clock: Callable[[], float] = time.monotonic,
        skip: Skip = skip_none,
    ) -> None:
        """Pace `cells` towards `deadline`, a time of `clock`; those that `skip` gives a record take no time."""
        self._waiting = deque(cells)
        self._deadline, self._durations, self._store, self._clock = deadline, durations, store, clock
        self._skip = skip

    def __iter__(self) -> Iterator[Cell]:
        while self._waiting:
            if self._skip(self._waiting[0]) is not None:
                yield self._waiting.popleft()
                continue
            kind, began = Kind.of(self._waiting[0], self._store), self._clock()
            if not self._in_time(kind, began):
                return
            yield self._waiting.popleft()
            self._durations.add(kind, self._clock() - began)

    def may_begin(self, cell: Cell) -> bool:
        """Say whether a cell that begins now is expected to end in time."""
        return self._in_time(Kind.of(cell, self._store), self._clock())

    def _in_time(self, kind: Kind, began: float) -> bool:
        return began + self._durations.expected(kind) <= self._deadline


def cut_rows(cut: Sequence[Cell]) -> list[Mapping[str, Any]]:
    """Return what was cut, a row a (seed, scheme, payload, model), as JSON values."""
    rows: dict[tuple[int, str, int, str], list[str]] = {}
    for cell in cut:
        mark = cell.mark
        place = (mark.host.seed, mark.scheme.shown, mark.payload, mark.host.model.name)
        rows.setdefault(place, []).append(cell.attack.label)
    return [
        {"seed": seed, "scheme": scheme, "payload": payload, "model": model, "attacks": attacks}
        for (seed, scheme, payload, model), attacks in rows.items()
    ]


def write_cut(folder: Path, cut: Sequence[Cell]) -> None:
    """Note in the folder of a run what its budget cut."""
    write_json(folder / CUT, {"cells": cut_rows(cut)})


def read_cut(folder: Path) -> int:
    """Return how many cells the last run into a folder cut."""
    return sum(len(row["attacks"]) for row in read_json(folder / CUT, "list of what was cut")["cells"])
