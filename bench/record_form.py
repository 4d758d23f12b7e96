"""Whether a stored record has the form of one: what runs, tables and `check` rely on."""

from bench.compatibility import is_untrained
from bench.compatibility.record_schema import UntrainedRecordFile
from bench.journal import Record
from bench.record_schema import RecordFile, schema_faults


def form_faults(record: Record) -> list[str]:
    """Return where a record breaks the schema of its kind, one line each; empty if it keeps it."""
    return schema_faults(record, UntrainedRecordFile if is_untrained(record) else RecordFile)
