"""Gives records of older source the identity of the source as it is, once a sample was run again and was equal.

Nothing is stamped unless the whole sample agrees bit by bit, false positives and detectability included; where
records of another processor are asked for, their fractions may differ in the last digits. What was run again is
written into each stamped record and into the run file.
"""

import datetime
import random
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from bench.records.record import Record, changed
from bench.records.schema import NOT_NEEDED, Json
from bench.records.store import RecordStore
from bench.records.untrained_schema import UntrainedRecord
from bench.suite.sources import beside
from bench.verification.check import Chosen, Rerun, Say, drawn, name, run_again
from bench.verification.rebuild import Rebuilt, sort_out
from bench.verification.submission import inspect


@dataclass(frozen=True)
class Restamped:
    """What came of it.

    Attributes:
        reasons: why nothing was stamped, one line each; empty if something was, or nothing was to be.
        stamped: how many records were. again: how many cells were run again.
        left: how many of older source, or other conditions, stay as they are.
    """

    reasons: Sequence[str]
    stamped: int = 0
    again: int = 0
    left: int = 0


def restamp(
    record_store: RecordStore,
    runtime: Mapping[str, Any],
    rerun: Rerun,
    say: Say,
    *,
    again: bool = False,
    other_processors: bool = False,
) -> Restamped:
    """Stamp the records of a folder that can be run again here and are of older source.

    Those of other conditions than this machine's, or that build nothing today, stay as they are. A stamped record
    keeps its conditions.

    Args:
        record_store: of the folder. runtime: of this machine.
        rerun: how many cells are run again, and how.
        say: told what is being done.
        again: take records that were stamped before, too, so that a larger sample stands behind them.
        other_processors: take those of other processors, too; fractions may differ there in their last digits.
    """
    found = inspect(record_store)
    if found.faults:
        return Restamped(found.faults)
    runnable, others = sort_out(found.records, runtime)
    taken = [one for one in runnable if one.older or (again and one.record.restamped)]
    stale = [one for one in taken if other_processors or not one.differing]
    left = others.total() + len(taken) - len(stale)
    for reason, number in others.items():
        say(f"{number} records stay as they are: {reason}")
    if not stale:
        return Restamped((), left=left)
    seed = secrets.randbits(32) if rerun.seed is None else rerun.seed
    chosen = drawn_from_few([one for one in stale if one.record.status != NOT_NEEDED], rerun.sample, seed)
    say(f"{len(chosen)} of {len(stale)} records of older source are run again; --seed {seed} chooses them again")
    if reasons := list(run_again(Chosen([_as_it_is(one) for one in chosen], []), rerun, say)):
        return Restamped(reasons, again=len(chosen), left=left + len(stale))
    note = _note(chosen, len(stale), seed)
    record_store.replace({one.record.identity: stamped(one, note) for one in stale}, note)
    return Restamped((), len(stale), len(chosen), left)


def drawn_from_few(records: Sequence[Rebuilt], count: int, seed: int) -> list[Rebuilt]:
    """Return so many records by chance, from as few marked models as hold them: to make a model takes longest.

    Every scheme gives one model before any gives a second; of these, every scheme and attack one record first.
    """
    models: dict[str, dict[tuple[object, ...], list[Rebuilt]]] = {}
    for one in random.Random(seed).sample(records, len(records)):
        key = one.record.key
        models.setdefault(key.scheme, {}).setdefault((key.model, key.payload, key.seed), []).append(one)
    held: list[Rebuilt] = []
    for of_each_scheme in zip_longest(*(found.values() for found in models.values()), fillvalue=()):
        if len(held) < count:
            held += [one for model in of_each_scheme for one in model]
    return drawn(held, count, seed)


def stamped(one: Rebuilt, note: Mapping[str, Any]) -> Record:
    """Return a record under the identity that its cell has now; `note` says what stands behind that."""
    behind = {"date": note["date"], "of": note["of"], "again": len(note["again"])}
    cell = one.recorded
    made: Json = {"identity": cell.identity, "recipe": cell.recipe}
    before = one.record.restamped.identity if one.record.restamped and not one.older else one.record.identity
    made["restamped"] = {**behind, "identity": before}
    if isinstance(one.record, UntrainedRecord):
        return changed(one.record, **made)
    artefact = {"artefact": cell.mark.identity} if one.record.artefact else {}
    return changed(one.record, **made, **artefact, beside=beside())


def _as_it_is(one: Rebuilt) -> Rebuilt:
    """Return what is compared whole: what is measured beside the numbers gets the source's digests as well."""
    if isinstance(one.record, UntrainedRecord):
        return one
    return replace(one, record=changed(one.record, beside=beside()))


def _note(chosen: Sequence[Rebuilt], of: int, seed: int) -> dict[str, Any]:
    """Return what the run file says of one stamping, as JSON values."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"date": date, "of": of, "seed": seed, "again": list(_names(chosen))}


def _names(chosen: Sequence[Rebuilt]) -> Iterator[str]:
    return (name(one.record) for one in chosen)
