"""Checks an output folder, a stranger's too: every table again from its records, and some cells run again."""

import random
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.artefacts import ArtefactStore, state_digest
from bench.attacks import make_attack
from bench.cell import Cell
from bench.compatibility import TRIAL, UntrainedCell, architectures, is_untrained
from bench.engines import record_of
from bench.journal import Journal, Record
from bench.leaderboard import texts
from bench.provenance import source_digest
from bench.running import recipe, reproducible
from bench.submission import foreign_parts, gaps, inspect
from bench.suite import AttackEntry, SchemeEntry
from bench.workshop import Workshop, split_tensors
from bench.zoo import ModelSpec, find_models, load_zoo
from cwwm.checkpoint import open_weights
from cwwm.errors import BadInput
from cwwm.seeds import canonical_json

_NOT_COMPARED = ("trace",)  # of a failure: it names places of the machine

Say = Callable[[str], None]


@dataclass(frozen=True)
class Verdict:
    """What came of a check.

    Attributes:
        reasons: why the folder is not accepted, one line each; empty if it is.
        records: how many it holds. again: how many of them were run again.
    """

    reasons: Sequence[str]
    records: int
    again: int


def check_folder(
    journal: Journal, workshop: Workshop, runtime: Mapping[str, Any], *, sample: int, seed: int | None, say: Say
) -> Verdict:
    """Return the verdict on an output folder.

    Args:
        journal: of the output folder.
        workshop: re-makes models, in a folder of its own, so that nothing recorded helps.
        runtime: of this machine; cells recorded under another are not run again, and that is said.
        sample: how many cells to run again.
        seed: of the choice of these cells; None draws one that nobody could foresee when the records were made.
        say: told what is being done.
    """
    found = inspect(journal)
    records, reasons = found.records, list(found.faults)
    say(f"{len(records)} records are sound: forms, digests, identities")
    if reasons or not records:
        return Verdict(reasons or [f"{journal.folder} holds no records"], len(records), 0)
    for line in gaps(records):
        say(line)
    reasons += [*_tables(journal, records), *_artefacts(journal.folder, records, say), *_from_plugins(records)]
    chosen = _sample(records, runtime, sample, secrets.randbits(32) if seed is None else seed, say)
    for cell, record in chosen:
        say(f"running again: {_name(record)}")
        reasons += _differences(record, record_of(cell, workshop))
    if sample and not chosen:
        reasons.append("no cell could be run again here, so that nothing stands behind the records")
    return Verdict(reasons, len(records), len(chosen))


def _tables(journal: Journal, records: Sequence[Record]) -> list[str]:
    wrong = []
    for name, text in texts(journal.suite, records, journal.levels, journal.archived).items():
        path, expected = journal.folder / name, text.encode()
        if not path.exists():
            wrong.append(f"{path} is missing; write it with: cwwm-bench leaderboard")
        elif path.stat().st_size != len(expected) or path.read_bytes() != expected:
            wrong.append(f"{path} does not follow from the records")
    return wrong


def _artefacts(folder: Path, records: Sequence[Record], say: Say) -> list[str]:
    """Compare the marked models that are still stored with the digests in the records."""
    store = ArtefactStore(folder / "artefacts")
    marked = [record for record in records if record["status"] == "ok" and "artefact" in record]
    digests = {}
    for name in sorted({record["artefact"] for record in marked}):
        if (path := store.path(name)).exists():
            weights = open_weights(path)
            tensors = {tensor: weights.tensor(tensor) for tensor in weights.names()}
            digests[name] = state_digest(split_tensors(tensors)[0])
    say(f"{len(digests)} stored models compared with their digests")
    return [
        f"stored model {record['artefact']} is not the one recorded for {_name(record)}"
        for record in marked
        if digests.get(record["artefact"], record["marked"]["digest"]) != record["marked"]["digest"]
    ]


def _from_plugins(records: Sequence[Record]) -> list[str]:
    parts = Counter(part for record in records for part in foreign_parts(record["recipe"]))
    return [
        f"not re-run: {part} comes from a plugin ({count} records); if you trust its code, name it with --plugin"
        for part, count in sorted(parts.items())
    ]


def _sample(
    records: Sequence[Record], runtime: Mapping[str, Any], count: int, seed: int, say: Say
) -> list[tuple[Cell, Record]]:
    """Return cells to run again, with their records, as they come in a random order; say why others cannot be."""
    chosen: list[tuple[Cell, Record]] = []
    others: Counter[str] = Counter()
    for record in random.Random(seed).sample(records, len(records)) if count else ():
        cell = rebuilt(record, runtime)
        if isinstance(cell, str):
            others[cell] += 1
        else:
            chosen.append((cell, record))
        if len(chosen) == count:
            break
    for reason, number in others.items():
        say(f"{number} records cannot be run again here: {reason}")
    if count:
        say(f"{len(chosen)} cells chosen at random; --seed {seed} chooses them again")
    return chosen


def rebuilt(record: Record, runtime: Mapping[str, Any]) -> Cell | str:
    """Return the cell of a record if this machine, with the source as it is, can run it again; else why not.

    Its model must be one of the reader's own zoo: arguments of a stranger's model could load anything.
    """
    made = record["recipe"]
    untrained = is_untrained(record)
    host = {"source": source_digest(TRIAL if untrained else "bench.workshop"), **runtime}
    if foreign_parts(made):
        return "they come from a plugin"
    if any(made["host"].get(key) != value for key, value in host.items()):
        return "other source, versions or device"
    try:
        spec = _own_model(made["host"]["model"]["name"], untrained=untrained)
        if canonical_json(spec.to_json()) != canonical_json(made["host"]["model"]):
            return "their model is described otherwise in models.yaml here"
        cell = cell_of(record, spec)
        now = recipe(cell)
    except Exception as error:  # a stranger's parameters can make a constructor fail in any way
        return f"their recipe builds nothing here ({type(error).__name__})"
    if cell.key != record["key"] or cell.identity != record["identity"]:
        sources = (now["scheme"]["source"], now["source"]) != (made["scheme"].get("source"), made.get("source"))
        return "other source, versions or device" if sources else "their recipe is not what it builds"
    return cell


def _own_model(name: str, *, untrained: bool) -> ModelSpec:
    """Return the model of a name as this machine's zoo describes it; of an untrained one, the architecture."""
    if not untrained:
        return find_models([name])[0]
    return next(spec for spec in architectures([*load_zoo().values(), *find_models([name])]) if spec.name == name)


def _differences(record: Record, again: Record) -> Iterator[str]:
    old, new = reproducible(record), reproducible(again)
    for key in old:
        if key not in _NOT_COMPARED and old[key] != new.get(key):
            yield f"{_name(record)}: '{key}' is another when run again"


def _name(record: Record) -> str:
    key = record["key"]
    return f"{key['model']}, {key['scheme']}, {key['payload']} bits, seed {key['seed']}, {key['attack']}"


def cell_of(record: Record, spec: ModelSpec) -> Cell:
    """Return the cell that a record says it is of, on a model.

    Raises:
        BadInput: for a scheme or attack that is not known, or parameters that it does not take.
    """
    made = record["recipe"]
    if "copy" in made:
        raise BadInput("only the marked copy that is attacked has records")
    host = made["host"]
    scheme = SchemeEntry(made["label"], made["scheme"]["name"], made["scheme"]["parameters"])
    attack = AttackEntry(made["attack_label"], make_attack(made["attack"], "record"), tuple(made["strengths"]))
    runtime = {k: v for k, v in host.items() if k not in ("model", "seed", "source", "weights")}
    parts = (spec, scheme, made["payload"], host["seed"], attack, runtime)
    return UntrainedCell(*parts, weights=host["weights"]) if "weights" in host else Cell(*parts)
