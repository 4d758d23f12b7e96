"""Looks at a results folder as a stranger may have made it: files, forms, digests and names; nothing is run."""

import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from bench.attacks import ATTACKS
from bench.attacks.overwriting import Overwriting
from bench.records.record import MalformedRecord, Record, parse_record
from bench.records.run_file import read_run_file
from bench.records.schema import Json, RecipePart
from bench.records.store import RecordStore
from bench.records.untrained_schema import UntrainedRecipe
from bench.support.collection import no_collection
from cwwm.schemes import SCHEMES
from cwwm.support.errors import BadInput
from cwwm.support.seeds import identity

_FILES = 1_000_000  # that a folder may hold
_FAULTS = 3  # told of one record


@dataclass(frozen=True)
class Submission:
    """The sound records of a folder, and what is wrong with the others and the whole, one line each."""

    records: Sequence[Record]
    faults: Sequence[str]


@no_collection()
def inspect(record_store: RecordStore) -> Submission:
    """Return the records that the last run covered, those apart that are damaged or contradict themselves.

    Nothing that a record names is imported, opened or run.
    """
    for look in (_strange_files, _run_file_faults):
        if faults := list(look(record_store.folder)):
            return Submission((), faults)
    try:
        identities = record_store.identities()
    except BadInput as error:  # the archive
        return Submission((), [str(error)])
    records, faults = [], []
    for name in identities:
        try:
            record = parse_record(record_store.stored(name) or {})
        except MalformedRecord as error:
            found = list(error.args)
        except BadInput as error:
            faults.append(str(error))
            continue
        else:
            found = contradictions(record, name)
            records += [] if found else [record]
        faults += [f"record {name}: {fault}" for fault in found[:_FAULTS]]
    missing = len(set(record_store.covered) - set(identities))
    faults += [f"{missing} cells of the run have no record; run the suite to its end"] if missing else []
    return Submission(records, faults)


def _strange_files(folder: Path) -> Iterator[str]:
    """Yield what is neither a plain file nor a folder: a link could show the reader's own files as results."""
    for number, path in enumerate(folder.rglob("*")):
        if number >= _FILES:
            yield f"{folder} holds more than {_FILES:,} files"
            return
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            yield f"{path.relative_to(folder)} is a link or a device; only plain files are taken"


def _run_file_faults(folder: Path) -> Iterator[str]:
    try:
        read_run_file(folder / "run.json")
    except BadInput as error:
        yield str(error)


def contradictions(record: Record, name: str) -> list[str]:
    """Return where a record contradicts itself; `name` is that of its file."""
    made = record.recipe
    faults = [] if record.identity == name else [f"it is filed under another name than {record.identity}"]
    if record.identity != _identity(record.to_json()["recipe"]):
        faults.append("its identity does not follow from its recipe")
    key = _key(record)
    faults += [
        f"its key says {part} {said!r}, its recipe {key[part]!r}" for part, said in record.key if said != key[part]
    ]
    if record.status == "ok" and [row.strength for row in record.rows or ()] != made.strengths:
        faults.append("its rows are not those of its strengths")
    if not {strength for _, strength in made.levels or () if strength is not None} <= {*made.strengths}:
        faults.append("its levels name strengths at which it was not run")
    return faults + _false_conditions(record) + _false_labels(made)


def _identity(made: Json) -> str:
    """Return the identity of the cell that was made so, to the letter; see `Cell.identity`."""
    mark = {k: made[k] for k in ("host", "scheme", "payload", "copy") if k in made}
    return identity(mark=mark, **{k: made[k] for k in ("attack", "strengths", "source", "reader") if k in made})


def _key(record: Record) -> dict[str, Any]:
    """Return the row key that follows from a record's recipe; see `Cell.key`."""
    made, model = record.recipe, record.recipe.host.model
    shown = (made.label, f"{made.label} (reconstruction)")
    return {
        "model": model.name,
        "data": model.data,
        "scheme": record.key.scheme if record.key.scheme in shown else made.label,
        "payload": made.payload,
        "seed": made.host.seed,
        "attack": made.attack_label,
        **({"weights": made.host.weights} if isinstance(made, UntrainedRecipe) else {}),
    }


def _false_conditions(record: Record) -> list[str]:
    """Return what a record says otherwise of the machine in its recipe and in its environment."""
    return [
        f"its environment says {name} {said!r}, its recipe {made!r}"
        for name in ("torch", "device", "threads")
        if (said := getattr(record.environment, name)) != (made := getattr(record.recipe.host, name))
    ]


def _false_labels(made: RecipePart) -> list[str]:
    """Return labels that are the registered name of another scheme or attack than the one that was run."""
    given = [("scheme", made.label, made.scheme.name, SCHEMES)]
    given += [("attack", made.attack_label, made.attack.get("name"), ATTACKS)]  # type: ignore[list-item]
    return [
        f"it calls {kind} '{name}' by the name of another, '{label}'"
        for kind, label, name, known in given
        if label in known and label != name
    ]


def gaps(records: Sequence[Record]) -> list[str]:
    """Return which cells are left out, one line a payload at which a scheme misses a model, seed or attack."""
    keys = [record.key for record in records]
    models, seeds = {key.model for key in keys}, {key.seed for key in keys}
    lines = []
    for payload in sorted({key.payload for key in keys}):
        own = [key for key in keys if key.payload == payload]
        schemes, attacks = {key.scheme for key in own}, {key.attack for key in own}
        there = {(key.model, key.scheme, key.seed, key.attack) for key in own}
        if missing := sorted(set(product(models, schemes, seeds, attacks)) - there):
            model, scheme, seed, attack = missing[0]
            cell = f"{model}, {scheme}, seed {seed}, {attack}"
            lines.append(f"left out at {payload} bits: {len(missing)} cells, such as {cell}")
    return lines


def foreign_parts(made: RecipePart) -> list[str]:
    """Return the schemes and attacks of a recipe that are neither built in, nor installed, nor loaded."""
    attacks = list(_nested(made.attack))
    schemes = [made.scheme.name, made.scheme.parameters.get("scheme")]
    schemes += [attack.get("scheme") for attack in attacks if attack["name"] == Overwriting.name]
    named = {name for name in schemes if isinstance(name, str) and name and name not in SCHEMES}
    names = [f"scheme {name!r}" for name in named]
    return sorted(names + [f"attack {a['name']!r}" for a in attacks if a["name"] not in ATTACKS])


def _nested(attack: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield an attack as JSON and those that it is made of."""
    yield {**attack, "name": str(attack.get("name"))}
    for value in attack.values():
        if isinstance(value, dict) and "name" in value:
            yield from _nested(value)
