"""A comparison in words and tables: Markdown for a summary, the same tables for the terminal, all lines as CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from bench.leaderboard.points import by_scheme, gather
from bench.leaderboard.table_text import table_text
from bench.records.record import Record
from bench.regression.compare import FAMILY_WISE, Comparison, Judgement, Side
from bench.regression.curves import ACCURACY, EVIDENCE, EXACT, Place
from bench.support.plain_text import in_spreadsheet

Rows = list[tuple[object, ...]]
WORSE = ("what", "metric", "baseline [least, largest]", "now [least, largest]", "p, adjusted")
SHOWN = 12  # lines of a table in a summary; the rest is in comparison.csv

_DIGITS = {EXACT: 2, EVIDENCE: 1, ACCURACY: 2}


def verdict(comparison: Comparison) -> str:
    """Return one sentence on the outcome."""
    lines = len(comparison.judgements)
    if not lines:
        return "Nothing was compared: the two runs share no rows."
    if comparison.is_worse:
        found = [f"{len(comparison.regressions)} of {lines} lines got worse"] if comparison.regressions else []
        found += [f"{len(comparison.lost)} curves gave no result"] if comparison.lost else []
        return f"Worse: {', '.join(found)}."
    return f"No regression in {lines} lines" + (
        f", of which {comparison.unjudged} had too few seeds to judge." if comparison.unjudged else "."
    )


def worse_rows(comparison: Comparison, shown: int = SHOWN) -> Rows:
    """Return the table of regressions, the clearest first."""
    return [
        (name(j.place), j.metric, _side(j.before, j.metric), _side(j.after, j.metric), f"{j.p:.1e}")
        for j in comparison.regressions[:shown]
    ]


def markdown(comparison: Comparison, old: Sequence[Record], new: Sequence[Record]) -> str:
    """Return the sections of a summary: what got worse, what was lost, vanished and is new, and the speed."""
    more = len(comparison.regressions) - SHOWN
    parts = [
        f"**{verdict(comparison)}**",
        _table("Worse", WORSE, worse_rows(comparison)),
        f"... and {more} more lines, in comparison.csv" if more > 0 else "",
        _table("No result any more", ("what", "reason"), [(name(p), why) for p, why in comparison.lost.items()]),
        _table("Vanished rows", ("what", "strengths"), strengths_rows(comparison.vanished)),
        _table("New rows", ("what", "strengths"), strengths_rows(comparison.new)),
        _table("Speed: reported, not judged", SPEED, speed_rows(old, new)),
        f"Judged at a family-wise error of {FAMILY_WISE:g} over all {len(comparison.judgements)} lines; "
        f"{comparison.unjudged} of them had too few seeds for any test.",
    ]
    return "\n\n".join(part for part in parts if part)


def _table(title: str, columns: Sequence[str], rows: Rows) -> str:
    if not rows:
        return ""
    return f"### {title}\n\n" + table_text((list(columns), [list(row) for row in rows]))


def strengths_rows(places: Mapping[Place, Iterable[float]]) -> Rows:
    """Return a row a curve with its strengths."""
    return [(name(place), " ".join(f"{s:g}" for s in strengths)) for place, strengths in places.items()]


SPEED = ("scheme", "bits", "embed ms, baseline", "now", "extract ms, baseline", "now")


def speed_rows(old: Sequence[Record], new: Sequence[Record]) -> Rows:
    """Return the median times of embedding and extraction of both runs, a row a scheme that both have."""
    before, after = by_scheme(gather(old)), by_scheme(gather(new))
    rows: Rows = []
    for scheme in sorted(before.keys() & after.keys()):
        runs = [[run for point in side[scheme] for run in point.runs] for side in (before, after)]
        times = [
            f"{sorted(getattr(run.record.timing, kind) for run in side)[len(side) // 2]:.3g}"
            for kind in ("embed_ms", "extract_ms")
            for side in runs
        ]
        rows.append((*scheme, *times))
    return rows


def name(place: Place) -> str:
    """Return a curve in words."""
    bits = f" {place.payload} bits" if place.payload else ""
    return f"{place.model}, {place.scheme}{bits}: {place.attack}"


def _side(side: Side, metric: str) -> str:
    digits = _DIGITS[metric]
    return f"{side.mean:.{digits}f} [{side.least:.{digits}f}, {side.largest:.{digits}f}] of {side.seeds}"


def csv_text(judgements: Iterable[Judgement]) -> str:
    """Return every line of the comparison as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    sides = [f"{side} {what}" for side in ("baseline", "now") for what in Side._fields]
    table.writerow([*Place._fields, "metric", *sides, "p"])
    for j in judgements:
        numbers = [f"{value:.6g}" for side in (j.before, j.after) for value in side]
        table.writerow(map(in_spreadsheet, [*j.place, j.metric, *numbers, f"{j.p:.3g}"]))
    return text.getvalue()
