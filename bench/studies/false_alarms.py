"""How often a nightly run without a change raises an alarm, and whether a planted change does.

Run it with ``python -m bench.studies.false_alarms -o results/false-alarms.md --jobs 2``: an hour on two cores;
what is recorded under ``--out`` is not run again. Five baselines of the CPU profile are drawn with disjoint
seeds: other initialisations, batch orders, keys and messages. Each is followed by four nights, and each night
is compared with the baseline of another draw: all twenty pairs, with more variation than a change of machine or
of torch brings.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from tabulate import tabulate

from bench.execution.run_suite import Means
from bench.records.record import Record
from bench.records.store import RecordStore
from bench.regression import FAMILY_WISE, Comparison, compare
from bench.regression.nightly import run_with_hosts
from bench.regression.report import WORSE_COLUMNS, worse_rows
from bench.studies.output import Output, measured_on, publish
from bench.suite import Suite, load_suite, narrow
from bench.support.environment import choose_device
from bench.verification.comparison import reproducible
from cwwm.support.console import DONE, run_app
from cwwm.support.errors import BadInput

DRAWS = 5
APART = 1000  # between the first seeds of two draws
LOWERED = 0.8  # of `survive` of cwc, whose thresholds follow it, where the suite has 0.9


@dataclass(frozen=True)
class NightlyRun:
    """One night: a draw of seeds, and how many nights of that draw came before."""

    draw: int
    repeat: int

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"draw{self.draw}-{self.repeat}"

    @property
    def other(self) -> int:
        """Return the draw whose first night is its baseline; over its repeats, all of the others."""
        return (self.draw + 1 + self.repeat) % DRAWS


RUNS = [NightlyRun(draw, repeat) for repeat in range(DRAWS - 1) for draw in range(DRAWS)]


def drawn(suite: Suite, draw: int) -> Suite:
    """Return the suite with the seeds of a draw."""
    return replace(suite, first_seed=APART * draw)


def lowered(suite: Suite) -> Suite:
    """Return the suite with the threshold of cwc lowered, under its old label.

    Raises:
        BadInput: if the suite has no cwc with a `survive` above LOWERED.
    """
    if not any(entry.name == "cwc" and entry.parameters.get("survive", 0) > LOWERED for entry in suite.schemes):
        raise BadInput(f"suite {suite.name} has no scheme cwc whose survive could be lowered to {LOWERED}")
    schemes = (
        replace(entry, parameters={**entry.parameters, "survive": LOWERED}) if entry.name == "cwc" else entry
        for entry in suite.schemes
    )
    return replace(suite, schemes=tuple(schemes))


@dataclass(frozen=True)
class Laboratory:
    """Where nights are run and kept: a folder, and the means of a run."""

    folder: Path
    means: Means

    def records(self, suite: Suite, name: str) -> list[Record]:
        """Run a nightly run, or what is left of it, and return its records."""
        record_store = RecordStore(self.folder / name)
        print(f"{name}:", file=sys.stderr)
        run_with_hosts(suite, record_store, self.means, self.folder / "hosts")
        return record_store.records()


def compared(suite: Suite, laboratory: Laboratory) -> Iterator[tuple[NightlyRun, Comparison, bool]]:
    """Yield each night, its comparison, and whether it repeats the first night of its draw bit by bit."""
    first = {draw: laboratory.records(drawn(suite, draw), NightlyRun(draw, 0).name) for draw in range(DRAWS)}
    for night in RUNS:
        own = laboratory.records(drawn(suite, night.draw), night.name)
        same = [*map(reproducible, own)] == [*map(reproducible, first[night.draw])]
        yield night, compare(first[night.other], own), same


def page(suite: Suite, laboratory: Laboratory) -> str:
    """Return the whole page, running what is not recorded yet."""
    nights = list(compared(suite, laboratory))
    planted = compare(
        laboratory.records(drawn(suite, 0), NightlyRun(0, 0).name),
        laboratory.records(lowered(drawn(suite, 0)), "lowered"),
    )
    alarms = sum(found.is_worse for _, found, _ in nights)
    rows = [
        (night.draw, night.repeat, night.other, len(found.judgements), found.unjudged, *_least(found), same)
        for night, found, same in nights
    ]
    columns = ("draw", "night", "baseline", "lines", "not judged", "least p, adjusted", "alarm", "repeats its draw")
    models = ", ".join(model.name for model in suite.models)
    return "\n\n".join(
        [
            "# False alarms of the nightly comparison",
            f"{len(nights)} nights of suite {suite.name} without a change, on {models} with {suite.seeds} seeds, "
            f"each against the baseline of another draw of all seeds: **{alarms} alarms** at a family-wise error "
            f"of {FAMILY_WISE:g}. Nightly runs of the same draw must repeat each other bit by bit. "
            f"{measured_on(laboratory.means.device)}.",
            tabulate(rows, columns, tablefmt="github"),
            "## A planted change",
            f"cwc with its threshold at quantile {LOWERED} of the pool instead of 0.9, same seeds: "
            f"{len(planted.regressions)} of {len(planted.judgements)} lines got worse, the clearest:",
            tabulate(worse_rows(planted), WORSE_COLUMNS, tablefmt="github", disable_numparse=True),
        ]
    ) + "\n"  # fmt: skip


def _least(found: Comparison) -> tuple[str, str]:
    return f"{found.judgements[0].p:.2g}", "ALARM" if found.is_worse else "none"


def command(
    output: Output,
    out: Annotated[Path, typer.Option("--out", help="Folder of the records.")] = Path("results/runs/false-alarms"),
    model: Annotated[list[str] | None, typer.Option("--model", help="Only these models of the suite.")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="Number of seeds.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes.")] = 1,
) -> int:
    """Run twenty nights without a change and one with one, and write the page."""
    suite = narrow(load_suite("nightly-cpu"), models=model or (), seeds=seeds)
    publish(page(suite, Laboratory(out, Means(choose_device("cpu"), jobs=jobs))), output)
    return DONE


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    sys.exit(run_app(app, "false_alarms"))
