"""Checks an output folder, a stranger's too: every table again from its records, and some cells run again."""

import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from bench.execution.executors import Place, Processes
from bench.execution.model_factory import split_tensors
from bench.leaderboard import texts
from bench.records.record import Record
from bench.records.schema import NOT_NEEDED, TrainedResult
from bench.records.store import RecordStore
from bench.records.untrained_schema import UntrainedRecord
from bench.support.artifact_store import ArtefactStore, state_digest
from bench.verification.comparison import LAST_DIGITS, comparable, same
from bench.verification.not_needed import undecided
from bench.verification.rebuild import Rebuilt, sort_out
from bench.verification.rows import SEEDS, SEEDS_FOR_MESSAGES, Row, disagreements, power_lines, rows_of
from bench.verification.submission import foreign_parts, gaps, inspect
from cwwm.support.errors import BadInput
from cwwm.weights.checkpoint import open_weights

_NOT_COMPARED = ("trace",)  # of a failure: it names places of the machine
_OF_CONDITIONS = ("identity", "recipe", "artefact")  # what names the processor, or follows from that

Say = Callable[[str], None]


@dataclass(frozen=True)
class Rerun:
    """How cells are run again.

    Attributes:
        place: a folder of its own, so that nothing recorded helps, and the processes that run there.
        sample: how many cells, and how many rows of another processor.
        seed: of their choice; None draws one that nobody could foresee.
        accept_unrun: how many records may be taken that cannot be run again here.
        time_limit: seconds that one cell may take, its models included.
    """

    place: Place
    sample: int
    seed: int | None = None
    accept_unrun: int = 0
    time_limit: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What came of a check.

    Attributes:
        reasons: why the folder is not accepted, one line each; empty if it is.
        records: how many it holds. again: how many of them were run again. unrun: how many cannot be.
        older: how many of those that were run again are of older source.
        blind: how many rows of another processor were tested with too few seeds to tell lost messages.
    """

    reasons: Sequence[str]
    records: int
    again: int = 0
    unrun: int = 0
    older: int = 0
    blind: int = 0


@dataclass(frozen=True)
class Chosen:
    """What is run again: cells to be equal bit by bit, and rows to be tested with all their seeds."""

    exact: Sequence[Rebuilt]
    rows: Sequence[Row]

    @property
    def all(self) -> list[Rebuilt]:
        """Return every cell."""
        return [*self.exact, *(one for row in self.rows for one in row)]


def check_folder(record_store: RecordStore, runtime: Mapping[str, Any], rerun: Rerun, say: Say) -> Verdict:
    """Return the verdict on an output folder; nothing is run for one that is refused without.

    Args:
        record_store: of the output folder.
        runtime: of this machine. Cells of another processor are tested by rows; those of another device, number
            of threads or version cannot be run again, and are counted. Cells of older source must be equal.
        rerun: which cells are run again, and how.
        say: told what is being done.
    """
    found = inspect(record_store)
    records, reasons = found.records, list(found.faults)
    say(f"{len(records)} records are sound: forms, digests, identities")
    if reasons or not records:
        return Verdict(reasons or [f"{record_store.folder} holds no records"], len(records))
    for line in gaps(records):
        say(line)
    reasons += [
        *_tables(record_store, records),
        *_artefacts(record_store.folder, records, say),
        *_from_plugins(records),
        *undecided(records),
    ]
    if not rerun.sample:
        return Verdict(reasons, len(records))
    runnable, others = sort_out([record for record in records if record.status != NOT_NEEDED], runtime)
    exact, rows, untested = by_conditions(runnable)
    if untested:
        others[f"on another processor, and their rows have fewer than {SEEDS} seeds"] += untested
    for reason, number in others.items():
        say(f"{number} records cannot be run again here: {reason}")
    unrun = others.total()
    reasons += _unrun(unrun, len(records), rerun.accept_unrun)
    if reasons:
        return Verdict(reasons, len(records), unrun=unrun)
    chosen = _choose(exact, rows, rerun, say)
    return Verdict(
        reasons=list(run_again(chosen, rerun, say)),
        records=len(records),
        again=len(chosen.all),
        unrun=unrun,
        older=sum(one.older for one in chosen.all),
        blind=sum(len(row) < SEEDS_FOR_MESSAGES for row in chosen.rows),
    )


def _choose(exact: Sequence[Rebuilt], rows: Sequence[Row], rerun: Rerun, say: Say) -> Chosen:
    seed = secrets.randbits(32) if rerun.seed is None else rerun.seed
    chosen = Chosen(
        drawn(exact, rerun.sample, seed), random.Random(seed).sample(rows, min(rerun.sample, len(rows)))
    )
    say(f"{len(chosen.all)} cells chosen at random; --seed {seed} chooses them again")
    if chosen.rows:
        say(f"{len(chosen.rows)} whole rows among them, recorded on another processor: tested, not repeated")
    return chosen


def _unrun(unrun: int, records: int, accepted: int) -> Iterator[str]:
    """Yield why records that cannot be run again are not taken."""
    if unrun == records:
        yield "no cell could be run again here, so that nothing stands behind the records"
    elif unrun > accepted:
        yield (
            f"{unrun} of {records} records cannot be run again here, so that nothing stands behind them; "
            f"--accept-unrun {unrun} takes them unseen"
        )


def run_again(chosen: Chosen, rerun: Rerun, say: Say) -> Iterator[str]:
    """Run cells in a process of its own, which they can end or hold up, and yield what differs."""
    for one in chosen.all:
        say(f"running again{', older source' if one.older else ''}: {name(one.record)}")
    cells, record_store = [one.cell for one in chosen.all], RecordStore(rerun.place.folder)
    ran, began = Processes(record_store, rerun.place, 1, rerun.time_limit).run(cells), time.monotonic()
    again = {}
    for record in ran:
        again[record.identity] = record
        say(f"[{len(again)}/{len(cells)} {time.monotonic() - began:5.0f} s] {name(record)}: {record.status}")
    for one in chosen.exact:
        elsewhere = one.differing and not isinstance(one.record, UntrainedRecord)
        for line in differences(one.record, again[one.cell.identity], LAST_DIGITS if elsewhere else 0):
            yield f"{line}; it is of older source" if one.older else line
    if chosen.rows:
        theirs = [one for row in chosen.rows for one in row]
        yield from _rows_again([(one.record, again[one.cell.identity]) for one in theirs], say)


def _rows_again(pairs: Sequence[tuple[Record, Record]], say: Say) -> Iterator[str]:
    """Yield what differs in rows of another processor beyond chance, and say what could have been seen."""
    equal = sum(not list(differences(*pair)) for pair in pairs)
    say(f"{equal} of {len(pairs)} cells of another processor are equal bit by bit; all are compared row by row")
    recorded, again = [record for record, _ in pairs], [record for _, record in pairs]
    for line in power_lines(recorded, again):
        say(line)
    yield from disagreements(recorded, again)


def _tables(record_store: RecordStore, records: Sequence[Record]) -> list[str]:
    wrong = []
    try:
        expected = texts(record_store.suite, records, record_store.levels, record_store.archived)
    except Exception as error:  # a stranger's numbers can break any formula
        return [f"no tables follow from the records ({type(error).__name__}: {error})"]
    for name, text in expected.items():
        path, made = record_store.folder / name, text.encode()
        if not path.exists():
            wrong.append(f"{path} is missing; write it with: cwwm-bench leaderboard")
        elif path.stat().st_size != len(made) or path.read_bytes() != made:
            wrong.append(f"{path} does not follow from the records")
    return wrong


def _artefacts(folder: Path, records: Sequence[Record], say: Say) -> list[str]:
    """Compare the marked models that are still stored with the digests in the records."""
    store = ArtefactStore(folder / "artefacts")
    marked = [record for record in records if isinstance(record, TrainedResult)]
    digests = {}
    for artefact in sorted({record.artefact for record in marked}):
        if (path := store.path(artefact)).exists():
            digests[artefact] = _stored_digest(path)
    say(f"{len(digests)} stored models compared with their digests")
    return [
        f"stored model {record.artefact} is not the one recorded for {name(record)}"
        for record in marked
        if digests.get(record.artefact, record.marked.digest) != record.marked.digest
    ]


def _stored_digest(path: Path) -> str:
    """Return the digest of the model in a file; empty if the file is damaged."""
    try:
        weights = open_weights(path)
        tensors = {tensor: weights.tensor(tensor) for tensor in weights.names()}
        return state_digest(split_tensors(tensors)[0])
    except BadInput:
        return ""


def _from_plugins(records: Sequence[Record]) -> list[str]:
    parts = Counter(part for record in records for part in foreign_parts(record.recipe))
    return [
        f"not re-run: {part} comes from a plugin ({count} records); if you trust its code, name it with --plugin"
        for part, count in sorted(parts.items())
    ]


def by_conditions(runnable: Sequence[Rebuilt]) -> tuple[list[Rebuilt], list[Row], int]:
    """Return what must be equal bit by bit, the rows to be tested, and how many have too few seeds for a test.

    Untrained models follow from arithmetic that all processors agree on, so they are compared bit by bit.
    """
    exact = [one for one in runnable if not one.differing or isinstance(one.record, UntrainedRecord)]
    rows, untested = rows_of(
        [one for one in runnable if one.differing and not isinstance(one.record, UntrainedRecord)]
    )
    return exact, rows, untested


def drawn(runnable: Sequence[Rebuilt], count: int, seed: int) -> list[Rebuilt]:
    """Return so many records by chance, from every scheme and attack one before any gives a second."""
    groups: dict[tuple[str, str], list[Rebuilt]] = {}
    for one in random.Random(seed).sample(runnable, len(runnable)):
        groups.setdefault((one.record.key.scheme, one.record.key.attack), []).append(one)
    rounds = zip_longest(*groups.values())
    return [found for one in rounds for found in one if found is not None][:count]


def differences(record: Record, again: Record, tolerance: float = 0) -> Iterator[str]:
    """Yield which parts of a record are others in the one that was run again, timings and dates apart.

    Args:
        record: as it was made. again: the same cell, run again.
        tolerance: by how much of itself a fraction may differ; 0 where it is to be equal bit by bit.
    """
    if again.status != record.status:
        yield f"{name(record)}: run again it is {again.status}: {again.reason or 'with results'}"
        return
    left_out = _NOT_COMPARED if again.identity == record.identity else (*_NOT_COMPARED, *_OF_CONDITIONS)
    old, new = comparable(record, again)
    for key in old:
        if key not in left_out and not same(old[key], new.get(key), tolerance):
            yield f"{name(record)}: '{key}' is another when run again"


def name(record: Record) -> str:
    """Return what a record is of, in one line."""
    key = record.key
    return f"{key.model}, {key.scheme}, {key.payload} bits, seed {key.seed}, {key.attack}"
