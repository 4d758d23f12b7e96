"""Which proofs of the committed tables are none at the stricter rate: derived from their records.

Nothing is run: ``python -m bench.studies.proof_rates -o results/proof-rates.md`` takes seconds.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from tabulate import tabulate

from bench.records.schema import Found, Reading
from bench.records.store import RecordStore
from bench.studies.output import Output, publish
from cwwm.ownership.evidence import PROOF_RATE, Evidence
from cwwm.schemes import SCHEMES
from cwwm.support.console import DONE, run_program
from cwwm.support.errors import BadInput

FORMER_RATE = 1e-6  # false-positive rate of a proof when the records were made
#: statistics that count today where they say nothing, too, each by the one beside which it stands
BESIDE = {"blocks": "vacancy", "overlap": "vacancy", "coded bits": "matched bits"}
FOLDERS = ("*/records.jsonl.xz", "baseline/*/records.jsonl.xz")


@dataclass(frozen=True)
class Proof:
    """One row of one record: what its p-value proved, and what it proves now.

    Attributes:
        suite, scheme, bits, attack, strength: where; of all models and seeds.
        recorded: log10 p as recorded.
        log10_p: by the present rules, from the same counts.
    """

    suite: str
    scheme: str
    bits: int
    attack: str
    strength: float
    recorded: float
    log10_p: float

    @property
    def before(self) -> bool:
        """Say whether the row was proof at the former rate, as its table had it."""
        return self.recorded <= math.log10(FORMER_RATE)

    @property
    def now(self) -> bool:
        """Say whether the row is proof at the present rate."""
        return self.log10_p <= math.log10(PROOF_RATE)

    @property
    def lost(self) -> bool:
        """Say whether a proof is none any more."""
        return self.before and not self.now


def proofs(folder: Path) -> Iterator[Proof]:
    """Yield all rows of a folder of records, those of which nothing could be read included."""
    record_store = RecordStore(folder)
    suite = record_store.suite
    for record in record_store.records():
        for row in record.rows or ():
            where = suite, *record.key.curve[1:], row.strength
            yield Proof(*where, row.log10_p, log10_p_now(row))


def log10_p_now(row: Found) -> float:
    """Return the combined log10 p of a row by the present rules; as recorded where no statistics are kept."""
    if not isinstance(row, Reading):
        return row.log10_p
    statistics = {BESIDE[name]: 0.0 for name in row.statistics if name in BESIDE} | row.statistics
    return Evidence(statistics).combined


def grouped(found: Iterable[Proof], key: Callable[[Proof], tuple[Any, ...]]) -> dict[tuple[Any, ...], list[Proof]]:
    """Return proofs by what they share, in the order of that."""
    groups: dict[tuple[Any, ...], list[Proof]] = {}
    for one in found:
        groups.setdefault(key(one), []).append(one)
    return dict(sorted(groups.items()))


def summary_rows(found: Sequence[Proof], key: Callable[[Proof], tuple[Any, ...]]) -> list[list[object]]:
    """Return how many rows of each group there are, were proof, are proof, and lost it."""
    return [
        [*group, len(own), *(sum(getattr(one, count) for one in own) for count in ("before", "now", "lost"))]
        for group, own in grouped(found, key).items()
    ]


def lost_rows(found: Sequence[Proof]) -> list[list[object]]:
    """Return each scheme, attack and strength at which a proof is lost, with the median log10 p of all."""
    rows: list[list[object]] = []
    for group, own in grouped(found, lambda p: (p.suite, p.scheme, p.bits, p.attack, p.strength)).items():
        if any(one.lost for one in own):
            before, now = (sum(getattr(one, count) for one in own) for count in ("before", "now"))
            counts = f"{before}/{len(own)} -> {now}/{len(own)}"
            rows.append([*group[:-1], f"{group[-1]:g}", counts, f"{median(one.log10_p for one in own):.1f}"])
    return rows


def page(found: Sequence[Proof]) -> str:
    """Return the study as Markdown."""
    former, rate = (f"1e{math.log10(value):g}" for value in (FORMER_RATE, PROOF_RATE))
    counts = ("rows", f"proof at {former}", f"at {rate}", "lost")
    statistics_only = sorted(name for name, scheme in SCHEMES.items() if scheme.unproven)
    return PAGE.format(
        former=former,
        rate=rate,
        lost=sum(one.lost for one in found),
        before=sum(one.before for one in found),
        by_rule=sum(one.lost and one.recorded <= math.log10(PROOF_RATE) for one in found),
        only=" and ".join(f"`{name}`" for name in statistics_only),
        suites=_table(summary_rows(found, lambda p: (p.suite,)), ("suite", *counts)),
        schemes=_table(
            summary_rows(found, lambda p: (p.suite, p.scheme, p.bits)), ("suite", "scheme", "bits", *counts)
        ),
        strengths=_table(
            lost_rows(found),
            ("suite", "scheme", "bits", "attack", "strength", "proof, of runs", "median log10 p"),
        ),
    )


def _table(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> str:
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


PAGE = """\
# Proofs at {former} and at {rate}

The false-positive rate of a proof was {former}, and is {rate} now, since a claimant can try salts. A row here is
one run at one strength: a model, a seed, an attack. It was proof if its recorded p is at most {former}, and it is
proof if p by the present rules is at most {rate}. **Of {before:,} rows that were proof {lost:,} are none now.**
Models, keys and commitments that were tried besides are not counted.

Two rules are new. A statistic that says nothing (no host is zeroed, the message is lost) counts as one all the
same, which doubles p; this is applied here to the recorded statistics. A one of `cwc` that is tied with a zero is
not read as one any more: records count no ties, and the recorded overlap stands. Rows that are lost by the rules
alone, with a recorded p of at most {rate}: {by_rule}. The leaderboards show p as recorded.

Rows of {only}, and those read through an alignment, count here by their p, but it is only a statistic: what
they are read by was made after the key, so that no verdict calls them proven. Suite zoo keeps no counts, and its
recorded p stands.

## By suite

{suites}

## By scheme

{schemes}

## Where proofs are lost

All models and seeds together: runs with proof at {former} -> at {rate}, of how many.

{strengths}
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    results: Annotated[Path, typer.Option(help="Folder of the committed results.")] = Path("results"),
) -> int:
    """Derive the tables from all packed records of a folder, print and write them."""
    folders = sorted(path.parent for pattern in FOLDERS for path in results.glob(pattern))
    if not folders:
        raise BadInput(f"{results} holds no packed records; name the folder with --results")
    publish(page([one for folder in folders for one in proofs(folder)]), output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.proof_rates")
