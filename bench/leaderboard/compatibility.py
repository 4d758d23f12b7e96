"""The tables of a suite of untrained models: which architectures can be marked, and why others cannot."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeGuard

from bench.execution.untrained_models import IMAGES
from bench.leaderboard.table_text import Table, table_text
from bench.records.record import Record
from bench.records.schema import Found
from bench.records.untrained_schema import UntrainedModel, UntrainedRecord, UntrainedResult
from bench.suite.untrained import WEIGHTS
from bench.support.plain_text import in_markdown, in_spreadsheet

STEPS = ("build_ms", "embed_ms", "extract_ms", "reload_ms", "attack_ms")
LARGEST = 100_000_000  # weights that a network of the proof on a CPU has at most

ABOUT = (
    f"Each architecture is built without pretrained weights, at small images, and must answer {IMAGES} of noise. A "
    "finished network is then marked in one shot, read, reloaded into a network built anew from its state dict and "
    "from a safetensors file (both also read by themselves), and pruned. It works if the message is recovered at "
    "every stage, all logits are finite, and reloading changes no bit. Nothing is trained, no accuracy measured."
)  # fmt: skip


def shortfalls(record: UntrainedRecord) -> list[str]:
    """Return in a few words what did not go as it must, empty for an architecture that works."""
    if not isinstance(record, UntrainedResult):
        return [f"{record.status}: {record.reason}"]
    found = _of_stage("marking", record.marked, finite=record.marked.finite)
    for way, reload in record.reloads.items():
        found += _of_stage(f"the {way}", reload) + _of_stage(f"the {way}, unloaded", reload.unloaded)
        found += [] if reload.same_answers else [f"other answers after the {way}"]
    for row in record.rows:
        found += _of_stage(f"{record.key.attack} {row.strength:g}", row, finite=row.finite)
    return found


def _of_stage(stage: str, found: Found, *, finite: bool = True) -> list[str]:
    lost = "message lost" if found.applicable else "not applicable"
    return [f"{lost} after {stage}"] * (not found.recovered) + [f"answers not finite after {stage}"] * (not finite)


@dataclass(frozen=True)
class Section:
    """One table with its title, what its numbers mean, and the records that each of its rows comes from."""

    name: str
    title: str
    about: str
    table: Table
    sources: Sequence[Sequence[UntrainedRecord]]


def all_untrained(records: Sequence[Record]) -> TypeGuard[Sequence[UntrainedRecord]]:
    """Say whether records are of a suite of untrained models, whose tables are those of this module."""
    return bool(records) and all(isinstance(record, UntrainedRecord) for record in records)


def compatibility_texts(head: str, records: Sequence[UntrainedRecord], conditions: str) -> dict[str, str]:
    """Return leaderboard.md and leaderboard.csv of records of untrained models, by name.

    Args:
        head: what stands above the tables.
        records: all of them.
        conditions: the machines and how busy they were, in words.
    """
    parts = [head, what_was_tried(records)]
    for section in compatibility_sections(records, conditions):
        parts += [f"## {section.title}", in_markdown(section.about), table_text(section.table)]
    markdown = "\n\n".join(filter(None, parts)) + "\n"
    return {"leaderboard.md": markdown, "leaderboard.csv": _csv(_by_family(records))}


def what_was_tried(records: Sequence[UntrainedRecord]) -> str:
    """Return how many architectures work, and what that means."""
    kinds = sorted({record.key.weights for record in records}, key=list(WEIGHTS).index)
    weights = "; ".join(f"{kind}: {WEIGHTS[kind]}" for kind in kinds)
    return f"{_summary(records)}\n\n{ABOUT} Weights are {weights}."


def compatibility_sections(records: Sequence[UntrainedRecord], conditions: str) -> list[Section]:
    """Return the tables of records of untrained models, failures first; arguments as `compatibility_texts`."""
    ordered = _by_family(records)
    failed = [record for record in ordered if shortfalls(record)]
    done = [record for record in ordered if isinstance(record, UntrainedResult)]
    every_one = "" if failed else "Every architecture works."
    families = [[r for own in members for r in own] for members in _families(ordered).values()]
    stages = (
        "Of each stage, in how many cells the message was recovered; log10 p: the weakest evidence of a mark "
        "just made; pool: the weights that positions are drawn from, and their tensors; tied: names that share "
        "another's parameter."
    )
    times = (
        "Milliseconds on one network, medians over its cells. Reload: both ways, with four extractions; attack: "
        f"all strengths, with an extraction each. {conditions}"
    )
    return [
        Section("failures", "What does not work", every_one, failure_table(failed), [[r] for r in failed]),
        Section("families", "Families", "", family_table(ordered), families),
        Section("architectures", "Architectures", stages, architecture_table(ordered), _by_mark(ordered)),
        Section("speed", "Speed", times, speed_table(done), _by_mark(done)),
    ]


def _by_family(records: Sequence[UntrainedRecord]) -> list[UntrainedRecord]:
    return sorted(records, key=lambda r: (r.recipe.host.model.family.casefold(), *_place(r)))


def _place(record: UntrainedRecord) -> tuple[str, str, int, str, int, str]:
    return *record.key.curve, record.key.seed, record.key.weights


def _by_architecture(records: Sequence[UntrainedRecord]) -> dict[str, list[UntrainedRecord]]:
    groups: dict[str, list[UntrainedRecord]] = {}
    for record in records:
        groups.setdefault(record.key.model, []).append(record)
    return groups


def _family(record: UntrainedRecord) -> str:
    return record.recipe.host.model.family or "-"


def _works(records: Sequence[UntrainedRecord]) -> bool:
    return not any(shortfalls(record) for record in records)


def _summary(records: Sequence[UntrainedRecord]) -> str:
    groups = _by_architecture(records)
    working = sum(map(_works, groups.values()))
    small = [name for name, own in groups.items() if (model := _network(own)) and model.weights < LARGEST]
    statuses = Counter(record.status for record in records)
    cells = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    return (
        f"**{working} of {len(groups)} architectures work** ({working / len(groups):.1%}), of "
        f"{len({_family(own[0]) for own in groups.values()})} families; {len(small)} have fewer than "
        f"{LARGEST // 1_000_000} million weights. {len(records)} cells: {cells}."
    )


def failure_table(records: Sequence[UntrainedRecord]) -> Table:
    """Return why each of these cells is one that does not work."""
    named = ("model", "scheme", "payload", "weights")
    rows = [[*(getattr(record.key, name) for name in named), "; ".join(shortfalls(record))] for record in records]
    return ["architecture", "scheme", "bits", "weights", "why"], rows


def family_table(records: Sequence[UntrainedRecord]) -> Table:
    """Return how many architectures of each family work, and from which to which size."""
    rows: list[list[object]] = []
    for family, members in _families(records).items():
        sizes = [model.weights for own in members if (model := _network(own))]
        span = (
            " to ".join(dict.fromkeys(f"{size / 1e6:.1f}" for size in (min(sizes), max(sizes)))) if sizes else "-"
        )
        rows.append([family, f"{sum(map(_works, members))}/{len(members)}", span])
    return ["family", "work", "million weights"], rows


def _families(records: Sequence[UntrainedRecord]) -> dict[str, list[list[UntrainedRecord]]]:
    """Return the records of each architecture, by family."""
    families: dict[str, list[list[UntrainedRecord]]] = {}
    for own in _by_architecture(records).values():
        families.setdefault(_family(own[0]), []).append(own)
    return families


def _network(records: Sequence[UntrainedRecord]) -> UntrainedModel | None:
    """Return how large a network is, from the first of its records that says so."""
    return next((record.model for record in records if record.model), None)


def architecture_table(records: Sequence[UntrainedRecord]) -> Table:
    """Return one line an architecture and scheme: its size, and at which stages the message was recovered."""
    strengths = sorted({(r.key.attack, row.strength) for r in records for row in r.rows or ()})
    rows: list[list[object]] = []
    for own in _by_mark(records):
        first, model = own[0], _network(own)
        done = [record for record in own if isinstance(record, UntrainedResult)]
        rows.append([
            first.key.model, _family(first), first.recipe.host.model.size,
            *((_millions(model.weights), _millions(model.carrier_weights)) if model else ("-", "-")),
            *((model.pool_tensors, model.tied) if model else ("-", "-")),
            first.key.scheme, first.key.payload,
            f"{max((r.marked.log10_p for r in done), default=0):.1f}",
            _share([r.marked.recovered for r in done], own),
            _share([_reloaded(r) for r in done], own),
            *(_share(_recovered_at(done, *place), own) for place in strengths),
            "yes" if _works(own) else "no",
        ])  # fmt: skip
    attacked = [f"{attack} {strength:g}" for attack, strength in strengths]
    headers = [
        "architecture", "family", "input", "million weights", "in the pool", "pool tensors", "tied", "scheme",
        "bits", "log10 p", "marked", "reloaded", *attacked, "works",
    ]  # fmt: skip
    return headers, rows


def _by_mark(records: Sequence[UntrainedRecord]) -> list[list[UntrainedRecord]]:
    groups: dict[tuple[object, ...], list[UntrainedRecord]] = {}
    for record in records:
        groups.setdefault(_place(record)[:3], []).append(record)
    return list(groups.values())


def _millions(weights: int | None) -> str:
    return "-" if weights is None else f"{weights / 1e6:.2f}"


def _reloaded(record: UntrainedResult) -> bool:
    return all(reload.whole for reload in record.reloads.values())


def _recovered_at(records: Sequence[UntrainedResult], attack: str, strength: float) -> list[bool]:
    return [
        row.recovered
        for record in records
        for row in record.rows
        if (record.key.attack, row.strength) == (attack, strength)
    ]


def _share(hits: Sequence[bool], of: Sequence[UntrainedRecord]) -> str:
    return f"{sum(hits)}/{len(of)}"


def speed_table(records: Sequence[UntrainedResult]) -> Table:
    """Return the median milliseconds of each step, one line an architecture and scheme, of cells that are ok."""
    rows: list[list[object]] = []
    for own in _by_mark(records):
        medians = [f"{median(getattr(record.timing, name) for record in own):.1f}" for name in STEPS]
        rows.append([*_place(own[0])[:3], *medians])
    return ["architecture", "scheme", "bits", *(name.removesuffix("_ms") for name in STEPS)], rows


def _csv(records: Sequence[UntrainedRecord]) -> str:
    """Return one line a record, timing columns last."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([
        "model", "family", "size", "scheme", "payload", "attack", "seed", "weights", "status", "works", "reason",
        "model_weights", "carrier_weights", "pool_tensors", "tied", "marked_exact", "reloaded_exact", "rows_exact",
        "rows", "log10_p", "log10_p_attacked", *STEPS,
    ])  # fmt: skip
    for record in records:
        writer.writerow(map(in_spreadsheet, _csv_row(record)))
    return out.getvalue()


def _csv_row(record: UntrainedRecord) -> list[object]:
    key, host, found = record.key, record.recipe.host.model, shortfalls(record)
    start = [
        key.model, host.family, host.size, key.scheme, key.payload, key.attack, key.seed,
        key.weights, record.status, int(not found), "; ".join(found),
    ]  # fmt: skip
    if not isinstance(record, UntrainedResult):
        return start
    model, rows = record.model, record.rows
    return [
        *start,
        model.weights, model.carrier_weights, model.pool_tensors, model.tied,
        int(record.marked.recovered), int(_reloaded(record)), sum(row.recovered for row in rows), len(rows),
        f"{record.marked.log10_p:.3f}", f"{max(row.log10_p for row in rows):.3f}",
        *(f"{getattr(record.timing, name):.4g}" for name in STEPS),
    ]  # fmt: skip
