"""What an export is: files of one format, made from the records of a run and, if there is one, of its baseline."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from bench.exports.lines import Line, lines_of
from bench.records.record import Record
from bench.records.store import RecordStore


@dataclass(frozen=True)
class Source:
    """What an export is made from, and nothing else: no clock, no network, no settings of the machine.

    Attributes:
        suite: its name. commit: of the source that ran it, where it was noted.
        records: of its last run. baseline: the accepted records of the same suite; None where there are none.
    """

    suite: str
    commit: str | None
    records: Sequence[Record]
    baseline: Sequence[Record] | None = None

    @classmethod
    def of(cls, record_store: RecordStore, baseline: RecordStore | None = None) -> "Source":
        """Return the records of a folder and of its baseline, in order of identity.

        Raises:
            BadInput: if a record or a run file is damaged.
        """
        accepted = baseline.records() if baseline else None
        return cls(record_store.suite, record_store.commit, record_store.records(), accepted)

    @cached_property
    def lines(self) -> list[Line]:
        """Return what was measured, a line a model, scheme, payload, attack and strength."""
        return lines_of(self.records)

    @cached_property
    def targets(self) -> Mapping[tuple[object, ...], Line]:
        """Return the lines of the baseline by what they are of."""
        return {line.where: line for line in lines_of(self.baseline or ())}


class Export(ABC):
    """A format. A class of it has a name; its docstring's first line says who reads it."""

    name: ClassVar[str]

    @abstractmethod
    def files(self, source: Source) -> dict[str, bytes]:
        """Return the content of each file by its name; equal records give equal bytes."""


def json_bytes(value: Mapping[str, object] | Sequence[object]) -> bytes:
    """Return a JSON object or array as a file, a member a line; no number is other than finite."""
    if isinstance(value, Mapping):
        ends, members = "{}", [f"{_json(key)}: {_json(item)}" for key, item in value.items()]
    else:
        ends, members = "[]", [_json(item) for item in value]
    return "\n".join([ends[0], ",\n".join(members), ends[1], ""] if members else [ends, ""]).encode()


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False)
