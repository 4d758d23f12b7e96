"""Which definitions make each part of a result, and the digest of each part's source.

The first three are part of a cell's identity: host, mark, and attack with measurement. What is measured beside the
numbers has digests of its own in the record.
"""

from collections.abc import Iterable

from bench.data.registry import DATASETS
from bench.records.record import Record
from bench.records.schema import TrainedRecord
from bench.support.fingerprint import fingerprint, root
from cwwm.readers import Blind, find_reader

_ANY = ("bench.suite.cell:HostSpec", "bench.models.registry:ModelSpec", "bench.support.environment:prepare")
_HOST = (
    *_ANY,
    "bench.execution.unmarked_models:UnmarkedModels",
    "bench.support.artifact_store:ArtefactStore",
    "cwwm.training:Recipe",
)
_SPEC = ("bench.suite.cell:MarkSpec", "bench.suite.entries:SchemeEntry")
_MARK = (*_SPEC, "bench.execution.model_factory:ModelFactory")
_CELL = ("bench.suite.cell:Cell", "bench.suite.cell:attack_seed")
_OUTCOME = "bench.execution.outcome:outcome_of"
_ATTACK = (*_CELL, "bench.execution.measure_trained:measure_trained", _OUTCOME)
_UNTRAINED = (
    *_ANY,
    *_SPEC,
    *_CELL,
    "bench.execution.measure_untrained:measure_untrained",
    "bench.execution.measure_untrained:Steps",
    _OUTCOME,
)
DETECTION = ("bench.metrics.detection:detection",)
TIMING = (
    "cwwm.support.timing:Stopwatch",
    "bench.support.environment:OthersLoad",
    "bench.support.environment:environment",
)


def host_roots(data: str, *, untrained: bool = False) -> tuple[str, ...]:
    """Return what makes a host, or tries an untrained one, with the reader of its data set."""
    return (*(_UNTRAINED if untrained else _HOST), *_readers([data]))


def mark_roots(schemes: Iterable[type], *, untrained: bool = False) -> tuple[str, ...]:
    """Return what marks a host with a scheme, and with those that it stands around."""
    return (*(() if untrained else _MARK), *map(root, schemes))


def attack_roots(
    parts: Iterable[type], data: Iterable[str] = (), *, untrained: bool = False, reader: str = Blind.name
) -> tuple[str, ...]:
    """Return what attacks and measures.

    Args:
        parts: of the attack, and schemes that it embeds. data: names of data sets that it loads.
        untrained: of a suite without training. reader: how suspects are read.
    """
    reads = [] if reader == Blind.name else [root(type(find_reader(reader)))]
    return (*(_UNTRAINED if untrained else _ATTACK), *map(root, parts), *_readers(data), *reads)


def host_source(data: str, *, untrained: bool = False) -> str:
    """Return the digest of `host_roots`."""
    return fingerprint(*host_roots(data, untrained=untrained))


def mark_source(schemes: Iterable[type], *, untrained: bool = False) -> str:
    """Return the digest of `mark_roots`."""
    return fingerprint(*mark_roots(schemes, untrained=untrained))


def attack_source(
    parts: Iterable[type], data: Iterable[str] = (), *, untrained: bool = False, reader: str = Blind.name
) -> str:
    """Return the digest of `attack_roots`."""
    return fingerprint(*attack_roots(parts, data, untrained=untrained, reader=reader))


def detection_source() -> str:
    """Return the digest of what measures false positives and detectability; see `bench.metrics.detection`."""
    return fingerprint(*DETECTION)


def timing_source() -> str:
    """Return the digest of what times, and notes the machine."""
    return fingerprint(*TIMING)


def beside() -> dict[str, str]:
    """Return the digests of what is measured beside the numbers: they are in a record, and not in its identity."""
    return {"detection": detection_source(), "timing": timing_source()}


def is_stale(record: Record) -> bool:
    """Say whether the detection in a record is not that of the source as it is."""
    if not isinstance(record, TrainedRecord) or record.marked is None or record.marked.null is None:
        return False
    return record.beside is None or record.beside.detection != detection_source()


def _readers(names: Iterable[str]) -> list[str]:
    """Return what reads data sets; an unknown name brings nothing, and is refused where it is loaded."""
    kinds = (name.partition(":")[0] for name in names)
    return [root(DATASETS[kind].read) for kind in kinds if kind in DATASETS]
