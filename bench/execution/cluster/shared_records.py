"""Records in the shared folder: a file a cell; the first that ends a cell stays, whoever else comes to it."""

import json

from bench.execution.cluster.shared_folder import SharedFolder
from bench.records.record import Record, parse_record, record_digest
from bench.support.untrusted_io import parse_object
from cwwm.support.errors import BadInput

CELLS = "cells"


class SharedRecords:
    """Reads and adds records; each is held against its digest when it is read."""

    def __init__(self, shared: SharedFolder) -> None:
        """Keep them in the folder ``cells`` of a shared one."""
        self._shared = shared

    def identities(self) -> set[str]:
        """Return the identities of the cells that have a record."""
        return {name.removesuffix(".json") for name in self._shared.names(CELLS)}

    def read(self, identity: str) -> Record | None:
        """Return the record of a cell, or None if it has none.

        Raises:
            BadInput: if the file is damaged.
        """
        data = self._shared.read(_name(identity))
        if data is None:
            return None
        where = f"record {_name(identity)} of {self._shared.url}"
        value = parse_object(data, where)
        if value.get("digest") != record_digest(value) or value.get("identity") != identity:
            raise BadInput(f"{where} is damaged: its digest does not match; delete it to run its cell again")
        return parse_record(value)

    def settle(self, record: Record, before: Record | None) -> Record:
        """Store what follows the record `before` of its cell, and return the record that is there then.

        That is another one if somebody else was first.
        """
        data = (json.dumps(record.to_json(), indent=1, allow_nan=False) + "\n").encode()
        if before is not None:
            self._shared.write(_name(record.identity), data)
            return record
        if self._shared.add(_name(record.identity), data):
            return record
        return self.read(record.identity) or record


def digest_of(record: Record | None) -> str | None:
    """Return the digest that a record carries; None without a record."""
    return None if record is None else str(record.to_json()["digest"])


def _name(identity: str) -> str:
    return f"{CELLS}/{identity}.json"
