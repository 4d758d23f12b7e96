"""Invented records of the form that real ones have, for tables of more than a test can run."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.records.record import Record, new_record
from bench.records.schema import Json
from bench.records.store import Levels, RecordStore
from cwwm.support.seeds import identity

RATES = {
    "magnitude": [0.1, 0.3, 0.5, 0.7, 0.8, 0.89, 0.92, 0.95, 0.98],
    "random": [0.005, 0.02, 0.1, 0.3, 0.5, 0.7],
}
ATTACKS = {
    "magnitude": {"name": "magnitude", "ranking": "global"},
    "magnitude (layer)": {"name": "magnitude", "ranking": "layer"},
    "random": {"name": "random", "ranking": "global"},
    "finetune (epochs=2)": {"name": "finetune", "epochs": 2},
    "permute": {"name": "permute"},
    "permute + finetune": {"name": "then", "first": {"name": "permute"}, "second": {"name": "finetune"}},
}
COSTS = {  # by tier
    0: {"steps": 0, "samples": 0, "data_fraction": 0.0, "compute_fraction": 0.0, "free": True},
    1: {"steps": 0, "samples": 0, "data_fraction": 0.0, "compute_fraction": 0.0, "free": False},
    2: {"steps": 9, "samples": 90, "data_fraction": 0.1, "compute_fraction": 0.05, "free": False},
    3: {"steps": 90, "samples": 900, "data_fraction": 1.0, "compute_fraction": 1.0, "free": False},
}


def read(whole: bool, **more: object) -> Json:
    """Return what a reading says of a mark that is whole, or lost."""
    return {
        "applicable": True, "reason": "", "exact": whole, "bit_error": 0.0 if whole else 0.5, "overlap": 1.0,
        "erased": 0, "log10_p": -20.0 if whole else 0.0, "statistics": {}, "counts": {}, **more,
    }  # fmt: skip


def row(strength: float, whole: bool) -> Json:
    """Return the row of a strength."""
    return read(
        whole,
        strength=strength,
        achieved={},
        task="digits",
        accuracy={"correct": int(980 * (1 - strength**6)) if strength <= 1 else 0, "total": 1000},
        law=None,
        cost={"steps": 0, "samples": 0, "data_fraction": 0.0},
        timing={"attack_s": 0.1, "extract_ms": 1.0},
    )


@dataclass(frozen=True)
class Outcome:
    """What an attack of a tier made of a mark: whether the message came back, and points lost on either split.

    Without `validation` the record has no such split; another `task` than digits has no loss.
    """

    tier: int
    recovered: bool
    lost: float
    validation: float | None = None
    log10_p: float | None = None
    task: str = "digits"

    def row(self, strength: float) -> Json:
        """Return the row of a record, of 1,000 test images and as many of validation; 980 were right before."""
        split = {} if self.validation is None else {"validation": _accuracy(self.validation)}
        sure = {} if self.log10_p is None else {"log10_p": self.log10_p}
        made = {**row(strength, self.recovered), "task": self.task, "cost": COSTS[self.tier]}
        return {**made, "accuracy": _accuracy(self.lost), **split, **sure}


def _accuracy(lost: float) -> Json:
    return {"correct": round(980 - 10 * lost), "total": 1000}


def attacked(
    scheme: str,
    attack: str,
    *outcomes: Outcome,
    embedded: bool = True,
    reader: str | None = None,
    **where: Any,  # noqa: ANN401
) -> Json:
    """Return the record of a mark under one attack, a strength an outcome; `where` goes to `record`."""
    made = record(scheme, where.pop("payload", 256), attack, 0.0, **where)
    strengths = [float(number) for number in range(1, len(outcomes) + 1)]
    split = {"validation": _accuracy(0.0)} if any(o.validation is not None for o in outcomes) else {}
    by = {} if reader is None else {"reader": reader}
    return made | {
        "recipe": {**made["recipe"], "strengths": strengths, **by},
        "host": {**made["host"], **split},
        "marked": {**made["marked"], **split, "exact": embedded},
        "rows": [outcome.row(strength) for outcome, strength in zip(outcomes, strengths, strict=True)],
    }


def recipe(key: Json, strengths: Sequence[float]) -> Json:
    """Return what a cell of this key is made from."""
    model = {
        "name": key["model"], "timm": "test_resnet", "data": key["data"], "size": 8, "channels": 1, "create": {},
        "weights": "random", "family": "invented", "recipe": {},
    }  # fmt: skip
    host = {"model": model, "seed": key["seed"], "source": "0" * 32, "device": "cpu", "threads": 1, "torch": "2"}
    return {
        "host": {**host, "timm": "1"}, "scheme": {"name": "cwc", "parameters": {}}, "payload": key["payload"],
        "label": key["scheme"], "attack": ATTACKS[key["attack"]], "strengths": list(strengths),
        "attack_label": key["attack"], "strength_means": "invented",
    }  # fmt: skip


def record(
    scheme: str, payload: int, attack: str, dies_at: float, *, seed: int = 0, model: str = "m", energy: float = 1e-3
) -> Json:
    """Return a record of a mark that is whole below the strength `dies_at`."""
    strengths = RATES.get(attack.split(" ")[0], [0.1, 1.0])
    accuracy, digest = {"correct": 980, "total": 1000}, "0" * 64
    key = {"model": model, "data": "digits", "scheme": scheme, "payload": payload, "seed": seed, "attack": attack}
    marked = {"accuracy": accuracy, "digest": digest, "energy": energy, "noise_floor": 1e-3}
    return {
        "identity": identity(**key), "key": key, "status": "ok", "recipe": recipe(key, strengths),
        "artefact": "0" * 32, "host": {"accuracy": accuracy, "digest": digest},
        "marked": read(True, **marked, report={"touched": payload}, null=None, covertness=None),
        "rows": [row(strength, strength < dies_at) for strength in strengths],
        "timing": {
            **dict.fromkeys(("embed_ms", "extract_ms", "step_ratio"), 1.0),
            **dict.fromkeys(("peak_bytes_marked", "peak_bytes_control"), 1 << 20),
        },
        "environment": {
            "python": "3", "torch": "2", "numpy": "2", "hardware": "invented", "device": "cpu", "threads": 1,
            "date": "2026-01-01T00:00:00", "others_load": 0.0,
        },
    }  # fmt: skip


def refused(scheme: str, payload: int, attack: str, *, seed: int) -> Json:
    """Return the record of a host that refused a mark."""
    return {**record(scheme, payload, attack, 0.0, seed=seed), "status": "refused", "reason": "no room", "rows": []}


def many(schemes: int = 25, payloads: tuple[int, ...] = (64, 256, 1024)) -> Iterator[Json]:
    """Yield records of many schemes, which die the earlier the more they carry; the last ones carry nothing."""
    for number in range(schemes):
        name = f"scheme {number} of many" if number % 3 else f"a scheme with a long name, {number}"
        for bits in payloads:
            for attack in list(ATTACKS)[:4]:
                if attack.startswith("finetune") and bits != 256:
                    continue
                life = (schemes - number) / schemes * (64 / bits) ** (0.05 + 0.05 * (number % 4))
                dies_at = 0.0 if number >= schemes - 2 else (0.3 + 0.7 * life if attack != "random" else life)
                energy = 1e-3 * math.sqrt(bits / 64) * (1 + number)
                yield from (record(name, bits, attack, dies_at, seed=seed, energy=energy) for seed in (0, 1))


def typed(records: Iterable[Json]) -> list[Record]:
    """Return invented records as they are read."""
    return [new_record(made) for made in records]


def record_store_of(folder: Path, suite: str, records: Sequence[Json], levels: Levels | None = None) -> RecordStore:
    """Return a record store of invented records."""
    record_store = RecordStore(folder)
    for made in typed(records):
        record_store.write(made)
    record_store.plan(suite, [made["identity"] for made in records], levels)
    return record_store
