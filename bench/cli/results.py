"""The command of cwwm-bench that brings published results up to the source, and says which are not."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.engines import Address, Engine, Shared, Slots, Slurm, wanted
from bench.cli.options import RUNS, Budget, say
from bench.support.plain_text import show
from cwwm.support.console import DONE, FAILED, print_table
from cwwm.support.errors import BadInput

if TYPE_CHECKING:
    from bench.published.children import Machines
    from bench.published.entries import Entry, Published
    from bench.published.run_results import Outcome
    from bench.published.state import State

app = typer.Typer()
Names = Annotated[list[str] | None, typer.Argument(help="Results by name, such as encodings-pilot; default all.")]
Folder = Annotated[Path, typer.Option("--folder", help="Of published results; it holds published.yaml.")]


@app.command()
def results(
    names: Names = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Say of each whether it is of this source; run nothing.")
    ] = False,
    warn: Annotated[
        bool, typer.Option("--warn", help="Print a warning for each that is not; run nothing.")
    ] = False,
    readme: Annotated[
        bool, typer.Option("--readme", help="Write the table of README.md anew; run nothing.")
    ] = False,
    budget: Budget = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes of each suite; studies take one.")] = 1,
    engine: Engine = "inline",
    address: Address = None,
    shared: Shared = None,
    slots: Slots = 16,
    slurm: Slurm = None,
    folder: Folder = Path("results"),
) -> int:
    """Run every published suite and study that is not of this source, in the order of readers, and list the rest.

    What to run says published.yaml in the folder of results, a line or more a result. A suite runs below
    results/runs and takes over the published records of its source; once it is whole, it is packed into its folder
    and its tables are derived. A study writes its page and notes beside it where that comes from. A run that was
    stopped goes on where it was. What fails is told in the end, and holds up nothing else.

    First: cwwm-bench results --list, then cwwm-bench results --budget 4h --jobs 2, or cwwm-bench results NAME
    """
    from bench.published.entries import read_published

    published = read_published(folder)
    chosen = published.named(names) if names else list(published.entries)
    if readme:
        from bench.published.readme import readme_path, write_readme

        show(f"{'written' if write_readme(published) else 'as it is'}: {readme_path(published)}")
    if list_:
        _print_states(chosen, published)
    if warn:
        _print_warnings(chosen, published)
    if readme or list_ or warn:
        return DONE
    machines = _machines(jobs, engine, address, shared, slots, slurm)
    return _run(chosen if names else [entry for entry in chosen if not entry.by_name], published, machines, budget)


def _run(chosen: "Sequence[Entry]", published: "Published", machines: "Machines", budget: str | None) -> int:
    from bench.execution.time_budget import parse_budget
    from bench.published.readme import readme_path, write_readme
    from bench.published.run_results import Runner

    deadline = None if budget is None else time.monotonic() + parse_budget(budget)
    outcomes: list[Outcome] = []
    for outcome in Runner(published, machines, deadline, say).run(chosen):
        say(f"{outcome.entry.result}: {outcome.kind}: {outcome.told}")
        outcomes.append(outcome)
    if write_readme(published):  # also what an earlier run, which was stopped, has left to be told
        say(f"written: {readme_path(published)}")
    print_table(
        ("result", "", "why"),
        [(o.entry.result, o.kind, _with_hours(o, published, machines)) for o in outcomes if o.kind != "fresh"],
        f"{sum(o.kind == 'fresh' for o in outcomes)} results were of this source; of the others:",
    )
    return FAILED if any(outcome.kind == "failed" for outcome in outcomes) else DONE


def _with_hours(outcome: "Outcome", published: "Published", machines: "Machines") -> str:
    from bench.published.state import state_of

    if outcome.kind != "left":
        return outcome.told
    return "; ".join(
        [outcome.told, *_hours(outcome.entry, state_of(outcome.entry, published), published, machines)]
    )


def _print_states(chosen: "Iterable[Entry]", published: "Published") -> None:
    from bench.published.children import Machines
    from bench.published.readme import command
    from bench.published.state import state_of

    for entry in chosen:
        state = state_of(entry, published)
        show(f"{entry.result}: {'; '.join([state.told, *_hours(entry, state, published, Machines(RUNS))])}")
        if not state.fresh:
            show(f"    {command(entry, published.folder)}")
        if not state.fresh and entry.by_name:
            show(f"    only where it is named: {entry.by_name}")


def _print_warnings(chosen: "Iterable[Entry]", published: "Published") -> None:
    """Print a line for each result that is not of this source and does not say so itself."""
    from bench.published.facts import ARCHIVED, facts_of
    from bench.published.state import state_of

    for entry in chosen:
        if facts_of(entry, published.folder).source == ARCHIVED:
            continue
        if not (state := state_of(entry, published)).fresh:
            show(f"warning: {published.folder / entry.result}: {state.told}; cwwm-bench results {entry.result}")


def _hours(entry: "Entry", state: "State", published: "Published", machines: "Machines") -> Iterator[str]:
    """Yield in words what is left of an entry will take, if that is known."""
    from bench.execution.estimate import core_hours
    from bench.published.facts import recorded_hours
    from bench.published.provenance import read_provenance
    from bench.records.store import RecordStore
    from bench.support.environment import choose_device, hardware

    if state.left:
        run = RecordStore(machines.folder(entry))
        records = ((cell, run.read(cell.identity)) for cell in state.left)
        left = [cell for cell, record in records if record is None or not record.is_final]
        yield core_hours(left, RUNS, run.folder, hardware(choose_device("auto")))
        if hours := recorded_hours(RecordStore(published.folder / entry.result)):
            yield f"attacks and readings of all its cells took {hours:.2g} core-hours, beside training"
    elif entry.study and not state.fresh:
        made = read_provenance(published.folder, entry)
        if made and made.seconds:
            yield f"about {made.seconds / 3600:.2g} core-hours, as it took on {made.hardware}"


def _machines(
    jobs: int, engine: str, address: str | None, shared: str | None, slots: int, slurm: list[str] | None
) -> "Machines":
    """Return what programs are given; options that do not go together are refused before anything is run."""
    from bench.published.children import Machines

    machines = wanted(engine, RUNS, address, shared, slots, slurm)
    if machines.here:
        return Machines(RUNS, jobs)
    if jobs > 1:
        raise BadInput("--jobs is for --engine inline: drop it, or --engine")
    given = {"--engine": engine, "--address": address, "--slots": str(slots)}
    options = [part for option, value in given.items() if value is not None for part in (option, value)]
    options += [part for one in slurm or () for part in ("--slurm", one)]
    return Machines(RUNS, engine=options, shared=shared)
