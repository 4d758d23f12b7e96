"""Every encoding, read in every way, at equal answers kept: derived from the records of one suite.

Run ``cwwm-bench calibrate readings``, ``cwwm-bench run readings`` and ``cwwm-bench pack results/runs/readings --to
results/readings``, then ``python -m bench.studies.readings -o results/readings.md``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from tabulate import tabulate

from bench.leaderboard.attacker_tiers import FREE, FULL, SMALL, WEIGHTS
from bench.leaderboard.board_figures import HEADLINE_LOSS, accuracy_change, answers_kept
from bench.leaderboard.bootstrap import share_above
from bench.leaderboard.pictures import save
from bench.leaderboard.points import gather, mean_known
from bench.leaderboard.ranking_tables import Column, columns_of, keeps, met
from bench.leaderboard.runs import Run, embedded, runs_of
from bench.leaderboard.survival import removal_loss
from bench.leaderboard.table_text import number_text
from bench.records.store import RecordStore
from bench.studies.output import Output, publish
from bench.studies.readings_picture import draw_grid
from bench.suite import Suite, load_suite
from cwwm.readers import READERS, Blind, find_reader
from cwwm.support.console import DONE, run_program
from cwwm.support.errors import BadInput

SUITE = "readings"
CONSTANT_WEIGHT = ("protected-cwc", "cwc")  # registered names of the constant-weight codes, which stand first
HEADLINE = range(FREE, SMALL + 1)
HEADERS = (
    *("encoding", "read", "embedded", "free moves", "S(1), tier 1", "tiers 1 to 2", "tiers 1 to 3", "tiers 0 to 2"),
    *("answers kept", "of two controls", "accuracy change", "energy", "equal by"),
)


@dataclass(frozen=True)
class Reading:
    """One encoding, read in one way.

    Attributes:
        encoding: its label. scheme: registered name. reader: how suspects are read.
        runs: of all hosts and seeds that are there.
    """

    encoding: str
    scheme: str
    reader: str
    runs: tuple[Run, ...]

    @property
    def free(self) -> tuple[int, int]:
        """Return how many embedded runs keep their message under every free move, and how many met one."""
        moves = [[row for row in run.rows if row.tier == FREE] for run in embedded(self.runs)]
        return sum(keeps(rows) for rows in moves if rows), sum(map(bool, moves))

    def survival(self, tiers: Sequence[int]) -> tuple[int, int]:
        """Return how many embedded runs outlive what costs a point at most in these tiers, and of how many."""
        losses = np.array([[removal_loss(run, tiers) for run in self.runs]])
        counted = int((~np.isnan(losses)).sum())
        return (round(float(share_above(losses, HEADLINE_LOSS)[0]) * counted) if counted else 0), counted

    def keeps_move(self, move: str) -> str:
        """Return how many embedded runs keep their message under one free move, and how many met it."""
        found = met(self.runs, Column(FREE, move))
        return _of((sum(map(keeps, found)), len(found)))

    @property
    def whole(self) -> int:
        """Return how many runs met all tiers, or as many as a suite that stops asks for."""
        return sum(_is_whole(run, self.reader) for run in self.runs)

    def row(self, by: Mapping[str, str]) -> list[str]:
        """Return its line of the table; `by` says of an encoding on which terms it is equal to the others."""
        floors = (answers.share for run in self.runs if (answers := run.record.marked.answers_floor))
        return [
            *(self.encoding, self.reader, _of((len(embedded(self.runs)), len(self.runs))), _of(self.free)),
            *(_of(self.survival(range(WEIGHTS, last + 1))) for last in (WEIGHTS, SMALL, FULL)),
            _of(self.survival(HEADLINE)),
            _percent(mean_known(map(answers_kept, self.runs))),
            _percent(mean_known(floors)),
            number_text(mean_known(map(accuracy_change, self.runs)), "+.2f"),
            number_text(mean_known(run.record.marked.energy for run in self.runs), ".1e"),
            by.get(self.encoding, "-"),
        ]


def _is_whole(run: Run, reader: str) -> bool:
    first = FREE if find_reader(reader).helped else WEIGHTS
    if not run.embedded or {row.tier for row in run.rows} >= {FREE, WEIGHTS, SMALL, FULL}:
        return True
    removal = run.removal(range(first, FULL + 1))
    return removal is not None and removal.chosen_by is not None and removal.chosen_by <= 0


def _of(counts: tuple[int, int]) -> str:
    return f"{counts[0]}/{counts[1]}" if counts[1] else "-"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def readings_of(runs: Iterable[Run]) -> list[Reading]:
    """Return the readings behind runs, those of an encoding beside each other, in the order of readers."""
    found: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        recipe = run.record.recipe
        reader = recipe.reader or Blind.name
        found.setdefault((recipe.label.removesuffix(f" {reader}"), recipe.scheme.name, reader), []).append(run)
    order = list(READERS)
    places = sorted(found, key=lambda place: (place[0], order.index(place[2])))
    return [Reading(*place, tuple(found[place])) for place in places]


@dataclass(frozen=True)
class Grid:
    """All readings, by encoding, and the order of encodings.

    Attributes:
        readings: of each encoding.
        needed: runs that each reading is to have, of all hosts and seeds.
    """

    readings: Mapping[str, Sequence[Reading]]
    needed: int

    @classmethod
    def of(cls, readings: Iterable[Reading], needed: int) -> "Grid":
        """Return the grid: constant-weight codes, then whose best reading outlives most, then who lacks runs."""
        groups: dict[str, list[Reading]] = {}
        for reading in readings:
            groups.setdefault(reading.encoding, []).append(reading)
        grid = cls(groups, needed)
        return cls({name: groups[name] for name in sorted(groups, key=grid._order)}, needed)

    def is_ranked(self, encoding: str) -> bool:
        """Say whether all of an encoding's readings have the runs that are needed."""
        return all(reading.whole >= self.needed for reading in self.readings[encoding])

    @property
    def lacking(self) -> list[str]:
        """Return what is missing, in words, an entry for each encoding that is not ranked."""
        return [
            f"{name} ({', '.join(f'{r.reader} {r.whole}' for r in own)})"
            for name, own in self.readings.items()
            if not self.is_ranked(name)
        ]

    def _order(self, encoding: str) -> tuple[Any, ...]:
        own = self.readings[encoding]
        ours = own[0].scheme in CONSTANT_WEIGHT
        if not self.is_ranked(encoding):
            return (not ours, True, encoding)
        shares = [kept / counted if counted else 0.0 for kept, counted in (r.survival(HEADLINE) for r in own)]
        return (not ours, False, -max(shares), -sum(shares), encoding)


def terms_of(suite: Suite) -> dict[str, str]:
    """Return, by encoding, on which terms its strength was found on the suite's models."""
    models, found = {one.name for one in suite.models}, dict[str, set[str]]()
    for (label, _, model), facts in suite.calibrated.reached.items():
        if model in models:
            found.setdefault(label, set()).add(str(facts.get("by", "-")))
    return {label: " or ".join(sorted(terms)) for label, terms in found.items()}


def page(grid: Grid, by: Mapping[str, str], environment: str, picture: str) -> str:
    """Return the study as Markdown; `picture` is the name of the file with the grid."""
    readings = [reading for own in grid.readings.values() for reading in own]
    moves = [column.attack for column in columns_of(r for own in readings for r in own.runs) if column.tier == FREE]
    alone = [[r.encoding, r.reader, *map(r.keeps_move, moves)] for r in readings]
    return f"""\
# Every encoding, read in every way, at equal answers kept

One mark a host, read blind (key and mark alone), without the scales of channels, and aligned to the owner's
copy; marks in finished models also against the unmarked original. Each tuned scheme is as strong as it may be
without changing more answers of its host than another training of it, or `protected-cwc`, does: see
[equal terms](../docs/concepts.md#equal-terms). {environment}.

{_ordered(grid)}

A run is one host and seed. *Free moves*: runs that keep their message under every change that preserves the
function or honestly changes the format. *S(1)*: embedded runs that outlive every attack of these tiers that
costs one point of test accuracy at most; tiers 1 to 3 are without free moves, tiers 0 to 2 with them, which is
what the picture shows. *Answers kept*: test images that the marked model answers as its unmarked control does,
beside those that two controls answer alike; a mark that is trained with its host cannot be asked for more.
*Equal by*: what the calibration met on the models; "-" where a scheme is not tuned.

{_table([reading.row(by) for reading in readings], HEADERS)}

![S(1) up to tier 2, by encoding and reading]({picture})

## Free moves one by one

{_table(alone, ("encoding", "read", *moves))}
"""


def _table(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def _ordered(grid: Grid) -> str:
    if grid.lacking:
        return (
            f"Not ranked, for each reading needs {grid.needed} runs that met every tier, and these have fewer: "
            f"{'; '.join(grid.lacking)}."
        )
    return "Constant-weight codes stand first; then comes whose best reading outlives most up to tier 2."


def _readings(folder: Path) -> list[Reading]:
    store = RecordStore(folder)
    found = readings_of(runs_of(gather(store.records()))) if store.exists else []
    if not found:
        raise BadInput(f"{folder} holds no records; run first: cwwm-bench run {SUITE} --out {folder}")
    return found


def _environment(readings: Iterable[Reading]) -> str:
    runs = [run for reading in readings for run in reading.runs]
    hardware = sorted({run.record.environment.hardware for run in runs})
    models = sorted({run.model for run in runs})
    return f"Models {', '.join(models)}; {'; '.join(hardware)}"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    output: Output,
    records: Annotated[Path, typer.Option(help="Records of suite readings.")] = Path("results/readings"),
) -> int:
    """Derive table and picture from the records, print and write them."""
    suite, found = load_suite(SUITE), _readings(records)
    grid = Grid.of(found, len(suite.models) * suite.seeds)
    picture = output.with_suffix(".png")
    text = page(grid, terms_of(suite), _environment(found), picture.name)
    save(draw_grid(grid.readings), picture)
    publish(text, output)
    return DONE


if __name__ == "__main__":
    run_program(app, "bench.studies.readings")
