"""The journal: one JSON file a cell, written atomically; every table is derived from it."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cwwm.errors import BadInput
from cwwm.files import read_json, write_json
from cwwm.seeds import canonical_json

FORMAT = "cwwm-bench-record v1"
FINAL = ("ok", "refused", "not-applicable")

Record = dict[str, Any]


def record_digest(record: Record) -> str:
    """Return SHA-256 of a record without its own digest."""
    return hashlib.sha256(canonical_json({k: v for k, v in record.items() if k != "digest"})).hexdigest()


@dataclass(frozen=True)
class Journal:
    """The records of one output folder, in ``cells/``."""

    folder: Path

    @property
    def cells(self) -> Path:
        """Return the folder of the cell files."""
        return self.folder / "cells"

    def read(self, identity: str) -> Record | None:
        """Return the record of a cell, or None if it has none.

        Raises:
            BadInput: if the file is damaged: its digest does not match its content.
        """
        path = self.cells / f"{identity}.json"
        return self._load(path) if path.exists() else None

    def write(self, record: Record) -> None:
        """Store a record under its identity, with its digest."""
        record = {"format": FORMAT, **record}
        record["digest"] = record_digest(record)
        write_json(self.cells / f"{record['identity']}.json", record)

    def plan(self, suite: str, identities: Sequence[str]) -> None:
        """Note which suite and cells the last run covered: a folder may also hold records of older source."""
        write_json(self._plan, {"suite": suite, "cells": list(identities)})

    @property
    def suite(self) -> str:
        """Return the name of the suite last run here, or the folder's name if none was noted."""
        return str(read_json(self._plan, "run file")["suite"]) if self._plan.exists() else self.folder.name

    def records(self) -> Iterator[Record]:
        """Yield the records that the last run covered (all, if none was noted), in order of identity."""
        noted = set(read_json(self._plan, "run file")["cells"]) if self._plan.exists() else None
        for path in sorted(self.cells.glob("*.json")):
            if noted is None or path.stem in noted:
                yield self._load(path)

    @property
    def _plan(self) -> Path:
        return self.folder / "run.json"

    def _load(self, path: Path) -> Record:
        record = read_json(path, "record")
        if record.get("format") != FORMAT or record.get("digest") != record_digest(record):
            raise BadInput(f"record {path} is damaged: its digest does not match; delete it to run its cell again")
        return record
