"""The last accepted results of a suite: packed records in a committed folder, and the commit that they are of."""

from pathlib import Path

from pydantic import BaseModel, ValidationError

from bench.leaderboard import write
from bench.records.fields import Name
from bench.records.store import RecordStore
from bench.support.git import current_commit
from bench.support.output_lock import writing
from bench.support.schema import plain_faults
from cwwm.support.errors import BadInput
from cwwm.support.files import read_json, write_json

BASELINES = Path("results", "baseline")  # under the working directory; a folder a suite


class Note(BaseModel):
    """What is noted beside accepted records, or of a nightly run; empty where it was not noted."""

    commit: Name = ""
    date: Name = ""


def baseline_of(suite: str, folder: Path | None = None) -> RecordStore | None:
    """Return the accepted records of a suite, or None if none are; `folder` holds a folder a suite."""
    record_store = RecordStore((folder or BASELINES) / suite)
    return record_store if record_store.exists else None


def accepted_commit(folder: Path | None = None) -> str:
    """Return the commit of the latest accepted baseline of any suite; BadInput if none was noted."""
    notes = [accepted(RecordStore(path.parent)) for path in (folder or BASELINES).glob("*/accepted.json")]
    if not (notes := [note for note in notes if note.commit]):
        raise BadInput(f"{folder or BASELINES} holds no accepted baseline; name the commit to compare with")
    return max(notes, key=lambda note: note.date).commit


def accepted(record_store: RecordStore) -> Note:
    """Return when a baseline was accepted and of which commit it is; empty where that was not noted."""
    return _note(record_store.folder / "accepted.json", "note of acceptance")


def nightly_note(folder: Path) -> Note:
    """Return what a nightly run noted of itself; empty for the folder of another run."""
    return _note(folder / "nightly.json", "note of a nightly run")


def _note(path: Path, what: str) -> Note:
    if not path.exists():
        return Note()
    value = read_json(path, what)
    try:
        return Note.model_validate(value)
    except ValidationError as error:
        raise BadInput(f"{what} {path}: {plain_faults(error, value)[0]}") from error


def accept(out: RecordStore, date: str, folder: Path | None = None) -> RecordStore:
    """Make the records of a run the baseline of its suite, and return it; nothing else of the run is kept.

    A run that its budget cut is a baseline of the cells that it made.

    Raises:
        BadInput: if some of its cells failed: a baseline without them would never notice that they do.
    """
    failed = [record for record in out.records() if record.failed]
    if failed:
        raise BadInput(f"{len(failed)} cells of {out.folder} failed; see cwwm-bench status {out.folder}, run again")
    target = (folder or BASELINES) / out.suite
    commit = nightly_note(out.folder).commit or current_commit() or ""
    out.ensure_packable(target)
    with writing(target, "cwwm-bench accept-baseline"):
        packed = out.pack(target, made_alone=True)
        write_json(target / "accepted.json", {"commit": commit, "date": date})
        write(packed)
    return packed
