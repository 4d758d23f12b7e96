"""A record as it travels: typed and frozen once its form is sound, with the JSON of its file behind it."""

import hashlib
import json

from pydantic import ValidationError

from bench.records.fields import FORMAT, KIND
from bench.records.schema import Attempt, Json, TrainedRecord, TrainedResult
from bench.records.untrained_schema import UntrainedRecord, UntrainedResult
from bench.support.schema import plain_faults
from cwwm.support.errors import BadInput
from cwwm.support.seeds import canonical_json

Record = TrainedRecord | UntrainedRecord


class MalformedRecord(BadInput):
    """JSON that breaks the schema of a record; its arguments are the faults, one line each."""

    def __str__(self) -> str:
        return str(self.args[0])


def parse_record(value: Json) -> Record:
    """Return the record that signed JSON holds, of the class for its kind and status; it is validated here alone.

    Raises:
        MalformedRecord: if it breaks the schema.
    """
    try:
        record = _schema(value).model_validate(value)
    except ValidationError as error:
        raise MalformedRecord(*plain_faults(error, value)) from error
    record._json = value
    return record


def _schema(value: Json) -> type[Record]:
    ok = value.get("status") == "ok"
    if value.get("kind") == KIND:
        return UntrainedResult if ok else UntrainedRecord
    return TrainedResult if ok else TrainedRecord


def new_record(value: Json) -> Record:
    """Return the record of what a cell gave, as its file will hold it, with format and digest.

    Raises:
        MalformedRecord: if it breaks the schema.
    """
    signed = {"format": FORMAT, **{k: v for k, v in value.items() if k != "digest"}}
    return parse_record(json.loads(json.dumps({**signed, "digest": record_digest(signed)}, allow_nan=False)))


def changed(record: Record, **parts: object) -> Record:
    """Return a record with other parts, JSON values, and the digest of the whole."""
    return new_record({**record.to_json(), **parts})


def with_attempts(record: Record, earlier: Record | None) -> Record:
    """Return a record that keeps the earlier tries of its cell."""
    if earlier is None:
        return changed(record, attempts=[])
    told = {"status": earlier.status, "reason": earlier.reason or "", "date": earlier.environment.date}
    tries = [*earlier.attempts, Attempt(**told, fatal=earlier.fatal)]
    return changed(record, attempts=[one.model_dump(exclude_defaults=True) for one in tries])


def record_digest(value: Json) -> str:
    """Return SHA-256 of a record's JSON without its own digest."""
    return hashlib.sha256(canonical_json({k: v for k, v in value.items() if k != "digest"})).hexdigest()
