"""A Parquet file with a row a record row, and JSON beside its schema: the suite, and the cells that have no row."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from bench.exports.base import Export, Source
from bench.records.schema import Accuracy, Row, TrainedResult
from bench.records.untrained_schema import UntrainedResult, UntrainedRow

if TYPE_CHECKING:
    import pyarrow as pa

METADATA = "cwwm-bench"  # key of the JSON in the file's metadata
_TEXT, _WHOLE, _REAL, _TRUTH = "string", "int64", "float64", "bool"

#: columns with their types, those of the cell first; json_* hold an object as JSON text
COLUMNS = {
    "identity": _TEXT, "model": _TEXT, "family": _TEXT, "data": _TEXT, "weights": _TEXT, "scheme": _TEXT,
    "payload": _WHOLE, "seed": _WHOLE, "attack": _TEXT, "strength": _REAL, "strength_means": _TEXT,
    "reader": _TEXT, "applicable": _TRUTH, "recovered": _TRUTH, "bit_error": _REAL, "overlap": _REAL,
    "erased": _WHOLE, "log10_p": _REAL, "law": _REAL, "task": _TEXT, "correct": _WHOLE, "total": _WHOLE,
    "validation_correct": _WHOLE, "validation_total": _WHOLE, "marked_correct": _WHOLE, "host_correct": _WHOLE,
    "marked_recovered": _TRUTH, "marked_log10_p": _REAL, "energy": _REAL, "steps": _WHOLE, "samples": _WHOLE,
    "data_fraction": _REAL, "compute_fraction": _REAL, "free": _TRUTH, "attack_s": _REAL, "extract_ms": _REAL,
    "embed_ms": _REAL, "torch": _TEXT, "hardware": _TEXT, "device": _TEXT, "threads": _WHOLE, "date": _TEXT,
    "json_achieved": _TEXT, "json_statistics": _TEXT, "json_counts": _TEXT,
}  # fmt: skip


class Parquet(Export):
    """Tables of data: pandas, Polars, DuckDB, Arrow, Spark; needs pyarrow (pip install 'cwwm[parquet]')."""

    name: ClassVar[str] = "parquet"

    def files(self, source: Source) -> dict[str, bytes]:
        """Return records.parquet; its bytes also depend on the version of pyarrow."""
        import pyarrow.parquet as pq

        buffer = io.BytesIO()
        pq.write_table(_table(source), buffer, compression="zstd")
        return {"records.parquet": buffer.getvalue()}


def _table(source: Source) -> "pa.Table":
    import pyarrow as pa

    types = {_TEXT: pa.string(), _WHOLE: pa.int64(), _REAL: pa.float64(), _TRUTH: pa.bool_()}
    told = json.dumps(_about(source), allow_nan=False, sort_keys=True)
    schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()], metadata={METADATA: told})
    return pa.Table.from_pylist(list(_rows(source)), schema=schema)


def _about(source: Source) -> dict[str, Any]:
    """Return what no row says."""
    without = sorted((r for r in source.records if r.status != "ok"), key=lambda record: record.identity)
    return {
        "suite": source.suite,
        "commit": source.commit,
        "statuses": dict(Counter(record.status for record in source.records)),
        "cells without rows": [
            {**record.to_json()["key"], "status": record.status, "reason": record.reason} for record in without
        ],
    }


def _rows(source: Source) -> Iterator[dict[str, Any]]:
    """Yield the rows in order of what they are of."""
    done = [record for record in source.records if isinstance(record, TrainedResult | UntrainedResult)]
    for record in sorted(done, key=lambda record: (*record.key.curve, record.key.seed, record.identity)):
        if isinstance(record, TrainedResult):
            yield from ({**_of_cell(record), **_of_row(row), **_of_trained(record, row)} for row in record.rows)
        else:
            yield from ({**_of_cell(record), **_of_row(row), **_of_untrained(record, row)} for row in record.rows)


def _of_cell(record: TrainedResult | UntrainedResult) -> dict[str, Any]:
    recipe, environment = record.recipe, record.environment
    return {
        **{name: value for name, value in record.to_json()["key"].items() if name in COLUMNS},
        "identity": record.identity,
        "family": recipe.host.model.family,
        "strength_means": recipe.strength_means,
        "reader": recipe.reader,
        "embed_ms": record.timing.embed_ms,
        "marked_recovered": record.marked.recovered,
        "marked_log10_p": record.marked.log10_p,
        **{name: getattr(environment, name) for name in ("torch", "hardware", "device", "threads", "date")},
    }


def _of_row(row: Row | UntrainedRow) -> dict[str, Any]:
    names = ("strength", "applicable", "recovered", "overlap", "erased", "log10_p", "law")
    return {**{name: getattr(row, name) for name in names}, "json_achieved": _json(row.achieved.model_dump())}


def _of_trained(record: TrainedResult, row: Row) -> dict[str, Any]:
    cost = ("steps", "samples", "data_fraction", "compute_fraction", "free")
    return {
        "task": row.task,
        "bit_error": row.bit_error,
        **_counts("", row.accuracy),
        **_counts("validation_", row.validation),
        "marked_correct": record.marked.accuracy.correct,
        "host_correct": record.host.accuracy.correct,
        "energy": record.marked.energy,
        **{name: getattr(row.cost, name) for name in cost},
        "attack_s": row.timing.attack_s,
        "extract_ms": row.timing.extract_ms,
        "json_statistics": _json(row.statistics),
        "json_counts": _json(row.counts),
    }


def _of_untrained(record: UntrainedResult, row: UntrainedRow) -> dict[str, Any]:
    return {"attack_s": row.timing.get("attack_s"), "extract_ms": record.timing.extract_ms}


def _counts(lead: str, accuracy: Accuracy | None) -> dict[str, int]:
    return {} if accuracy is None else {f"{lead}correct": accuracy.correct, f"{lead}total": accuracy.total}


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False, sort_keys=True)
