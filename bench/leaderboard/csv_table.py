"""The CSV of a leaderboard: a line a point, timings in columns of their own."""

import csv
import io
from collections.abc import Iterable, Sequence
from statistics import median

from bench.leaderboard.points import Point, RunRow
from bench.leaderboard.table_text import number_text
from bench.support.plain_text import in_spreadsheet

#: columns of the CSV that differ from run to run
TIMING_COLUMNS = (
    "embed_ms", "extract_ms", "attack_s", "step_ratio", "peak_bytes_marked", "peak_bytes_control"
)  # fmt: skip

#: columns of the CSV
CSV_COLUMNS = (
    "model", "scheme", "payload", "attack", "strength", "seeds", "exact", "exact_low", "exact_high", "law",
    "bit_error", "overlap", "log10_p_median", "accuracy_clean", "accuracy_marked", "accuracy_attacked",
    "points_lost", "points_lost_validation", "tier", "data_fraction", "compute_fraction", "energy",
    "noise_floor", "sparsity", *TIMING_COLUMNS,
)  # fmt: skip


def csv_text(points: Sequence[Point]) -> str:
    """Return one line a point, its seeds gathered, timing columns last."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows(map(in_spreadsheet, csv_row(point)) for point in points)
    return out.getvalue()


def csv_row(point: Point) -> list[object]:
    """Return the cells of a point, in the order of `CSV_COLUMNS`."""
    low, high = point.exact_interval
    hits, total = point.exact
    timing = [
        [run.record.timing.embed_ms for run in point.runs],
        [run.row.timing.extract_ms for run in point.runs],
        [run.row.timing.attack_s for run in point.runs],
        *([getattr(run.record.timing, name) for run in point.runs] for name in TIMING_COLUMNS[3:]),
    ]
    return [
        point.model, point.scheme, point.payload, point.attack, f"{point.strength:g}", total,
        f"{hits / total:.4f}", f"{low:.4f}", f"{high:.4f}", number_text(point.law, ".6g"),
        number_text(point.mean(lambda run: run.row.bit_error), ".4f"),
        number_text(point.mean(lambda run: run.row.overlap), ".4f"),
        number_text(point.evidence, ".3f"),
        number_text(point.mean(lambda run: run.record.host.accuracy.percent), ".3f"),
        number_text(point.mean(lambda run: run.record.marked.accuracy.percent), ".3f"),
        number_text(point.mean(lambda run: run.row.accuracy.percent), ".3f"),
        number_text(point.lost, ".3f"),
        number_text(point.mean(validation_lost), ".3f"),
        _largest(run.tier for run in point.runs),
        _largest(run.cost.data_fraction for run in point.runs),
        _largest(run.cost.compute_fraction or 0.0 for run in point.runs),
        number_text(point.mean(lambda run: run.record.marked.energy), ".4e"),
        number_text(point.mean(lambda run: run.record.marked.noise_floor), ".4e"),
        number_text(point.mean(lambda run: run.row.achieved.sparsity), ".5f"),
        *map(_median, timing),
    ]  # fmt: skip


def validation_lost(run: RunRow) -> float | None:
    """Return the accuracy that an attack cost on validation, points; None where that was not measured."""
    return run.record.validation_lost(run.row)


def _median(values: Iterable[float | None]) -> str:
    """Return the median of the values that there are: a finished model takes no steps, a CPU tells no memory."""
    there = [value for value in values if value is not None]
    return number_text(median(there) if there else None, ".4g")


def _largest(values: Iterable[float]) -> str:
    return f"{max(values):.4g}"
