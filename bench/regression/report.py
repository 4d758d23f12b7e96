"""A comparison in words and tables: Markdown for a summary, the same tables for the terminal, all lines as CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from bench.leaderboard.points import by_scheme, gather
from bench.leaderboard.table_text import table_text
from bench.records.record import Record
from bench.regression.compare import EQUAL, FAMILY_WISE, HELD, OPEN, WORSE, Comparison, Judgement, Side
from bench.regression.curves import ACCURACY, EVIDENCE, EXACT, Place
from bench.regression.pairs import Changed
from bench.support.plain_text import in_spreadsheet

Rows = list[tuple[object, ...]]
_SIDES = ("baseline [least, largest]", "now [least, largest]")
WORSE_COLUMNS = ("what", "metric", *_SIDES, "p, adjusted")
FEW = ("what", "metric", *_SIDES, "seeds a side that would judge it")
CHANGED = ("what", "seed", "strength", "worse", "fields that differ")
LINES_FILE, CHANGED_FILE = "comparison.csv", "changed.csv"
SHOWN = 12  # lines of a table in a summary; the rest is in these files

_DIGITS = {EXACT: 2, EVIDENCE: 1, ACCURACY: 2}


def verdict(comparison: Comparison) -> str:
    """Return one sentence on the outcome."""
    lines = len(comparison.judgements)
    if not lines:
        return "Nothing was compared: the two runs share no row of a trained model."
    if comparison.is_worse:
        found = [f"{len(comparison.regressions)} of {lines} lines got worse"] if comparison.regressions else []
        found += [f"{len(comparison.lost)} curves gave no result"] if comparison.lost else []
        return f"Worse: {', '.join(found)}."
    return f"No regression in {lines} lines: {_verdicts(comparison)}."


def _verdicts(comparison: Comparison) -> str:
    """Return how many lines have each verdict, and how many seeds those take that have too few."""
    said = {EQUAL: "equal bit by bit", HELD: HELD, WORSE: WORSE}
    counted = [f"{n} {words}" for kind, words in said.items() if (n := len(comparison.of(kind)))]
    if few := comparison.of(OPEN):
        most = max(j.needed or 0 for j in few)
        counted.append(f"{len(few)} with too few seeds ({most} a side would judge all of them)")
    return ", ".join(counted)


def worse_rows(comparison: Comparison, shown: int = SHOWN) -> Rows:
    """Return the table of regressions, the clearest first; one without p is worse in a row of equal conditions."""
    return [
        (
            name(j.place),
            j.metric,
            _side(j.before, j.metric),
            _side(j.after, j.metric),
            f"{j.p:.1e}" if j.p <= FAMILY_WISE else "-",
        )
        for j in comparison.regressions[:shown]
    ]


def changed_rows(changed: Iterable[Changed], shown: int | None = SHOWN) -> Rows:
    """Return a row for each reading that changed under equal conditions, what got worse first; all if None."""
    ordered = sorted(changed, key=lambda one: (not one.worse, one.spot))
    return [
        (name(one.spot.place), one.spot.seed, f"{one.spot.strength:g}", ", ".join(one.worse), ", ".join(one.what))
        for one in ordered[:shown]
    ]


def open_rows(comparison: Comparison, shown: int = SHOWN) -> Rows:
    """Return the table of lines with too few seeds, with how many would judge them."""
    return [
        (name(j.place), j.metric, _side(j.before, j.metric), _side(j.after, j.metric), j.needed)
        for j in comparison.of(OPEN)[:shown]
    ]


def markdown(comparison: Comparison, old: Sequence[Record], new: Sequence[Record]) -> str:
    """Return the sections of a summary: what got worse, what was lost, vanished and is new, and the speed."""
    changed, few = len(comparison.changed), comparison.unjudged
    parts = [
        f"**{verdict(comparison)}**",
        _table("Worse", WORSE_COLUMNS, worse_rows(comparison)),
        _more(len(comparison.regressions), "lines", LINES_FILE),
        _table("No result any more", ("what", "reason"), [(name(p), why) for p, why in comparison.lost.items()]),
        _table("Changed under equal conditions", CHANGED, changed_rows(comparison.changed)),
        _more(changed, "readings", CHANGED_FILE),
        _table("Too few seeds", FEW, open_rows(comparison)),
        _more(few, "lines", LINES_FILE),
        _table("Vanished rows", ("what", "strengths"), strengths_rows(comparison.vanished)),
        _table("New rows", ("what", "strengths"), strengths_rows(comparison.new)),
        _table("Speed: reported, not judged", SPEED, speed_rows(old, new)),
        f"{len(comparison.judgements)} lines: {_verdicts(comparison)}. {comparison.repeated} readings were made "
        f"under equal conditions, {changed} of them changed. Judged at a family-wise error of {FAMILY_WISE:g} over "
        "all lines.",
    ]
    return "\n\n".join(part for part in parts if part)


def _more(rows: int, what: str, file: str) -> str:
    return f"... and {rows - SHOWN} more {what}, in {file}" if rows > SHOWN else ""


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
    table.writerow([*Place._fields, "metric", *sides, "p", "verdict", "seeds needed"])
    for j in judgements:
        numbers = [f"{value:.6g}" for side in (j.before, j.after) for value in side]
        said = [f"{j.p:.3g}", j.verdict, "" if j.needed is None else j.needed]
        table.writerow(map(in_spreadsheet, [*j.place, j.metric, *numbers, *said]))
    return text.getvalue()


def changed_text(changed: Iterable[Changed]) -> str:
    """Return every reading that changed under equal conditions as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(CHANGED)
    table.writerows([in_spreadsheet(cell) for cell in row] for row in changed_rows(changed, None))
    return text.getvalue()
