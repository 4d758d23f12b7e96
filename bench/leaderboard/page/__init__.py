"""The leaderboard as one HTML file: opened from the file system, it needs no network and no server."""

from pathlib import Path

from bench.leaderboard.compatibility import all_untrained
from bench.leaderboard.page.archive import Archive
from bench.leaderboard.page.content import content
from bench.leaderboard.page.document import assemble, pack
from bench.leaderboard.page.facts import facts
from bench.leaderboard.page.untrained import untrained_content
from bench.leaderboard.points import PROOF, gather
from bench.records.store import RecordStore
from cwwm.support.errors import BadInput
from cwwm.support.files import write_atomic

__all__ = ["LIMIT", "page", "write_page"]

LIMIT = 6_000_000  # bytes of a page

_LAYERS = ("layers", "marked_layers", "control_layers")

#: what is left out of embedded records, more and more, until the page is within its limit: first what an attack did
#: to each layer and what a classifier saw of each, then all that no table is made of
_LEFT_OUT: tuple[tuple[str, ...], ...] = (
    (),
    ("layers",),
    _LAYERS,
    (*_LAYERS, "lowest", "achieved", "statistics", "counts", "cost", "report"),
)


def write_page(record_store: RecordStore, path: Path) -> Path:
    """Write the page of a folder's records, and return its path.

    Raises:
        BadInput: if even with records cut down it would be larger than a browser opens with ease.
    """
    write_atomic(path, page(record_store).encode())
    return path


def page(record_store: RecordStore) -> str:
    """Return the page as text."""
    records = record_store.records()
    if all_untrained(records):
        shown = untrained_content(records)
    else:
        shown = content(records, gather(records), record_store.levels)
    tables = pack(shown | {"facts": facts(record_store, records), "proof": PROOF})
    archive, title = Archive(records), f"Leaderboard of suite {record_store.suite}"
    for left_out in _LEFT_OUT:
        text = assemble(title, {"content": tables, "records": pack(archive.to_json(left_out))})
        if len(text.encode()) <= LIMIT:
            return text
    raise BadInput(
        f"the page of {len(records)} records would have {len(text) / 1e6:.1f} MB, above {LIMIT / 1e6:g}; run or "
        "pack fewer models, schemes or attacks into a folder"
    )
