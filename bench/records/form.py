"""Whether a stored record has the form of one: what runs, tables and `check` rely on."""

from bench.records.fields import Record, is_untrained
from bench.records.schema import RecordFile, schema_faults
from bench.records.untrained_schema import UntrainedRecordFile


def form_faults(record: Record) -> list[str]:
    """Return where a record breaks the schema of its kind, one line each; empty if it keeps it."""
    return schema_faults(record, UntrainedRecordFile if is_untrained(record) else RecordFile)
