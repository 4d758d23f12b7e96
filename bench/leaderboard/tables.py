"""The Markdown of a leaderboard; timings stand in a section of their own."""

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean, median

from bench.leaderboard.boards import Board, board_and_payload, boards_of
from bench.leaderboard.capacity import ABOUT_CAPACITY, capacity_tables, several_payloads
from bench.leaderboard.channel import ABOUT_CHANNEL, channel_tables
from bench.leaderboard.csv_table import TIMING_COLUMNS
from bench.leaderboard.detection import (
    ABOUT_DETECTABILITY,
    ABOUT_DETECTION,
    ABOUT_TRUE_POSITIVES,
    detectability_table,
    detection_table,
    true_positive_table,
)
from bench.leaderboard.levels import ABOUT_LEVELS, at_levels, levels_asked, levels_table
from bench.leaderboard.points import Point, mean_known
from bench.leaderboard.ranking import rank
from bench.leaderboard.ranking_tables import (
    ABOUT_BY_ATTACK,
    ABOUT_MEDIANS,
    ABOUT_RANKING,
    ABOUT_TRIED,
    by_attack_table,
    median_table,
    notes,
    ranking_table,
    tried_table,
)
from bench.leaderboard.runs import runs_of
from bench.leaderboard.table_text import Table, number_text, table_text
from bench.metrics.accuracy import rate_interval
from bench.records.record import Record
from bench.records.schema import NOT_NEEDED, Answers, TrainedResult
from bench.records.store import Levels
from bench.support.plain_text import in_markdown

ABOUT_NOT_NEEDED = (
    " Cells not needed are of runs that an earlier attack had decided: the mark was removed for no accuracy, which "
    "no later attack can change, or was never embedded; figures of single attacks are of the runs that still stood."
)
ABOUT_LAW = (
    "Predicted probability that the message is recovered, and the share that was. Beyond the rate designed for, "
    "the law supposes hosts with magnitudes like those of all weights that are ranked together."
)
_NAMED = 3  # of what stands behind one reason


def markdown(head: str, records: Sequence[Record], points: Sequence[Point], levels: Levels) -> str:
    """Return the whole leaderboard page: the ranking first, what gave no result last.

    Only the section "Speed" depends on the run. `head` stands above all.
    """
    runs = runs_of(points)
    sections = [
        head,
        " ".join(filter(None, [_summary(records), notes(points)])),
        *_rankings(boards_of(runs)),
        f"## Attacks tried\n\n{ABOUT_TRIED}",
        _table(tried_table(runs)),
        *_levels(points, levels),
        f"## Law and measurement\n\n{ABOUT_LAW}",
        _table(law_table(points)),
        *_capacity(points),
        f"## Detection\n\n{ABOUT_DETECTION}",
        _table(detection_table(points)),
        f"## True positives by attack\n\n{ABOUT_TRUE_POSITIVES}",
        _table(true_positive_table(points)),
        f"## Detectability\n\n{ABOUT_DETECTABILITY}",
        _table(detectability_table(points)),
        "## Models",
        _table(model_table(points)),
        "## Speed\n\n" + in_markdown(timed_on(records)),
        _table(speed_table(points)),
        *_without_results(records),
    ]  # fmt: skip
    return "\n\n".join(sections) + "\n"


def _rankings(boards: Sequence[Board]) -> list[str]:
    """Return the sections on ranks, losses and attacks, each with its tables a board and payload."""
    ranked = [(board, rank(board)) for board in board_and_payload(boards)]
    parts = [
        ("Ranking", ABOUT_RANKING, ranking_table),
        ("Median removal loss", ABOUT_MEDIANS, median_table),
        ("Survival by attack", ABOUT_BY_ATTACK, by_attack_table),
    ]
    return [
        text
        for title, about, make in parts
        for text in (
            f"## {title}\n\n{about}",
            *(f"### {_heading(board, boards)}\n\n{_table(make(board, standings))}" for board, standings in ranked),
        )
    ]


def _heading(board: Board, boards: Sequence[Board]) -> str:
    several = len({run.payload for other in boards for run in other.runs}) > 1
    payload = f", {board.payloads[0]} bits" if several else ""
    return in_markdown(f"Board {board.name}: {board.about}{payload}")


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
    """Return the sections on capacity: payloads compared under pruning, and bits a weight beside the channel's."""
    parts = [
        ("Capacity", ABOUT_CAPACITY, capacity_tables(points) if several_payloads(points) else {}),
        ("Capacity of the channel", ABOUT_CHANNEL, channel_tables(points)),
    ]
    return [
        text
        for title, about, tables in parts
        if tables
        for text in (f"## {title}\n\n{about}", *(f"### {in_markdown(a)}\n\n{_table(t)}" for a, t in tables.items()))
    ]


def _table(table: Table) -> str:
    return table_text(table) or "(none)"


def _summary(records: Sequence[Record]) -> str:
    counts = Counter(record.status for record in records)
    text = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    more = " Why some gave no result stands at the end." if counts.keys() - {"ok"} else ""
    if counts[NOT_NEEDED]:
        more += ABOUT_NOT_NEEDED
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
            number_text(mean_known(m.energy for m in marked), ".1e"),
            number_text(mean_known(m.noise_floor for m in marked), ".1e"),
            number_text(mean_known(_share(m.answers) for m in marked), ".1%"),
            number_text(mean_known(_share(m.answers_floor) for m in marked), ".1%"),
            number_text(marked[0].report.touched, ","),
        ])  # fmt: skip
    what = ["clean %", "marked %", "energy", "noise floor", "answers kept", "answers floor", "touched weights"]
    return ["model", "scheme", "bits", "seeds", *what], rows


def _share(answers: Answers | None) -> float | None:
    return None if answers is None else answers.share


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


def _spread(measured: Sequence[float | None]) -> str:
    """Return the median and, of several values, the least and the largest; a dash where nothing was measured.

    A mark in a finished model takes no step of training.
    """
    values = [value for value in measured if value is not None]
    if not values:
        return "-"
    middle = f"{median(values):.2f}"
    return middle if len(values) < 2 else f"{middle} [{min(values):.2f}, {max(values):.2f}]"
