"""The journal: one JSON file a cell, written atomically; every table is derived from it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cwwm.errors import BadInput
from cwwm.files import read_json, write_json
from cwwm.seeds import canonical_json

FORMAT = "cwwm-bench-record v1"
FINAL = ("ok", "refused", "not-applicable")
RETRIED = ("failed", "out-of-memory")

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

    def records(self) -> Iterator[Record]:
        """Yield all records, in the order of their identities."""
        for path in sorted(self.cells.glob("*.json")):
            yield self._load(path)

    def _load(self, path: Path) -> Record:
        record = read_json(path, "record")
        if record.get("format") != FORMAT or record.get("digest") != record_digest(record):
            raise BadInput(f"record {path} is damaged: its digest does not match; delete it to run its cell again")
        return record
