"""How often the nightly gate fails a night without a change, and how small a drop it finds, from resampled records.

Two runs of suite nightly-cpu beside its committed baseline, minutes each, then minutes of resampling:

    cwwm-bench run nightly-cpu --out elsewhere
    cwwm-bench run nightly-cpu --numerics portable --model lenet300_100 --seeds 2 --out again
    python -m bench.studies.false_alarms elsewhere again -o results/false-alarms.md

The first has the processor's own numerics where the baseline has portable ones: the same source under other
conditions. A night is drawn by swapping baseline and new run, or not, by lot for each host and seed, with all
schemes and attacks on it, since these hang together. Without a change either is as likely, so every drawn night is
one without a change. The second run repeats a part of the baseline under equal conditions.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from tabulate import tabulate

from bench.metrics.accuracy import rate_interval
from bench.records.record import Record, changed
from bench.records.schema import Json, TrainedResult
from bench.records.store import RecordStore
from bench.regression import FAMILY_WISE, Comparison, compare
from bench.regression.baseline import baseline_of
from bench.regression.curves import ACCURACY, EVIDENCE, EXACT
from bench.studies.output import Output, measured_on, publish
from bench.support.environment import choose_device
from cwwm.support.console import DONE, run_program
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed

SUITE = "nightly-cpu"
FEW = 3  # seeds of a small night
FOUND = 0.8  # share of nights in which a drop must be found
Records = Sequence[TrainedResult]
Place = tuple[str, str]  # scheme and attack
Plant = Callable[[Json, float], Json]


@dataclass(frozen=True)
class Drop:
    """A kind of change for the worse, planted in all readings of one scheme under one attack, on every host.

    Attributes:
        metric: that it lowers. unit: what a size is. sizes: tried in this order, the smallest first.
        plant: returns a row with a drop of a size.
    """

    metric: str
    unit: str
    sizes: tuple[float, ...]
    plant: Plant


def less_accurate(row: Json, points: float) -> Json:
    """Return a row that answers fewer images right, by so many points."""
    right, total = row["accuracy"]["correct"], row["accuracy"]["total"]
    return {**row, "accuracy": {"correct": max(0, right - round(points / 100 * total)), "total": total}}


def less_evident(row: Json, percent: float) -> Json:
    """Return a row whose log10 p is nearer to 0, by so many percent."""
    return {**row, "log10_p": row["log10_p"] * (1 - percent / 100)}


def lost(row: Json, _: float) -> Json:
    """Return a row whose message does not come back."""
    return {**row, "exact": False}


DROPS = (
    Drop(ACCURACY, "points", (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24), less_accurate),
    Drop(EVIDENCE, "% of log10 p", (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64), less_evident),
    Drop(EXACT, "seeds a host that lose all their messages", (1, 2, 3, 4, 5, 6), lost),
)


def planted(records: Records, place: Place, drop: Drop, size: float, seeds: Sequence[int]) -> list[TrainedResult]:
    """Return records with a drop in those of a scheme and attack; of messages in the first `size` seeds."""
    chosen = seeds[: round(size)] if drop.metric == EXACT else seeds

    def hurt(record: TrainedResult) -> Record:
        if (record.key.scheme, record.key.attack) != place or record.key.seed not in chosen:
            return record
        return changed(record, rows=[drop.plant(row, size) for row in record.to_json()["rows"]])

    return results(map(hurt, records))


@dataclass(frozen=True)
class Pair:
    """Two runs of the same cells: the baseline, and the same source under other conditions."""

    old: Records
    new: Records

    @classmethod
    def of(cls, old: Records, new: Records) -> "Pair":
        """Return the cells that both have a result of.

        Raises:
            BadInput: if there is none.
        """
        both = {_cell(record) for record in old} & {_cell(record) for record in new}
        if not both:
            raise BadInput(f"no cell of the baseline of {SUITE} is in the other run; run the same suite")
        return cls(*([one for one in side if _cell(one) in both] for side in (old, new)))

    @property
    def hosts(self) -> list[tuple[str, int]]:
        """Return models with seeds, sorted."""
        return sorted({(record.key.model, record.key.seed) for record in self.old})

    @property
    def seeds(self) -> list[int]:
        """Return the seeds, sorted."""
        return sorted({seed for _, seed in self.hosts})

    @property
    def places(self) -> list[Place]:
        """Return the schemes with the attacks that they meet, sorted."""
        return sorted({(record.key.scheme, record.key.attack) for record in self.old})

    def night(self, number: int, seeds: int) -> tuple[Records, Records]:
        """Return a baseline and a night of so many seeds, sides swapped by lot for each host and seed."""
        generator = np.random.default_rng(derive_seed(what="night without a change", number=number, seeds=seeds))
        swapped = {host: bool(lot) for host, lot in zip(self.hosts, generator.integers(2, size=99), strict=False)}
        kept = set(generator.permutation(self.seeds)[:seeds].tolist())
        sides = [
            [theirs if swapped[own.key.model, own.key.seed] else own for own, theirs in pairs]
            for pairs in (self._pairs(self.old, self.new), self._pairs(self.new, self.old))
        ]
        return sides[0], [record for record in sides[1] if record.key.seed in kept]

    @staticmethod
    def _pairs(one: Records, other: Records) -> list[tuple[TrainedResult, TrainedResult]]:
        known = {_cell(record): record for record in other}
        return [(record, known[_cell(record)]) for record in one]


def _cell(record: TrainedResult) -> tuple[object, ...]:
    return *record.key.curve, record.key.seed


def results(records: Iterable[Record]) -> list[TrainedResult]:
    """Return those of records that are results of trained models."""
    return [record for record in records if isinstance(record, TrainedResult)]


def quiet_line(pair: Pair, seeds: int, nights: int) -> list[object]:
    """Return the line of a table for nights of so many seeds without a change."""
    found = [compare(*pair.night(number, seeds)) for number in range(nights)]
    alarms = sum(one.is_worse for one in found)
    low, high = rate_interval(alarms, len(found))
    least = min(_least(one) for one in found)
    open_lines = np.mean([one.unjudged / len(one.judgements) for one in found])
    return [seeds, len(found), alarms, f"{low:.3f} to {high:.3f}", f"{least:.2g}", f"{100 * open_lines:.0f} %"]


def _least(found: Comparison) -> float:
    return min(judgement.p for judgement in found.judgements)


def smallest(drop: Drop, share: Callable[[float], float]) -> str:
    """Return the smallest size that is found often enough, with how often; or that none is.

    By halving: a larger drop is supposed to be found no less often.
    """
    often = cache(share)
    first = bisect_left(drop.sizes, True, key=lambda size: often(size) >= FOUND)
    if first == len(drop.sizes):
        return f"none up to {drop.sizes[-1]:g}"
    return f"{drop.sizes[first]:g} (found in {100 * often(drop.sizes[first]):.0f} %)"


def elsewhere(pair: Pair, drop: Drop, seeds: int, nights: int, size: float) -> float:
    """Return in which share of nights a drop is found, each planted in the next scheme and attack."""
    places = losable(pair) if drop.metric == EXACT else pair.places
    hits = 0
    for number in range(nights):
        old, new = pair.night(number, seeds)
        own = sorted({record.key.seed for record in new})
        hits += compare(old, planted(new, places[number % len(places)], drop, size, own)).is_worse
    return hits / nights


def here(pair: Pair, drop: Drop, size: float) -> float:
    """Return in which share of schemes and attacks a drop is found where records repeat bit by bit."""
    places = losable(pair) if drop.metric == EXACT else pair.places
    found = [compare(pair.old, planted(pair.old, place, drop, size, pair.seeds)).is_worse for place in places]
    return sum(found) / len(found)


def losable(pair: Pair) -> list[Place]:
    """Return the schemes and attacks whose messages all come back, so that they can be lost.

    Raises:
        BadInput: if there are none.
    """
    fails = {(r.key.scheme, r.key.attack) for r in (*pair.old, *pair.new) if not all(x.recovered for x in r.rows)}
    if not (found := [place for place in pair.places if place not in fails]):
        raise BadInput("no scheme keeps its messages under any attack, so that none can be lost; run more cells")
    return found


def power_table(pair: Pair, seeds: Sequence[int], nights: int) -> str:
    """Return the smallest drops that are found, under equal conditions and elsewhere by seeds of the night."""
    rows = [
        [drop.metric, drop.unit, smallest(drop, partial(here, pair, drop)),
         *(smallest(drop, partial(elsewhere, pair, drop, count, nights)) for count in seeds)]
        for drop in DROPS
    ]  # fmt: skip
    columns = ["metric", "drop in", "equal conditions", *(f"elsewhere, {count} seeds" for count in seeds)]
    return tabulate(rows, columns, tablefmt="github", disable_numparse=True)


def quiet_table(pair: Pair, seeds: Sequence[int], nights: int) -> str:
    """Return how many nights without a change fail elsewhere, by seeds of the night."""
    columns = ("seeds of the night", "nights", "alarms", "share, 95 %", "least p, adjusted", "lines not judged")
    return tabulate(
        [quiet_line(pair, count, nights) for count in seeds], columns, tablefmt="github", disable_numparse=True
    )


def repeat_text(old: Records, again: Records) -> str:
    """Return what a run under equal conditions repeated.

    Raises:
        BadInput: if its conditions are others than those of the baseline.
    """
    found = compare(old, again)
    if not found.repeated:
        raise BadInput("the run that should repeat the baseline has other conditions: run it with its numerics")
    verdict = "fails" if found.is_worse else "does not fail"
    return (
        f"Of {found.repeated} readings that were made again, {len(found.changed)} changed: the night {verdict}. "
        "While every reading repeats, no night can fail."
    )


def page(old: Records, other: Records, again: Records, nights: int, tried: int) -> str:
    """Return the whole page.

    Args:
        old: the baseline. other, again: of other and of equal conditions.
        nights: drawn without a change. tried: drawn for each size of a planted one.
    """
    pair = Pair.of(old, other)
    seeds = sorted({min(FEW, len(pair.seeds)), len(pair.seeds)})
    models = ", ".join(sorted({model for model, _ in pair.hosts}))
    return "\n\n".join(
        [
            "# False alarms of the nightly gate, and what it finds",
            f"Suite {SUITE} on {models}, {len(pair.seeds)} seeds, baseline with portable numerics; a family-wise "
            f"error of {FAMILY_WISE:g} a night. {measured_on(choose_device('cpu'))}.",
            "## Equal conditions, no change",
            repeat_text(old, again),
            "## Other conditions, no change",
            "Nights drawn from the baseline and a run of the same source with the processor's own numerics: for "
            "each host and seed the two are swapped or not, by lot, and a night of fewer seeds has them drawn.",
            quiet_table(pair, seeds, nights),
            "## The smallest drop that is found",
            f"Smallest size found in {100 * FOUND:.0f} % of nights, of those tried; planted in all readings of one "
            "scheme under one attack, on every host: in each scheme and attack once under equal conditions, in "
            f"{tried} nights drawn as above elsewhere. Messages are lost where all came back.",
            power_table(pair, seeds, tried),
        ]
    ) + "\n"  # fmt: skip


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    other: Annotated[Path, typer.Argument(help="Run of the suite under other conditions than the baseline.")],
    again: Annotated[Path, typer.Argument(help="Run of a part of it under the same conditions.")],
    output: Output,
    nights: Annotated[int, typer.Option("--nights", min=1, help="Nights without a change, drawn.")] = 200,
    tried: Annotated[int, typer.Option("--tried", min=1, help="Nights for each size of a planted drop.")] = 40,
) -> int:
    """Resample nights without and with a change, and write the page."""
    if (baseline := baseline_of(SUITE)) is None:
        raise BadInput(f"there is no accepted baseline of {SUITE}; work in a checkout of this repository")
    old, elsewhere_run, repeat = (
        results(one.records()) for one in (baseline, RecordStore(other), RecordStore(again))
    )
    publish(page(old, elsewhere_run, repeat, nights, tried), output)
    return DONE


if __name__ == "__main__":
    run_program(app, "false_alarms")
