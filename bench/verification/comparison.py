"""What is to be equal in the records of one cell that was run twice."""

from bench.records.record import Record
from bench.records.schema import Json
from bench.suite.sources import is_stale


def reproducible(record: Record) -> Json:
    """Return the JSON of a record that the same source gives again on the same machine: no timings, no date."""
    dropped = ("timing", "environment", "digest", "attempts", "format", "beside", "restamped")
    kept = {key: value for key, value in record.to_json().items() if key not in dropped}
    kept["rows"] = [{k: v for k, v in row.items() if k != "timing"} for row in kept.get("rows", [])]
    return kept


def comparable(record: Record, again: Record) -> tuple[Json, Json]:
    """Return the JSON that is to be equal in a record and in that of the same cell run again.

    Detection is, where the same source measured it.
    """
    old, new = reproducible(record), reproducible(again)
    if is_stale(record):
        for kept in (old, new):
            kept["marked"] = {k: v for k, v in kept["marked"].items() if k not in ("null", "covertness")}
    return old, new
