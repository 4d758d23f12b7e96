"""Checks an output folder, a stranger's too: every table again from its records, and some cells run again."""

import random
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from bench.artefacts import ArtefactStore, state_digest
from bench.attacks import make_attack
from bench.cell import Cell
from bench.compatibility import UntrainedCell, architectures, is_untrained
from bench.declared_cost import excess
from bench.engines import Place, run_parallel
from bench.journal import Journal, Record
from bench.leaderboard import texts
from bench.running import comparable, recipe
from bench.sources import host_source
from bench.submission import foreign_parts, gaps, inspect
from bench.suite import AttackEntry, SchemeEntry
from bench.workshop import split_tensors
from bench.zoo import ModelSpec, find_models, load_zoo
from cwwm.checkpoint import open_weights
from cwwm.errors import BadInput
from cwwm.seeds import canonical_json

_NOT_COMPARED = ("trace",)  # of a failure: it names places of the machine

Say = Callable[[str], None]


@dataclass(frozen=True)
class Rerun:
    """How cells are run again.

    Attributes:
        place: a folder of its own, so that nothing recorded helps, and the processes that run there.
        sample: how many cells. seed: of their choice; None draws one that nobody could foresee.
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
    """

    reasons: Sequence[str]
    records: int
    again: int = 0
    unrun: int = 0


def check_folder(journal: Journal, runtime: Mapping[str, Any], rerun: Rerun, say: Say) -> Verdict:
    """Return the verdict on an output folder; nothing is run for one that is refused without.

    Args:
        journal: of the output folder.
        runtime: of this machine; cells recorded under another cannot be run again, and are counted.
        rerun: which cells are run again, and how.
        say: told what is being done.
    """
    found = inspect(journal)
    records, reasons = found.records, list(found.faults)
    say(f"{len(records)} records are sound: forms, digests, identities")
    if reasons or not records:
        return Verdict(reasons or [f"{journal.folder} holds no records"], len(records))
    for line in gaps(records):
        say(line)
    reasons += [*_tables(journal, records), *_artefacts(journal.folder, records, say), *_from_plugins(records)]
    if not rerun.sample:
        return Verdict(reasons, len(records))
    runnable, others = _sorted(records, runtime)
    for reason, number in others.items():
        say(f"{number} records cannot be run again here: {reason}")
    unrun = others.total()
    reasons += _unrun(unrun, len(records), rerun.accept_unrun)
    if reasons:
        return Verdict(reasons, len(records), unrun=unrun)
    seed = secrets.randbits(32) if rerun.seed is None else rerun.seed
    chosen = drawn(runnable, rerun.sample, seed)
    say(f"{len(chosen)} cells chosen at random; --seed {seed} chooses them again")
    return Verdict(list(_run_again(chosen, rerun, say)), len(records), len(chosen), unrun)


def _unrun(unrun: int, records: int, accepted: int) -> Iterator[str]:
    """Yield why records that cannot be run again are not taken."""
    if unrun == records:
        yield "no cell could be run again here, so that nothing stands behind the records"
    elif unrun > accepted:
        yield (
            f"{unrun} of {records} records cannot be run again here, so that nothing stands behind them; "
            f"--accept-unrun {unrun} takes them unseen"
        )


def _run_again(chosen: Sequence[tuple[Cell, Record]], rerun: Rerun, say: Say) -> Iterator[str]:
    """Run cells in a process of its own, which they can end or hold up, and yield what differs."""
    recorded = {record["identity"]: record for _, record in chosen}
    for _, record in chosen:
        say(f"running again: {_name(record)}")
    cells, journal = [cell for cell, _ in chosen], Journal(rerun.place.folder)
    for again in run_parallel(cells, rerun.place, 1, journal, cell_timeout=rerun.time_limit):
        yield from _differences(recorded[again["identity"]], again)


def _tables(journal: Journal, records: Sequence[Record]) -> list[str]:
    wrong = []
    try:
        expected = texts(journal.suite, records, journal.levels, journal.archived)
    except Exception as error:  # a stranger's numbers can break any formula
        return [f"no tables follow from the records ({type(error).__name__}: {error})"]
    for name, text in expected.items():
        path, made = journal.folder / name, text.encode()
        if not path.exists():
            wrong.append(f"{path} is missing; write it with: cwwm-bench leaderboard")
        elif path.stat().st_size != len(made) or path.read_bytes() != made:
            wrong.append(f"{path} does not follow from the records")
    return wrong


def _artefacts(folder: Path, records: Sequence[Record], say: Say) -> list[str]:
    """Compare the marked models that are still stored with the digests in the records."""
    store = ArtefactStore(folder / "artefacts")
    marked = [record for record in records if record["status"] == "ok" and "artefact" in record]
    digests = {}
    for name in sorted({record["artefact"] for record in marked}):
        if (path := store.path(name)).exists():
            digests[name] = _stored_digest(path)
    say(f"{len(digests)} stored models compared with their digests")
    return [
        f"stored model {record['artefact']} is not the one recorded for {_name(record)}"
        for record in marked
        if digests.get(record["artefact"], record["marked"]["digest"]) != record["marked"]["digest"]
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
    parts = Counter(part for record in records for part in foreign_parts(record["recipe"]))
    return [
        f"not re-run: {part} comes from a plugin ({count} records); if you trust its code, name it with --plugin"
        for part, count in sorted(parts.items())
    ]


def _sorted(
    records: Sequence[Record], runtime: Mapping[str, Any]
) -> tuple[list[tuple[Cell, Record]], Counter[str]]:
    """Return the records that can be run again here, with their cells, and how many cannot be, by the reason."""
    runnable: list[tuple[Cell, Record]] = []
    others: Counter[str] = Counter()
    for record in records:
        cell = rebuilt(record, runtime)
        if isinstance(cell, str):
            others[cell] += 1
        else:
            runnable.append((cell, record))
    return runnable, others


def drawn(runnable: Sequence[tuple[Cell, Record]], count: int, seed: int) -> list[tuple[Cell, Record]]:
    """Return so many records by chance, from every scheme and attack one before any gives a second."""
    groups: dict[tuple[str, str], list[tuple[Cell, Record]]] = {}
    for cell, record in random.Random(seed).sample(runnable, len(runnable)):
        groups.setdefault((record["key"]["scheme"], record["key"]["attack"]), []).append((cell, record))
    rounds = zip_longest(*groups.values())
    return [found for one in rounds for found in one if found is not None][:count]


def rebuilt(record: Record, runtime: Mapping[str, Any]) -> Cell | str:
    """Return the cell of a record if this machine, with the source as it is, can run it again; else why not.

    Its model must be one of the reader's own zoo: arguments of a stranger's model could load anything.
    """
    made = record["recipe"]
    untrained = is_untrained(record)
    host = {"source": host_source(made["host"]["model"]["data"], untrained=untrained), **runtime}
    if foreign_parts(made):
        return "they come from a plugin"
    for key, value in host.items():
        if (theirs := made["host"].get(key)) != value:
            return "other source" if key == "source" else f"their {key} is {theirs}, here it is {value}"
    if (asked := excess(made)) is not None:
        return asked
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
        return "other source" if sources else "their recipe is not what it builds"
    return cell


def _own_model(name: str, *, untrained: bool) -> ModelSpec:
    """Return the model of a name as this machine's zoo describes it; of an untrained one, the architecture."""
    if not untrained:
        return find_models([name])[0]
    return next(spec for spec in architectures([*load_zoo().values(), *find_models([name])]) if spec.name == name)


def _differences(record: Record, again: Record) -> Iterator[str]:
    if again["status"] != record["status"]:
        yield f"{_name(record)}: run again it is {again['status']}: {again.get('reason', 'with results')}"
        return
    old, new = comparable(record, again)
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
