"""What results/README.md says of a result: date, hardware, source, cells, whether they ran or were confirmed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.published.entries import Entry
from bench.published.provenance import Provenance, read_provenance
from bench.records.store import RecordStore
from bench.suite import load_suite

ARCHIVED, UNKNOWN = "archived", "unknown"
_SHORT = 7  # digits of a commit


@dataclass(frozen=True)
class Facts:
    """The cells of a row; all follow from committed files."""

    date: str
    source: str
    hardware: str
    cells: str = "-"
    made: str = "run"


NEVER = Facts(date="-", source="-", hardware="-", made="never run")


def facts_of(entry: Entry, folder: Path) -> Facts:
    """Return the facts of an entry's result, as far as they are known."""
    place = folder / entry.result
    if (store := RecordStore(place)).exists:
        return _of_records(store)
    if not place.exists():
        return NEVER
    found = _of_page(entry, folder)
    return replace(found, source=ARCHIVED) if _is_archived(place) or _reads_archived(entry, folder) else found


def recorded_hours(store: RecordStore) -> float | None:
    """Return the core-hours that attacks and readings took in the records of a folder; training is not in them."""
    found = (store.stored(identity) for identity in store.identities()) if store.exists else ()
    timed = [row["timing"] for record in found if record for row in record.get("rows", []) if row.get("timing")]
    seconds = (
        sum(one.get("attack_s") or 0 for one in timed) + sum(one.get("extract_ms") or 0 for one in timed) / 1000
    )
    return seconds / 3600 if seconds else None


def _is_archived(place: Path) -> bool:
    """Say whether a page, or the folder of a run, is noted as archived."""
    if place.is_dir():
        return any(RecordStore(path.parent).archived for path in place.glob("**/run.json"))
    return any(line.startswith("> Archived on ") for line in place.read_text(encoding="utf-8").splitlines()[:5])


def _reads_archived(entry: Entry, folder: Path) -> bool:
    """Say whether a page is derived from archived records alone."""
    found = (path for pattern in entry.reads for path in folder.absolute().parent.glob(pattern))
    behind = [store.archived for store in map(RecordStore, {path.parent for path in found}) if store.exists]
    return bool(behind) and all(behind)


def _of_page(entry: Entry, folder: Path) -> Facts:
    """Return the facts of a page, as its entry says them or its provenance does."""
    if entry.made:
        source = entry.source[:_SHORT] if entry.source else UNKNOWN
        return Facts(entry.date or UNKNOWN, source, entry.hardware or UNKNOWN)
    if (made := read_provenance(folder, entry)) is None:
        return Facts(UNKNOWN, UNKNOWN, UNKNOWN)
    return Facts(made.date, _source(made), made.hardware)


def _source(made: Provenance) -> str:
    """Return the commit; unknown where no digest of the source stands behind it."""
    return UNKNOWN if made.source is None or made.commit is None else made.commit[:_SHORT]


def _of_records(store: RecordStore) -> Facts:
    records = [found for identity in store.identities() if (found := store.stored(identity)) is not None]
    where = [record["environment"] for record in records]
    return Facts(
        date=_span(one["date"][:10] for one in where),
        source=ARCHIVED if store.archived else (store.commit or UNKNOWN)[:_SHORT],
        hardware=", ".join(sorted({one["hardware"] for one in where})),
        cells=f"{len(records):,}",
        made=_made([record["restamped"] for record in records if record.get("restamped")], len(records)),
    )


def _span(dates: Iterable[str]) -> str:
    found = sorted(dates)
    return found[0] if found[0] == found[-1] else f"{found[0]} to {found[-1]}"


def _made(stamps: list[Mapping[str, Any]], records: int) -> str:
    """Return whether records were run by the source that they name, or taken over after some ran again equal."""
    if not stamps:
        return "run"
    latest = max(stamps, key=lambda stamp: str(stamp["date"]))
    some = "" if len(stamps) == records else f"{len(stamps):,} cells "
    return f"{some}confirmed {latest['date']} by {latest['again']} of {latest['of']:,} run again"


def cut_text(entry: Entry) -> str:
    """Return what of its suite an entry leaves out, in words; empty if nothing."""
    if not entry.suite:
        return ""
    whole, part = load_suite(entry.suite), entry.narrowed()
    counts = [
        (len(part.models), len(whole.models), "models"),
        (len(part.schemes), len(whole.schemes), "schemes"),
        (len(part.attacks), len(whole.attacks), "attacks"),
        (part.seeds, whole.seeds, "seeds"),
    ]
    said = [f"{some} of {all_} {what}" for some, all_, what in counts if some < all_]
    bits = " and ".join(f"{payload:,}" for payload in part.payloads)
    return ", ".join([*said, *([f"{bits} bits alone"] if len(part.payloads) < len(whole.payloads) else [])])
