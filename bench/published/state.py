"""Whether a published result is of the source as it is: by the records of a suite, by what a study's page noted."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from bench.published.entries import Entry, Published
from bench.published.provenance import Provenance, file_digest, read_provenance, reads_digest
from bench.published.study_source import study_source
from bench.records.schema import Json
from bench.records.store import RecordStore
from bench.suite.cell import Cell
from bench.suite.expand import cells, pending
from bench.verification.rebuild import conditions_of
from cwwm.support.errors import BadInput

FRESH = "of this source"


@dataclass(frozen=True)
class State:
    """How a result stands.

    Attributes:
        told: in words. fresh: whether this source gives it; of a command that a person runs nobody knows.
        left: of a suite, the cells whose published records are missing or of other source.
        settled: of a suite, the identities of the others.
        blocked: whether it cannot be run as things are; `told` says what is to be done first.
    """

    told: str
    fresh: bool = False
    left: Sequence[Cell] = ()
    settled: AbstractSet[str] = frozenset()
    blocked: bool = False


def state_of(entry: Entry, published: Published) -> State:
    """Return how a result stands; what is wrong with its files or its suite is told, not raised."""
    try:
        if entry.suite:
            return _suite_state(entry, published.folder)
        return _study_state(entry, published.folder) if entry.study else State(_by_hand(entry), fresh=True)
    except BadInput as error:
        return State(str(error), blocked=True)


def planned(entry: Entry, store: RecordStore, known: AbstractSet[str]) -> list[Cell]:
    """Return the cells that an entry's suite has today, each under the conditions of its record, if it has one.

    Args:
        entry: of a suite. store: has the records. known: the identities of those that count.

    Raises:
        BadInput: where calibration is missing, or the suite does not know a name of the entry.
    """
    suite = entry.narrowed()
    plans = [cells(suite, made) for made in _conditions(store, sorted(known)) or [{}]]
    return [next((cell for cell in same if cell.identity in known), same[0]) for same in zip(*plans, strict=True)]


def _conditions(store: RecordStore, known: Sequence[str]) -> list[Json]:
    """Return the conditions that records were made under, each once: parts of a result may be of other machines."""
    found: list[Json] = []
    for identity in known:
        record = store.read(identity)
        if record is not None and (made := conditions_of(record)) not in found:
            found.append(made)
    return found


def _suite_state(entry: Entry, folder: Path) -> State:
    store = RecordStore(folder / entry.result)
    todo = planned(entry, store, set(store.identities()))
    left = pending(todo, store, stop=entry.narrowed().stop) if store.exists else todo
    if not left:
        return State(FRESH, fresh=True)
    note = " (archived)" if store.archived else ""
    told = f"{len(left):,} of {len(todo):,} cells are of older source or were never run{note}"
    return State(told, left=left, settled={cell.identity for cell in todo} - {cell.identity for cell in left})


def _study_state(entry: Entry, folder: Path) -> State:
    if not (folder / entry.result).exists():
        return State("never run")
    made = read_provenance(folder, entry)
    if made is None:
        return State("nothing is noted of where it comes from")
    if made.page != file_digest(folder / entry.result):
        return State("the page is another than the one that its provenance is of")
    return _compared(entry, folder, made)


def _compared(entry: Entry, folder: Path, made: Provenance) -> State:
    if made.source is None:
        return State("of older or unknown source")
    if made.source != study_source(str(entry.study)):
        return State("of older source")
    if made.reads != reads_digest(folder, entry):
        return State(f"what it is derived from has changed: {', '.join(entry.reads)}")
    if made.arguments != entry.study_arguments():
        return State("made with other arguments")
    return State(FRESH, fresh=True)


def _by_hand(entry: Entry) -> str:
    return f"by hand: {entry.made}"
