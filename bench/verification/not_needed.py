"""Whether records of cells that were not run follow from earlier attacks: else anything could be left out."""

from collections.abc import Iterator, Sequence

from bench.attacks import make_attack
from bench.metrics.tiers import Tier
from bench.records.record import Record
from bench.records.schema import NOT_NEEDED
from bench.suite.stopping import deciding, decisions
from cwwm.readers import Blind
from cwwm.support.errors import BadInput
from cwwm.support.seeds import canonical_json


def undecided(records: Sequence[Record]) -> Iterator[str]:
    """Yield which records say that their cell was not needed, where no earlier attack of their run says so."""
    runs: dict[bytes, list[Record]] = {}
    for record in records:
        runs.setdefault(_run(record), []).append(record)
    for record in records:
        if record.status == NOT_NEEDED and not _is_decided(record, runs[_run(record)]):
            key = record.key
            yield (
                f"{key.model}, {key.scheme}, {key.payload} bits, seed {key.seed}, {key.attack}: not run, and no "
                f"record of an earlier attack says why: {record.reason}"
            )


def _is_decided(record: Record, run: Sequence[Record]) -> bool:
    if (own := _tier(record)) is None:
        return False
    earlier = [other for other in run if (theirs := _tier(other)) is not None and theirs <= deciding(own)]
    return any(record.reason == said for said in decisions(earlier, own, record.recipe.reader or Blind.name))


def _run(record: Record) -> bytes:
    made = record.to_json()["recipe"]
    return canonical_json({part: made.get(part) for part in ("host", "scheme", "payload", "label", "reader")})


def _tier(record: Record) -> Tier | None:
    """Return the tier that the attack of a record declares; None for one that is not known here."""
    try:
        return make_attack(record.recipe.attack, "record").declared_tier
    except BadInput:
        return None
