"""What is to be equal in the records of one cell that was run twice."""

import math
from typing import Any

from bench.records.record import Record
from bench.records.schema import Json
from bench.suite.sources import is_stale

#: by how much of itself a fraction may differ between processors that round sums in another order
LAST_DIGITS = 1e-12


def same(value: Any, again: Any, tolerance: float) -> bool:  # noqa: ANN401 (JSON values)
    """Say whether two JSON values are equal, fractions but for so much of themselves."""
    if isinstance(value, dict) and isinstance(again, dict):
        return value.keys() == again.keys() and all(same(value[key], again[key], tolerance) for key in value)
    if isinstance(value, list) and isinstance(again, list):
        return len(value) == len(again) and all(map(same, value, again, [tolerance] * len(value)))
    if isinstance(value, float) and isinstance(again, float):
        return math.isclose(value, again, rel_tol=tolerance, abs_tol=0)
    return bool(value == again)


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
