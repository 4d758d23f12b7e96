"""The tables of a leaderboard, in Markdown (by tabulate) and as CSV; timings stand in columns of their own."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean, median

from tabulate import tabulate

from bench.leaderboard.capacity import capacity_tables, several_payloads
from bench.leaderboard.detection import (
    ABOUT_DETECTABILITY,
    ABOUT_DETECTION,
    detectability_table,
    detection_table,
)
from bench.leaderboard.levels import ABOUT_LEVELS, at_levels, levels_asked, levels_table
from bench.leaderboard.points import Point, by_scheme, mean_known
from bench.leaderboard.ranking import USEFUL, Standing, mean_price, rank
from bench.metrics.accuracy import rate_interval
from bench.records.record import Record
from bench.records.schema import TrainedResult
from bench.records.store import Levels
from bench.support.plain_text import in_markdown, in_spreadsheet
from cwwm.ownership.evidence import PROOF_RATE

#: columns of the CSV that differ from run to run
TIMING_COLUMNS = (
    "embed_ms", "extract_ms", "attack_s", "step_ratio", "peak_bytes_marked", "peak_bytes_control"
)  # fmt: skip

#: columns of the CSV
CSV_COLUMNS = (
    "model", "scheme", "payload", "attack", "strength", "seeds", "exact", "exact_low", "exact_high", "law",
    "bit_error", "overlap", "log10_p_median", "accuracy_clean", "accuracy_marked", "accuracy_attacked",
    "points_lost", "energy", "noise_floor", "sparsity", *TIMING_COLUMNS,
)  # fmt: skip

ABOUT_RANKING = (
    "By the price of removal: accuracy points an attacker loses at the cheapest attack after which the message "
    'does not come back ("> x": no attack did it, the dearest cost x). Price of proof: after which the mark is not '
    f"provable at {PROOF_RATE:g}. Held: the share of messages recovered over all attacks that leave the model "
    "useful (at most 3 points lost). Worst exact: the lowest such share of one attack on one model, with its 95 % "
    "interval."
)
ABOUT_LAW = (
    "Predicted probability that the message is recovered, and the share that was. Beyond the rate designed for, "
    "the law supposes hosts with magnitudes like those of all weights that are ranked together."
)
ABOUT_CAPACITY = (
    "The largest payload in bits that was recovered in every run (models x seeds; a host that refused it counts "
    'as lost) at each strength, with the mean energy of its marks; "-": none did.'
)

_NAMED = 3  # of what stands behind one reason

Table = tuple[list[str], list[list[object]]]


def markdown(head: str, records: Sequence[Record], points: Sequence[Point], levels: Levels) -> str:
    """Return the whole leaderboard page: the ranking first, what gave no result last.

    Only the section "Speed" depends on the run. `head` stands above all.
    """
    sections = [
        head,
        _summary(records),
        f"## Ranking\n\n{ABOUT_RANKING}",
        _by_payload(points, lambda own: ranking_table(rank(own))),
        "## Price of removal by attack\n\nAccuracy points; smaller is a better attack.",
        _by_payload(points, price_table),
        *_levels(points, levels),
        "## Worst exact-match rate by what the attacker accepts to lose",
        _by_payload(points, lambda own: useful_table(rank(own))),
        f"## Law and measurement\n\n{ABOUT_LAW}",
        _table(law_table(points)),
        *_capacity(points),
        f"## Detection\n\n{ABOUT_DETECTION}",
        _table(detection_table(points)),
        f"## Detectability\n\n{ABOUT_DETECTABILITY}",
        _table(detectability_table(points)),
        "## Models",
        _table(model_table(points)),
        "## Speed\n\n" + in_markdown(timed_on(records)),
        _table(speed_table(points)),
        *_without_results(records),
    ]  # fmt: skip
    return "\n\n".join(sections) + "\n"


def _by_payload(points: Sequence[Point], make: Callable[[Sequence[Point]], Table]) -> str:
    """Return a table; one a payload if there are several, which may have met different attacks."""
    if not several_payloads(points):
        return _table(make(points))
    parts = []
    for payload in sorted({point.payload for point in points}):
        own = [point for point in points if point.payload == payload]
        parts.append(f"### {payload} bits\n\n{_table(make(own))}")
    return "\n\n".join(parts)


def _levels(points: Sequence[Point], levels: Levels) -> list[str]:
    """Return the section on attacks at equal cost, if there are any."""
    if not at_levels(points, levels):
        return []
    asked = [f"{level:g}" for level in levels_asked(levels)]
    about = ABOUT_LEVELS.format(levels=", ".join(asked))
    return [
        f"## Whole at equal cost\n\n{about}",
        _by_payload(points, lambda own: levels_table(own, levels)),
    ]


def _capacity(points: Sequence[Point]) -> list[str]:
    """Return the section on capacity, if there are payloads to compare under pruning."""
    tables = capacity_tables(points) if several_payloads(points) else {}
    if not tables:
        return []
    return [
        f"## Capacity\n\n{ABOUT_CAPACITY}",
        *(f"### {in_markdown(attack)}\n\n{_table(table)}" for attack, table in tables.items()),
    ]


def _table(table: Table) -> str:
    return table_text(table) or "(none)"


def table_text(table: Table) -> str:
    """Return a table in Markdown, empty if it has no rows; what cells say is shown as it is."""
    headers, rows = ([in_markdown(str(h)) for h in table[0]], [[in_markdown(str(c)) for c in r] for r in table[1]])
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) if rows else ""


def _summary(records: Sequence[Record]) -> str:
    counts = Counter(record.status for record in records)
    text = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    more = " Why some gave no result stands at the end." if counts.keys() - {"ok"} else ""
    return f"{len(records)} cells: {text or 'none'}.{more}"


def _without_results(records: Sequence[Record]) -> list[str]:
    """Return the section on cells that gave no result, if there are any, a row a reason."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.status != "ok":
            groups.setdefault((record.status, record.reason or ""), []).append(record)
    rows: list[list[object]] = [
        [status, len(found), *(_few(found, part) for part in ("scheme", "payload", "attack", "model")), reason]
        for (status, reason), found in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    ]
    columns = ["status", "cells", "scheme", "bits", "attack", "model", "reason"]
    return ["## Cells without a result", _table((columns, rows))] if rows else []


def _few(records: Sequence[Record], part: str) -> str:
    """Return what the records are of, the first few by name."""
    names = sorted({getattr(record.key, part) for record in records})
    shown = ", ".join(map(str, names[:_NAMED]))
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def ranking_table(standings: Sequence[Standing]) -> Table:
    """Return the ranking, one line a scheme and payload."""
    headers = [
        "#", "scheme", "bits", "price of removal", "held", "price of proof", "worst exact", "by",
        "weakest log10 p", "clean %", "marked %", "energy", "noise floor", "models x seeds",
    ]  # fmt: skip
    rows: list[list[object]] = [
        [
            place, s.scheme, s.payload, s.removal, _number(s.held, ".0%"), s.proof, exact_text(s.worst),
            _where(s.worst), _number(s.log10_p, ".1f"), f"{s.clean:.2f}", f"{s.marked:.2f}",
            _number(s.energy, ".1e"), _number(s.noise_floor, ".1e"), f"{s.models} x {s.seeds}",
        ]
        for place, s in enumerate(standings, 1)
    ]  # fmt: skip
    return headers, rows


def exact_text(point: Point | None) -> str:
    """Return messages recovered of how many, with the interval of that share."""
    if point is None:
        return "-"
    hits, total = point.exact
    low, high = point.exact_interval
    return f"{hits}/{total} [{low:.2f}, {high:.2f}]"


def _where(point: Point | None) -> str:
    return "-" if point is None else f"{point.attack} {point.strength:g} on {point.model}"


def _number(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)


def price_table(points: Sequence[Point]) -> Table:
    """Return the price of removal of each scheme, best ranked first, at each attack it met."""
    groups = by_scheme(points)
    attacks = sorted({point.attack for point in points})
    rows: list[list[object]] = [
        [s.scheme, s.payload, *(_price_at(groups[s.scheme, s.payload], attack) for attack in attacks)]
        for s in rank(points)
    ]
    return ["scheme", "bits", *attacks], rows


def _price_at(points: Sequence[Point], attack: str) -> str:
    return price_text([point for point in points if point.attack == attack])


def price_text(points: Sequence[Point]) -> str:
    """Return the price of removal by these attacks."""
    if not points:
        return "-"
    price = mean_price(points, lambda run: run.removed)
    return "new task" if price is None else str(price)


def useful_table(standings: Sequence[Standing]) -> Table:
    """Return the worst exact-match rate at 0, 1, 3 and 5 points lost."""
    rows: list[list[object]] = [
        [s.scheme, s.payload, *(_number(rate, ".2f") for rate in s.worst_rates)] for s in standings
    ]
    return ["scheme", "bits", *(f"<= {points:g} points" for points in USEFUL)], rows


def law_table(points: Sequence[Point]) -> Table:
    """Return predicted and measured exact-match rates, all models and seeds together."""
    groups: dict[tuple[str, int, str, float], list[Point]] = {}
    for point in points:
        if point.law is not None:
            groups.setdefault((point.scheme, point.payload, point.attack, point.strength), []).append(point)
    rows: list[list[object]] = []
    for (scheme, payload, attack, strength), own in sorted(groups.items()):
        hits, total = (sum(p.exact[i] for p in own) for i in (0, 1))
        low, high = rate_interval(hits, total)
        law = fmean(p.law for p in own if p.law is not None)
        rows.append(
            [scheme, payload, attack, f"{strength:g}", f"{law:.3g}", f"{hits}/{total} [{low:.2f}, {high:.2f}]"]
        )
    return ["scheme", "bits", "attack", "strength", "law", "measured"], rows


def model_table(points: Sequence[Point]) -> Table:
    """Return accuracies and energies of each model and scheme."""
    groups: dict[tuple[str, str, int], dict[int, TrainedResult]] = {}
    for point in points:
        for run in point.runs:
            groups.setdefault((point.model, point.scheme, point.payload), {})[run.seed] = run.record
    rows: list[list[object]] = []
    for (model, scheme, payload), records in sorted(groups.items()):
        marked = [record.marked for record in records.values()]
        rows.append([
            model, scheme, payload, len(records),
            f"{fmean(r.host.accuracy.percent for r in records.values()):.2f}",
            f"{fmean(m.accuracy.percent for m in marked):.2f}",
            _number(mean_known(m.energy for m in marked), ".1e"),
            _number(mean_known(m.noise_floor for m in marked), ".1e"),
            _number(marked[0].report.touched, ","),
        ])  # fmt: skip
    what = ["clean %", "marked %", "energy", "noise floor", "touched weights"]
    return ["model", "scheme", "bits", "seeds", *what], rows


def conditions(records: Sequence[Record]) -> str:
    """Return on which machines records were made, and how busy others kept these, in words."""
    environments = [record.environment for record in records if record.status == "ok"]
    if not environments:
        return "Nothing was timed."
    machines = sorted({f"{e.hardware}, {e.threads} thread(s), torch {e.torch}" for e in environments})
    loads = [e.others_load for e in environments if e.others_load is not None]
    busiest = f"{max(loads):.0%}" if loads else "an unknown share"
    alone = (
        "had the machine nearly to itself" if loads and max(loads) < 0.05 else "shared the machine: read with care"
    )
    return f"{'; '.join(machines)}. The run {alone} (others used up to {busiest} of it in a cell)."


def timed_on(records: Sequence[Record]) -> str:
    """Return what stands above `speed_table`."""
    return "Medians over cells, with the least and the largest. " + conditions(records)


def speed_table(points: Sequence[Point]) -> Table:
    """Return what embedding and extraction take, and the overhead of embedding while training."""
    rows: list[list[object]] = []
    models = sorted({(p.model, p.scheme, p.payload) for p in points})
    for model, scheme, payload in models:
        own = [p for p in points if (p.model, p.scheme, p.payload) == (model, scheme, payload)]
        timings = list({r.record.identity: r.record.timing for p in own for r in p.runs}.values())
        rows.append([
            model, scheme, payload,
            *(_spread([getattr(t, name) for t in timings]) for name in ("embed_ms", "extract_ms", "step_ratio")),
            *(f"{median((getattr(t, name) or 0) for t in timings) / 2**20:.0f}" for name in TIMING_COLUMNS[4:]),
        ])  # fmt: skip
    times = ["embed ms", "extract ms", "step time / control", "peak MiB", "control MiB"]
    return ["model", "scheme", "bits", *times], rows


def _spread(values: Sequence[float]) -> str:
    """Return the median and, of several values, the least and the largest."""
    middle = f"{median(values):.2f}"
    return middle if len(values) < 2 else f"{middle} [{min(values):.2f}, {max(values):.2f}]"


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
        point.median(lambda run: run.record.timing.embed_ms),
        point.median(lambda run: run.row.timing.extract_ms),
        point.median(lambda run: run.row.timing.attack_s),
        point.median(lambda run: run.record.timing.step_ratio),
        *(median(getattr(run.record.timing, name) or 0 for run in point.runs) for name in TIMING_COLUMNS[4:]),
    ]
    return [
        point.model, point.scheme, point.payload, point.attack, f"{point.strength:g}", total,
        f"{hits / total:.4f}", f"{low:.4f}", f"{high:.4f}", _number(point.law, ".6g"),
        _number(point.mean(lambda run: run.row.bit_error), ".4f"),
        _number(point.mean(lambda run: run.row.overlap), ".4f"),
        _number(point.evidence, ".3f"),
        _number(point.mean(lambda run: run.record.host.accuracy.percent), ".3f"),
        _number(point.mean(lambda run: run.record.marked.accuracy.percent), ".3f"),
        _number(point.mean(lambda run: run.row.accuracy.percent), ".3f"),
        _number(point.lost, ".3f"),
        _number(point.mean(lambda run: run.record.marked.energy), ".4e"),
        _number(point.mean(lambda run: run.record.marked.noise_floor), ".4e"),
        _number(point.mean(lambda run: run.row.achieved.sparsity), ".5f"),
        *(f"{value:.4g}" for value in timing),
    ]  # fmt: skip
