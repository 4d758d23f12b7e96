"""Checks an output folder: every table again from its records, every digest, and some cells run again."""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.artefacts import ArtefactStore, state_digest
from bench.attacks import make_attack
from bench.cell import Cell
from bench.compatibility import UntrainedCell
from bench.engines import record_of
from bench.journal import Journal, Record
from bench.leaderboard import texts
from bench.running import recipe, reproducible
from bench.suite import AttackEntry, SchemeEntry
from bench.workshop import Workshop, split_tensors
from bench.zoo import HostRecipe, ModelSpec
from cwwm.errors import BadInput
from cwwm.seeds import derive_seed
from cwwm.training import Recipe


def check_folder(
    journal: Journal,
    workshop: Workshop,
    runtime: Mapping[str, Any],
    *,
    sample: int,
    say: Callable[[str], None],
) -> list[str]:
    """Return what is wrong with an output folder, one line each; empty if all is well.

    Args:
        journal: of the output folder.
        workshop: re-makes models, in a folder of its own, so that nothing recorded helps.
        runtime: of this machine; cells recorded under another are not run again, and that is said.
        sample: how many cells to run again, chosen by a hash of the records.
        say: told what is being done.
    """
    records = list(journal.records())  # raises where a record's own digest does not match
    say(f"{len(records)} records: digests match")
    if not records:
        return [f"{journal.folder} holds no records"]
    wrong = _tables(journal, records)
    wrong += _artefacts(journal.folder, records, say)
    chosen = _sample(records, runtime, sample, say)
    for record in chosen:
        say(f"running again: {_name(record)}")
        wrong += _again(record, workshop)
    return wrong


def _tables(journal: Journal, records: Sequence[Record]) -> list[str]:
    wrong = []
    for name, text in texts(journal.suite, records, journal.levels).items():
        path = journal.folder / name
        if not path.exists():
            wrong.append(f"{path} is missing; write it with: cwwm-bench leaderboard")
        elif path.read_text() != text:
            wrong.append(f"{path} does not follow from the records")
    return wrong


def _artefacts(folder: Path, records: Sequence[Record], say: Callable[[str], None]) -> list[str]:
    """Compare the marked models that are still stored with the digests in the records."""
    store = ArtefactStore(folder / "artefacts")
    marked = [record for record in records if record["status"] == "ok" and "artefact" in record]
    stored = sorted({r["artefact"] for r in marked if store.path(r["artefact"]).exists()})
    digests = {name: state_digest(split_tensors(store.get(name, _never).tensors)[0]) for name in stored}
    wrong = [
        f"stored model {record['artefact']} is not the one recorded for {_name(record)}"
        for record in marked
        if digests.get(record["artefact"], record["marked"]["digest"]) != record["marked"]["digest"]
    ]
    say(f"{len(digests)} stored models compared with their digests")
    return wrong


def _never() -> Any:  # noqa: ANN401
    raise FileNotFoundError("the artefact vanished while it was checked")


def _sample(
    records: Sequence[Record], runtime: Mapping[str, Any], count: int, say: Callable[[str], None]
) -> list[Record]:
    same = [record for record in records if _is_current(record, runtime)]
    if len(same) < len(records):
        say(f"{len(records) - len(same)} records are of other source, versions or device: not run again")
    chosen = random.Random(derive_seed(records=[r["digest"] for r in records])).sample(same, min(count, len(same)))
    return sorted(chosen, key=lambda r: str(r["identity"]))


def _is_current(record: Record, runtime: Mapping[str, Any]) -> bool:
    """Say whether a record is of this machine's versions and device, and of the source as it is."""
    made = record["recipe"]
    if any(made["host"].get(key) != value for key, value in runtime.items()):
        return False
    try:
        now = recipe(cell_of(record))
    except BadInput:  # it names a scheme, an attack or a parameter that is no more
        return False
    return _sources(made) == _sources(now)


def _sources(made: Mapping[str, Any]) -> tuple[Any, ...]:
    return made["host"].get("source"), made["scheme"].get("source"), made.get("source")


def _again(record: Record, workshop: Workshop) -> list[str]:
    cell = cell_of(record)
    if cell.identity != record["identity"]:
        return [f"{_name(record)}: its identity does not follow from its recipe"]
    old, new = reproducible(record), reproducible(record_of(cell, workshop))
    return [f"{_name(record)}: '{k}' is another when run again" for k in old if old[k] != new.get(k)]


def _name(record: Record) -> str:
    key = record["key"]
    return f"{key['model']}, {key['scheme']}, {key['payload']} bits, seed {key['seed']}, {key['attack']}"


def cell_of(record: Record) -> Cell:
    """Return the cell that a record says it is of."""
    made = record["recipe"]
    host = dict(made["host"])
    phases = {k: Recipe(**v) for k, v in host["model"]["recipe"].items() if v is not None}
    spec = ModelSpec(**{**host["model"], "recipe": HostRecipe(**phases)})
    scheme = SchemeEntry(made["label"], made["scheme"]["name"], made["scheme"]["parameters"])
    attack = AttackEntry(made["attack_label"], make_attack(made["attack"], "record"), tuple(made["strengths"]))
    runtime = {k: v for k, v in host.items() if k not in ("model", "seed", "source", "weights")}
    parts = (spec, scheme, made["payload"], host["seed"], attack, runtime)
    return UntrainedCell(*parts, weights=host["weights"]) if "weights" in host else Cell(*parts)
