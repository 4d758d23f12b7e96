"""The record store: a JSON file a cell, written atomically, or all packed in one; every table comes from it."""

import json
import lzma
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.records.fields import FORMAT
from bench.records.record import MalformedRecord, Record, parse_record, record_digest
from bench.records.run_file import RunFile, parse_run_file, read_run_file
from bench.records.schema import Json
from bench.support.collection import no_collection
from bench.support.git import current_commit
from bench.support.untrusted_io import (
    RECORD_BYTES,
    RECORDS_BYTES,
    archive_lines,
    parse_object,
    read_bounded,
    read_object,
)
from cwwm.support.errors import BadInput, EnvironmentFault
from cwwm.support.files import write_atomic, write_json

#: by (attack, model), the strength chosen for each level of points lost; None where even the mildest lost more
Levels = Mapping[tuple[str, str], Mapping[float, float | None]]


@dataclass(frozen=True)
class RecordStore:
    """The records of one output folder: files in ``cells/``, and those packed in ``records.jsonl.xz``.

    A packed folder holds the archive instead of ``cells/``; cells that are run into it get files of their own,
    and a file goes before a packed record of the same cell. The archive is read once a record store.
    """

    folder: Path

    @property
    def cells(self) -> Path:
        """Return the folder of the cell files."""
        return self.folder / "cells"

    @property
    def archive(self) -> Path:
        """Return the file of packed records: xz, one JSON record a line, in order of identity."""
        return self.folder / "records.jsonl.xz"

    @property
    def exists(self) -> bool:
        """Say whether the folder is one that holds records."""
        return self.cells.is_dir() or self.archive.is_file()

    def read(self, identity: str) -> Record | None:
        """Return the record of a cell, or None if it has none.

        Raises:
            BadInput: if the file or the archive is damaged: a digest does not match its content, or the record
                does not have the form of one.
        """
        value = self.stored(identity)
        if value is None:
            return None
        if value["identity"] != identity:
            raise BadInput(f"record {identity} of {self.folder} is damaged: it is that of {value['identity']}")
        try:
            return parse_record(value)
        except MalformedRecord as error:
            raise BadInput(
                f"record {identity} of {self.folder} is damaged: {error}; "
                f"cwwm-bench check {self.folder} says what is wrong with all of them"
            ) from error

    def stored(self, identity: str) -> Json | None:
        """Return what is stored as the record of a cell, whatever its form, or None.

        Raises:
            BadInput: if the file or the archive is damaged: a digest does not match its content.
        """
        path = self.cells / f"{identity}.json"
        return self._load(path) if path.exists() or path.is_symlink() else self._packed.get(identity)

    def write(self, record: Record) -> None:
        """Store a record under its identity.

        Raises:
            EnvironmentFault: if it cannot be written, or the folder is not the one that `plan` wrote to.
        """
        self.ensure_in_place()
        write_json(self.cells / f"{record.identity}.json", record.to_json())

    def plan(self, suite: str, identities: Sequence[str], levels: Levels | None = None) -> None:
        """Note which suite and cells the last run covered: a folder may also hold records of older source.

        Args:
            suite: its name.
            identities: of the cells.
            levels: by (attack, model), the strength chosen for each level of points lost on the unmarked model.
        """
        noted = [
            {"attack": attack, "model": model, "chosen": [[level, strength] for level, strength in chosen.items()]}
            for (attack, model), chosen in (levels or {}).items()
        ]
        run = {"suite": suite, "commit": current_commit(), "cells": list(identities), "levels": noted}
        write_json(self._plan, run)
        self.__dict__["_place"] = _place(self.folder)

    def ensure_in_place(self) -> None:
        """Raise EnvironmentFault if the folder that `plan` wrote to was removed or replaced since."""
        if (noted := self.__dict__.get("_place")) is not None and noted != _place(self.folder):
            raise EnvironmentFault(f"{self.folder} was removed or replaced while a run wrote to it; run it again")

    @property
    def suite(self) -> str:
        """Return the name of the suite last run here, or the folder's name if none was noted."""
        return self.folder.name if (run := self._noted) is None else run.suite

    @property
    def levels(self) -> Levels:
        """Return the strengths that the last run's attacks were given for levels of points lost."""
        levels = [] if (run := self._noted) is None else run.levels
        return {
            (entry.attack, entry.model): {level: strength for level, strength in entry.chosen if level is not None}
            for entry in levels
        }

    @property
    def covered(self) -> list[str]:
        """Return the identities of the cells that the last run covered, in its order; none if none was noted."""
        return [] if (run := self._noted) is None else run.cells

    def identities(self) -> list[str]:
        """Return the identities of the records that the last run covered (of all, if none was noted), sorted.

        Raises:
            BadInput: for a damaged run file or archive, or more records than are read at once.
        """
        files = list(self.cells.glob("*.json"))
        if (size := sum(path.lstat().st_size for path in files)) > RECORDS_BYTES:
            raise BadInput(f"the records in {self.cells} have {size:,} bytes; at most {RECORDS_BYTES:,} are read")
        found = {path.stem for path in files} | self._packed.keys()
        return sorted(found if (run := self._noted) is None else found.intersection(run.cells))

    @property
    def commit(self) -> str | None:
        """Return the commit of the source that last ran here, if it was noted."""
        return None if (run := self._noted) is None else run.commit

    @property
    def archived(self) -> str | None:
        """Return the note that these records are of older source, in one line, if they are kept as such."""
        note = None if (run := self._noted) is None else run.archived
        return None if note is None else f"Archived on {note.date}: {note.reason}"

    def note_archived(self, date: str, reason: str) -> None:
        """Note that the records are kept though the source went on; the next run here drops the note.

        Args:
            date: of today, as 2026-01-31.
            reason: what has changed since the records were made, in one line.

        Raises:
            BadInput: if no run was noted here.
        """
        run = read_object(self._plan, "run file") | {"archived": {"date": date, "reason": reason}}
        parse_run_file(run, self._plan)
        write_json(self._plan, run)

    def replace(self, records: Mapping[str, Record], note: Mapping[str, Any]) -> None:
        """Store records in the place of others, by the identities of these, and note in the run file why.

        Killed at any moment, the folder holds all of the old records or all of the new ones.
        """
        new = {record.identity: record.to_json() for record in records.values()}
        if self.archive.exists():
            self._write_archive({**self._packed, **new})
        for identity in records.keys() - self._packed.keys():
            write_json(self.cells / f"{records[identity].identity}.json", records[identity].to_json())
        if self._plan.exists():
            run = read_object(self._plan, "run file")
            run["cells"] = [records[cell].identity if cell in records else cell for cell in run["cells"]]
            run["restamped"] = [*run.get("restamped", []), dict(note)]
            write_json(self._plan, run)
        for identity in records.keys() - new.keys():
            (self.cells / f"{identity}.json").unlink(missing_ok=True)
        if self.archive.exists():
            self._write_archive({k: v for k, v in self._packed.items() if k not in records} | new)
        self.__dict__.pop("_packed", None)

    def _write_archive(self, records: Mapping[str, Json]) -> None:
        lines = [json.dumps(records[k], separators=(",", ":"), allow_nan=False) + "\n" for k in sorted(records)]
        write_atomic(self.archive, lzma.compress("".join(lines).encode()))

    @no_collection()
    def records(self) -> list[Record]:
        """Return the records that the last run covered (all, if none was noted), in order of identity."""
        return [record for record in map(self.read, self.identities()) if record is not None]

    def pack(self, folder: Path, *, made_alone: bool = False) -> "RecordStore":
        """Write the records that the last run covered into one archive in another folder, with the run file.

        Equal records give equal bytes.

        Args:
            folder: the other one.
            made_alone: note there only the cells that have a record, of a run that its budget cut.

        Raises:
            BadInput: if there is nothing to pack, a record is damaged, or `folder` has cell files, which would go
                before packed records.
        """
        self.ensure_packable(folder)
        packed = RecordStore(folder)
        records = {record.identity: record.to_json() for record in self.records()}
        packed._write_archive(records)
        if self._plan.exists() and made_alone:
            run = read_object(self._plan, "run file")
            write_json(packed._plan, run | {"cells": [cell for cell in run["cells"] if cell in records]})
        elif self._plan.exists():
            write_atomic(packed._plan, read_bounded(self._plan, "run file"))
        return packed

    def ensure_packable(self, folder: Path) -> None:
        """Raise BadInput if there is nothing to pack, or `folder` has cell files."""
        if RecordStore(folder).cells.exists():
            raise BadInput(f"{folder} has cell files of its own; pack into another folder")
        if not self.identities():
            raise BadInput(f"{self.folder} holds no records of its last run; there is nothing to pack")

    @property
    def _plan(self) -> Path:
        return self.folder / "run.json"

    @property
    def _noted(self) -> RunFile | None:
        """Return what the last run noted of itself, read anew: another process may run here."""
        return read_run_file(self._plan)

    @cached_property
    def _packed(self) -> dict[str, Json]:
        """Return the packed records by identity, verified."""
        return {record["identity"]: record for record in self._unpack()} if self.archive.exists() else {}

    def _unpack(self) -> Iterator[Json]:
        for number, line in enumerate(archive_lines(self.archive), 1):
            where = f"record {number} of {self.archive}"
            yield _verified(parse_object(line, where), where, "pack the run again")

    def _load(self, path: Path) -> Json:
        return _verified(
            read_object(path, "record", RECORD_BYTES), f"record {path}", "delete it to run its cell again"
        )


def _place(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another of its name; None if there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _verified(record: Json, where: str, remedy: str) -> Json:
    """Return the JSON of a record with a proper identity whose digest matches its content; else BadInput."""
    try:
        digest = record_digest(record)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where} is damaged: {error}; {remedy}") from error
    if record.get("format") != FORMAT or record.get("digest") != digest:
        raise BadInput(f"{where} is damaged: its digest does not match; {remedy}")
    if not re.fullmatch("[0-9a-f]{32}", str(record.get("identity"))):  # it names files
        raise BadInput(f"{where} is damaged: its identity is no digest; {remedy}")
    return record
