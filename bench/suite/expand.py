"""From a suite to its cells, models x schemes x payloads x seeds x attacks, and which are still to be run."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.models.registry import ModelSpec
from bench.records.schema import NOT_NEEDED
from bench.records.store import RecordStore
from bench.suite import SUITES, AttackEntry, SchemeEntry, Suite
from bench.suite.cell import Cell, HostSpec, MarkSpec
from bench.suite.sources import is_stale
from bench.suite.stopping import Stopping
from cwwm.schemes import SCHEMES
from cwwm.support.errors import BadInput


def cells(suite: Suite, runtime: Mapping[str, Any]) -> list[Cell]:
    """Return the cells of a suite, host by host, so that each host and mark is made once and then attacked.

    Args:
        suite: what to cover.
        runtime: what results depend on beside recipe and source: torch version, kind of device, threads.

    Raises:
        BadInput: if a tuned scheme has no calibrated strength for one of them, or an attack that is run at
            levels of lost accuracy has no strengths chosen on one of the models; if a suite of untrained models
            has a scheme that marks only with data.

    Attacks on a mark come in the suite's order, or in that of their tiers if the suite stops. On a mark that is
    read in several ways each attack is read in all of them before the next.
    """
    if suite.untrained:
        _check_one_shot(suite.schemes)
    attacks = sorted(suite.attacks, key=lambda a: a.attack.declared_tier) if suite.stop else suite.attacks
    return _together(
        Cell(mark, _levelled(suite, attack, mark.host.model))
        for host in _hosts(suite, runtime)
        for mark in _marks(suite, host)
        for attack in attacks
        if mark.payload in suite.payloads_of(attack)
    )


def _together(cells: Iterable[Cell]) -> list[Cell]:
    """Return cells that read the same attacked models one after the other, so that these are made once."""
    marks: dict[str, dict[str, list[Cell]]] = {}
    for cell in cells:
        marks.setdefault(cell.mark.identity, {}).setdefault(cell.attacked, []).append(cell)
    groups = [group for attacked in marks.values() for group in attacked.values()]
    return [replace(cell, readings=len(group)) for group in groups for cell in group]


def pending(cells: Sequence[Cell], record_store: RecordStore, *, stop: bool = False) -> list[Cell]:
    """Return the cells without a final record: new ones, and those that failed or ran out of memory.

    Those whose detection was measured by older source are among them: see `next_record`. So are those that were not
    needed, unless the suite stops and the records of earlier attacks still say so.
    """
    stopping = Stopping.of(cells, record_store) if stop else None

    def is_settled(cell: Cell) -> bool:
        record = record_store.read(cell.identity)
        if record is None or not record.is_final or is_stale(record):
            return False
        return record.status != NOT_NEEDED or (stopping is not None and stopping.reason(cell) == record.reason)

    return [cell for cell in cells if not is_settled(cell)]


def _hosts(suite: Suite, runtime: Mapping[str, Any]) -> Iterator[HostSpec]:
    for model in suite.models:
        for seed in range(suite.first_seed, suite.first_seed + suite.seeds):
            for weights in suite.untrained or (None,):
                yield HostSpec(model, seed, runtime, weights)


def _marks(suite: Suite, host: HostSpec) -> Iterator[MarkSpec]:
    for scheme in suite.schemes:
        for payload in suite.payloads_of(scheme):
            yield MarkSpec(host, _strong(suite, scheme, payload, host.model), payload)


def _check_one_shot(schemes: Sequence[SchemeEntry]) -> None:
    for entry in schemes:
        scheme = SCHEMES[entry.name]
        if not scheme.one_shot or scheme.needs or scheme.extraction_needs:
            raise BadInput(
                f"scheme '{entry.label}' needs data or training; a suite of untrained models takes schemes that "
                "mark a finished model, such as protected-cwc"
            )


def _strong(suite: Suite, entry: SchemeEntry, payload: int, model: ModelSpec) -> SchemeEntry:
    """Return the entry of a cell, with its calibrated strength if it is tuned."""
    if entry.tune is None:
        return entry.fixed(payload)
    place = (suite.tuned_as(entry).label, payload, model.name)
    strength, chosen = suite.calibrated.values.get(place, {}), suite.calibrated.choices.get(place, {})
    if not entry.tune.is_settled(strength, chosen):
        wanted = ", ".join((entry.tune.parameter, *entry.tune.choices))
        raise BadInput(
            f"scheme '{entry.label}' has no calibrated {wanted} at {payload} bits on {model.name}; "
            f"run first: {_calibrate(suite, suite.tuned_in)}"
        )
    return entry.fixed(payload, {**strength, **chosen})


def _levelled(suite: Suite, entry: AttackEntry, model: ModelSpec) -> AttackEntry:
    """Return the entry of a cell, with the strengths chosen on the model's control if it is run at levels."""
    found = suite.calibrated.attacks.get((entry.label, model.name))
    if not entry.is_settled(found):
        levels = ", ".join(f"{points:g}" for points in entry.lost)
        raise BadInput(
            f"attack '{entry.label}' has no strengths chosen from its candidates at {levels} points lost on "
            f"{model.name}; run first: {_calibrate(suite)}"
        )
    return entry.fixed(found)


def _calibrate(suite: Suite, other: str | None = None) -> str:
    path = suite.path if other is None else suite.path.with_name(f"{other}.yaml")
    return f"cwwm-bench calibrate {path if path.parent != SUITES else path.stem}"
