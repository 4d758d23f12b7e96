"""What is fuzzed of `bench`: every file of a folder of results, through the tables that are made of it."""

import io
import json
import re
import shutil
import zlib
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.execution.progress import progress_path, progress_view, read_progress
from bench.execution.time_budget import Durations, Kind
from bench.leaderboard import texts, write
from bench.leaderboard.page import page
from bench.records.schema import TrainedRecord
from bench.records.store import RecordStore, record_digest
from bench.regression import compare
from bench.regression.baseline import accepted, nightly_note
from bench.regression.history import draw_trend, read_history, trend_table
from bench.regression.report import markdown
from bench.suite.calibration_file import read_strengths
from bench.support.plain_text import plain
from tests.fuzz.inputs import Target, changed, changed_values
from tests.fuzz.make_corpus import CORPUS

_PAGES, _PICTURES = 8, 64  # of so many inputs one is made a page of, and pictures


def _signed(value: Any) -> str:  # noqa: ANN401
    """Return a record as its file holds it, its digest right again where a digest can be made."""
    try:
        value["digest"] = record_digest(value)
    except (TypeError, ValueError, AttributeError, RecursionError):
        return json.dumps(value)
    return json.dumps(value)


def _yaml(value: Any) -> str:  # noqa: ANN401
    """Return a JSON value as YAML, in which keys may be numbers."""
    return re.sub(r'"(-?\d+(\.\d+)?)": ', r"\1: ", json.dumps(value))


def _folder(path: Path) -> RecordStore:
    """Return a record store in a new folder, with the whole records of the corpus."""
    folder = path.parent / "out"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "cells").mkdir(parents=True)
    for file in CORPUS.glob("*.record.json"):
        name = json.loads(file.read_bytes())["identity"]
        (folder / "cells" / f"{name}.json").write_bytes(file.read_bytes())
    return RecordStore(folder)


def _record(path: Path) -> None:
    record_store = _folder(path)
    name = json.loads((CORPUS / path.name).read_bytes())["identity"]
    shutil.copy(path, record_store.cells / f"{name}.json")
    _tables(record_store, zlib.crc32(path.read_bytes()))


def _run_file(path: Path) -> None:
    record_store = _folder(path)
    shutil.copy(path, record_store.folder / "run.json")
    _tables(record_store, zlib.crc32(path.read_bytes()))
    assert record_store.commit is None or record_store.commit.isprintable()


def _tables(record_store: RecordStore, number: int) -> None:
    """Make what commands make of a folder; pages and pictures of some, for they take long."""
    records = list(record_store.records())
    made = texts(record_store.suite, records, record_store.levels, record_store.archived)
    trained = [record for record in records if isinstance(record, TrainedRecord)]
    made["summary"] = markdown(compare(trained, trained), trained, trained)
    assert all(plain(text) == text for text in made.values())
    if number % _PAGES == 0:
        page(record_store)
    if number % _PICTURES == 0:
        write(record_store)


def _progress(path: Path) -> None:
    shutil.copy(path, progress_path(path.parent))
    progress = read_progress(path.parent)
    assert progress is not None
    Console(file=io.StringIO(), width=160).print(progress_view(progress))


def _durations(path: Path) -> None:
    known = Durations(path, "a processor")
    assert known.expected(Kind("tiny", "cwc", 64, "magnitude", "host")) >= 0


def _history(path: Path) -> None:
    nightly_runs = read_history(path)
    assert plain(table := trend_table(nightly_runs)) == table
    if zlib.crc32(path.read_bytes()) % _PICTURES == 0:
        draw_trend(nightly_runs).canvas.draw()  # type: ignore[attr-defined]


def _note(path: Path) -> None:
    for name in ("accepted.json", "nightly.json"):
        shutil.copy(path, path.parent / name)
    accepted(RecordStore(path.parent))
    nightly_note(path.parent)


RESULT_TARGETS = {
    "record": Target(changed_values("*.record.json", _signed), _record),
    "run-file": Target(changed("*.run.json") | changed_values("*.run.json"), _run_file),
    "progress": Target(changed("last.progress.json") | changed_values("last.progress.json"), _progress),
    "durations": Target(changed("durations.json") | changed_values("durations.json"), _durations),
    "history": Target(changed("history.jsonl") | changed_values("history.jsonl"), _history),
    "note": Target(changed("accepted.note.json") | changed_values("accepted.note.json"), _note),
    "calibration": Target(
        changed("*.calibration.yaml") | changed_values("calibration.json", _yaml), read_strengths
    ),
}
