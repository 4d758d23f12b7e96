"""From a record back to the cell that it says it is of, if that can be run again on this machine."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.attacks import make_attack
from bench.models.registry import ModelSpec, find_models, load_zoo
from bench.records.record import Record
from bench.records.schema import Json
from bench.records.store import RecordStore
from bench.records.untrained_schema import UntrainedRecipe, UntrainedRecord
from bench.suite import AttackEntry, SchemeEntry
from bench.suite.cell import Cell, HostSpec, MarkSpec
from bench.suite.untrained import architectures
from bench.support.numerics import NATIVE
from bench.verification.declared_cost import excess
from bench.verification.submission import foreign_parts
from cwwm.readers import Blind
from cwwm.support.errors import BadInput
from cwwm.support.seeds import canonical_json

#: conditions that change the last bits, and so all that training makes of them, but not what a cell is
LAST_BITS = ("numerics", "processor", "instruction_set")


def recorded_numerics(record_store: RecordStore) -> str:
    """Return the numerics of the first record of a folder that may be a stranger's; native if it says none."""
    try:
        first = next(map(record_store.read, record_store.identities()), None)
    except BadInput:  # what is wrong with the folder, `check` says
        return NATIVE
    return NATIVE if first is None else first.recipe.host.numerics or NATIVE


@dataclass(frozen=True)
class Rebuilt:
    """A record and its cell as it is run here.

    Attributes:
        differing: which of `LAST_BITS` are others than the record's; empty where results must be equal bit by bit.
        older: whether the record was made by other source than the one that runs here.
    """

    record: Record
    cell: Cell
    differing: tuple[str, ...] = ()
    older: bool = False

    @property
    def recorded(self) -> Cell:
        """Return the cell under the conditions that the record was made under."""
        return _under(self.cell, conditions_of(self.record))


def sort_out(records: Sequence[Record], runtime: Mapping[str, Any]) -> tuple[list[Rebuilt], Counter[str]]:
    """Return the records that can be run again here, and how many cannot be, by the reason."""
    runnable: list[Rebuilt] = []
    others: Counter[str] = Counter()
    for record in records:
        found = rebuilt(record, runtime)
        if isinstance(found, str):
            others[found] += 1
        else:
            runnable.append(found)
    return runnable, others


def rebuilt(record: Record, runtime: Mapping[str, Any]) -> Rebuilt | str:
    """Return a record with its cell if this machine can run it again; else why not.

    A record of older source can be, where its recipe is otherwise what it builds today. Its model must be one of
    the reader's own zoo: arguments of a stranger's model could load anything.
    """
    made, written = record.recipe, record.to_json()["recipe"]
    if foreign_parts(made):
        return "they come from a plugin"
    for key, value in runtime.items():
        if key not in LAST_BITS and (theirs := getattr(made.host, key, None)) != value:
            return f"their {key} is {theirs}, here it is {value}"
    if (asked := excess(made)) is not None:
        return asked
    try:
        spec = _own_model(made.host.model.name, untrained=isinstance(record, UntrainedRecord))
        if canonical_json(spec.to_json()) != canonical_json(written["host"]["model"]):
            return "their model is described otherwise in models.yaml here"
        cell = cell_of(record, spec)
        now = cell.recipe
    except Exception as error:  # a stranger's parameters can make a constructor fail in any way
        return f"their recipe builds nothing here ({type(error).__name__})"
    if cell.key != record.to_json()["key"] or _without_sources(now) != _without_sources(written):
        return "their recipe is not what it builds"
    differing = tuple(part for part in LAST_BITS if getattr(made.host, part) != runtime.get(part))
    return Rebuilt(record, _under(cell, runtime), differing, older=cell.identity != record.identity)


def cell_of(record: Record, spec: ModelSpec) -> Cell:
    """Return the cell that a record says it is of, on a model, under the conditions of the record.

    Raises:
        BadInput: for a scheme or attack that is not known, or parameters that it does not take.
    """
    made, strengths = record.recipe, record.to_json()["recipe"]["strengths"]
    if made.copy_number is not None:
        raise BadInput("only the marked copy that is attacked has records")
    written = made.scheme
    reader, finished = made.reader or Blind.name, bool(written.finished)
    scheme = SchemeEntry(made.label, written.name, written.parameters, reader=reader, finished=finished)
    levels = tuple((points, chosen) for points, chosen in made.levels or () if points is not None)
    attack = AttackEntry(made.attack_label, make_attack(made.attack, "record"), tuple(strengths), levels=levels)
    runtime = conditions_of(record)
    weights = made.host.weights if isinstance(made, UntrainedRecipe) else None
    return Cell(MarkSpec(HostSpec(spec, made.host.seed, runtime, weights), scheme, made.payload), attack)


def conditions_of(record: Record) -> Json:
    """Return the conditions that a record was made under: versions, device, threads, numerics, processor."""
    return record.recipe.host.model_dump(exclude={"model", "seed", "source", "weights"}, exclude_unset=True)


def _under(cell: Cell, runtime: Mapping[str, Any]) -> Cell:
    """Return a cell under other conditions."""
    return replace(cell, mark=replace(cell.mark, host=replace(cell.host, runtime=runtime)))


def _own_model(name: str, *, untrained: bool) -> ModelSpec:
    """Return the model of a name as this machine's zoo describes it; of an untrained one, the architecture."""
    if not untrained:
        return find_models([name])[0]
    return next(spec for spec in architectures([*load_zoo().values(), *find_models([name])]) if spec.name == name)


def _without_sources(made: Json) -> bytes:
    """Return a recipe without the digests of the source, as one text."""
    parts = {part: {k: v for k, v in made[part].items() if k != "source"} for part in ("host", "scheme")}
    return canonical_json({k: v for k, v in made.items() if k != "source"} | parts)
