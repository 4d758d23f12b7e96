"""Commands of cwwm-bench that tell one nightly run, or one commit, from another."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import FOR_TABLES, Baseline, Device, Numerics, Plugins, Threads, chosen_suite, existing, say
from bench.support.plain_text import show
from cwwm.support.console import DONE, FAILED, NO
from cwwm.support.errors import BadInput
from cwwm.support.packages import require_package

if TYPE_CHECKING:
    from bench.regression.compare import Comparison

app = typer.Typer()


@app.command()
def nightly(
    suite: Annotated[str | None, typer.Argument(help="Default: nightly on a GPU, nightly-cpu on the CPU.")] = None,
    budget: Annotated[str, typer.Option("--budget", help="Time for all of it, such as 60m.")] = "60m",
    device: Device = "auto",
    threads: Threads = 1,
    numerics: Numerics = None,
    home: Annotated[
        Path | None, typer.Option("--home", help="Keeps hosts and history; default results/runs/nightly/SUITE.")
    ] = None,
    baseline: Baseline = None,
    plugin: Plugins = None,
) -> int:
    """Run a suite in a fresh folder inside a budget, and exit with 1 if it got worse than the accepted baseline."""
    from bench.execution.run_suite import Means
    from bench.execution.time_budget import parse_budget
    from bench.regression.baseline import baseline_of
    from bench.regression.nightly import Home, run_nightly
    from bench.support.environment import choose_device
    from bench.support.output_lock import writing

    require_package(FOR_TABLES)
    seconds, where = parse_budget(budget), choose_device(device)
    name = suite or ("nightly" if where.type == "cuda" else "nightly-cpu")
    chosen = chosen_suite(name, None, None, None, None, plugins=plugin)
    place = Home(home or Path("results", "runs", "nightly", chosen.name))
    accepted = baseline_of(chosen.name, baseline)
    means = Means(where, threads, plugins=tuple(plugin or ()))
    with writing(place.folder, "cwwm-bench nightly"):
        nightly_run = run_nightly(chosen, place, means, budget=seconds, baseline=accepted)
    show(nightly_run.summary)
    say(f"written: {nightly_run.record_store.folder}, {place.history}")
    compared = _exit_code(nightly_run.comparison) if nightly_run.comparison else DONE
    return compared or (FAILED if nightly_run.outcome.failed else DONE)


def _exit_code(found: "Comparison") -> int:
    """Return that of a comparison: one of nothing does not pass for one without a regression."""
    if found.is_worse:
        return NO
    return DONE if found.judgements else FAILED


@app.command()
def compare(out: Annotated[Path, typer.Argument(help="Output folder of a run.")], baseline: Baseline = None) -> int:
    """Say what got worse than a suite's accepted baseline; exit 1 if anything did, 3 if nothing was compared."""
    from bench.records.store import RecordStore
    from bench.regression import compare as judge
    from bench.regression.baseline import BASELINES, baseline_of
    from bench.regression.report import markdown

    new = RecordStore(existing(out))
    old = baseline_of(new.suite, baseline)
    if old is None:
        raise BadInput(
            f"{(baseline or BASELINES) / new.suite} holds no baseline; accept one: cwwm-bench accept-baseline OUT"
        )
    records = old.records(), new.records()
    found = judge(*records)
    show(markdown(found, *records))
    return _exit_code(found)


@app.command()
def speed(
    commit: Annotated[str | None, typer.Argument(help="Default: that of the accepted baseline.")] = None,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of runs, half a minute each.")] = 20,
    to: Annotated[Path, typer.Option("--to", help="Folder for the checkout and speed.md.")] = Path(
        "results/runs/speed"
    ),
    baseline: Baseline = None,
) -> int:
    """Time embedding and extraction beside another commit's, in turn; exit with 1 if anything got slower."""
    from bench.regression import speed as timing
    from bench.regression.baseline import accepted_commit
    from cwwm.support.files import write_atomic

    other = timing.side_of(commit or accepted_commit(baseline), to, say)
    found = timing.ratios(timing.alternate(other, timing.this_side(), pairs, say))
    table = timing.ratio_table(found) + "\n"
    write_atomic(to / "speed.md", table.encode())
    show(table)
    return NO if any(ratio.is_slower for ratio in found) else DONE


@app.command("accept-baseline")
def accept_baseline(
    out: Annotated[Path, typer.Argument(help="Output folder of a run, or of a nightly run.")],
    baseline: Baseline = None,
) -> int:
    """Make the records of a run the baseline that later nightly runs of its suite are compared with."""
    import datetime

    from bench.records.store import RecordStore
    from bench.regression.baseline import accept

    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    moved = accept(RecordStore(existing(out)), today, baseline)
    show(f"{len(moved.records())} records are the baseline of suite {moved.suite}: commit {moved.folder}")
    return DONE
