"""The command line cwwm-bench: plan, calibrate, run, status, leaderboard, check, nightly and more."""

import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from bench.cli import exports, regression, results
from bench.cli.engines import Address, Engine, Shared, Slots, Slurm, wanted
from bench.cli.options import (
    FOR_TABLES,
    RUNS,
    Attacks,
    Budget,
    Device,
    Json,
    Models,
    Numerics,
    Out,
    Payloads,
    Plugins,
    Schemes,
    Seeds,
    SuiteName,
    Threads,
    TimeLimit,
    chosen_suite,
    default_out,
    existing,
    say,
)
from bench.support.plain_text import plain, show
from cwwm.support.console import DONE, FAILED, NO, print_json, print_table, run_program
from cwwm.support.errors import BadInput
from cwwm.support.packages import require_package

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import FrameType

    from bench.records.store import RecordStore
    from bench.suite import AttackEntry, SchemeEntry, Suite
    from bench.suite.cell import Cell
    from bench.verification.check import Rerun

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Mark models with every scheme, attack them, and rank what survives.

    First: cwwm-bench list suites, cwwm-bench plan smoke, cwwm-bench run smoke

    A run that was stopped in any way goes on where it was when it is started again; the leaderboard is derived
    from its records.

    Exit codes: 0 done, 1 the answer is no, 2 bad input, 3 some cells failed, or nothing was compared.""",
)
app.add_typer(regression.app)  # without a name: its commands stand beside these
app.add_typer(exports.app)
app.add_typer(results.app)
_REASONS = 50  # why a folder is not accepted, that check prints


@app.command()
def plan(
    suite: SuiteName,
    model: Models = None,
    scheme: Schemes = None,
    attack: Attacks = None,
    payload: Payloads = None,
    seeds: Seeds = None,
    device: Device = "auto",
    threads: Threads = 1,
    numerics: Numerics = None,
    out: Out = None,
    plugin: Plugins = None,
    json: Json = False,
) -> int:
    """Show what a run would do, how much of it is recorded already, and how many core-hours the rest takes.

    These follow from what similar cells took in runs below results/runs, or into the same folder, on this hardware.
    """
    from bench.execution.estimate import core_hours
    from bench.records.store import RecordStore
    from bench.suite.expand import cells, pending
    from bench.support.environment import choose_device, hardware, prepare

    chosen = chosen_suite(suite, model, scheme, attack, seeds, payload, plugin)
    where = choose_device(device)
    todo = cells(chosen, prepare(where, threads))
    record_store = RecordStore(out or default_out(suite))
    left = pending(todo, record_store, stop=chosen.stop)
    waiting = {cell.identity for cell in left}
    if json:
        print_json([{"identity": c.identity, **c.key, "recorded": c.identity not in waiting} for c in todo])
        return DONE
    show(f"suite {chosen.name}: {chosen.description}")
    rows = [
        (m.name, m.data, s.shown, _bits(chosen, s), chosen.seeds, len(chosen.attacks))
        for m in chosen.models
        for s in chosen.schemes
    ]
    print_table(("model", "data", "scheme", "bits", "seeds", "attacks"), rows)
    print_table(("attack", "model", "bits", "strengths"), _attack_rows(chosen, todo))
    recorded = sum(cell.identity not in waiting for cell in todo)  # cells of two labels may share a record
    show(f"{len(todo)} cells, {recorded} of them recorded in {record_store.folder}")
    if left:
        most = "at most, for it stops where an attack decides: " if chosen.stop else ""
        show(most + core_hours(left, RUNS, record_store.folder, hardware(where), threads))
    return DONE


@app.command()
def calibrate(
    suite: SuiteName,
    model: Models = None,
    scheme: Schemes = None,
    attack: Attacks = None,
    payload: Payloads = None,
    seed: Annotated[int, typer.Option(min=0, help="The one seed to calibrate on.")] = 0,
    again: Annotated[bool, typer.Option("--again", help="Also find the strengths that are found already.")] = False,
    device: Device = "auto",
    threads: Threads = 1,
    numerics: Numerics = None,
    out: Out = None,
    plugin: Plugins = None,
) -> int:
    """Fix strengths in a file beside the suite: of its tuned schemes, and of attacks with points to be lost.

    All marks of a host and payload then cost alike, and so do attacks. Naming only schemes with --scheme asks
    for no attacks, and naming only attacks with --attack for no schemes.
    """
    from bench.calibration.calibrate import calibrate as find
    from bench.calibration.calibrate import calibrate_attacks, waiting
    from bench.execution.model_factory import ModelFactory
    from bench.suite.calibration_file import strengths_path
    from bench.support.artifact_store import ArtefactStore
    from bench.support.environment import choose_device, prepare
    from bench.support.output_lock import writing

    chosen = chosen_suite(suite, model, scheme, attack, None, payload, plugin)
    where = choose_device(device)
    asked = {"schemes": bool(scheme or not attack), "attacks": bool(attack or not scheme)}
    todo = waiting(chosen, prepare(where, threads), seed=seed, again=again, **asked)
    folder = out or default_out(suite)
    factory = ModelFactory(ArtefactStore(folder / "artefacts"), where, say)
    found = chain(find(chosen, todo.schemes, factory, say), calibrate_attacks(chosen, todo.attacks, factory, say))
    with writing(folder, "cwwm-bench calibrate"):
        for number, entry in enumerate(found, 1):
            say(f"[{number}/{len(todo)}] {entry}")
    show(
        f"{len(todo.schemes)} strengths found, those of {len(todo.attacks)} attacks chosen, "
        f"in {strengths_path(chosen.path)}"
    )
    return DONE


@app.command()
def run(
    suite: SuiteName,
    model: Models = None,
    scheme: Schemes = None,
    attack: Attacks = None,
    payload: Payloads = None,
    seeds: Seeds = None,
    device: Device = "auto",
    threads: Threads = 1,
    numerics: Numerics = None,
    out: Out = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes, on one GPU too; timings are then shared.")] = 1,
    cache_gb: Annotated[float, typer.Option(help="Bound on stored models; the least used go first.")] = 20.0,
    budget: Budget = None,
    cell_timeout: Annotated[
        str | None, typer.Option("--cell-timeout", help="Time after which a cell has failed, such as 30m.")
    ] = None,
    plugin: Plugins = None,
    engine: Engine = "inline",
    address: Address = None,
    shared: Shared = None,
    slots: Slots = 16,
    slurm: Slurm = None,
) -> int:
    """Run a suite, go on where an earlier run stopped, and print the leaderboard."""
    from bench.execution.cluster.opening import opened
    from bench.execution.run_suite import Means, run_suite
    from bench.execution.time_budget import parse_budget
    from bench.records.store import RecordStore
    from bench.suite.expand import cells
    from bench.support.environment import choose_device, prepare
    from bench.support.output_lock import writing

    require_package(FOR_TABLES)
    deadline, limit = _deadline(budget), parse_budget(cell_timeout, "--cell-timeout") if cell_timeout else None
    chosen = chosen_suite(suite, model, scheme, attack, seeds, payload, plugin)
    folder, plugins, stored = out or default_out(suite), tuple(plugin or ()), int(cache_gb * 2**30)
    machines = wanted(engine, folder, address, shared, slots, slurm)
    where = choose_device(device if machines.here else "cpu")
    means = Means(where, threads, jobs, stored, deadline, plugins=plugins, cell_timeout=limit)
    if not machines.here and (jobs > 1 or deadline or limit):
        raise BadInput("--jobs, --budget and --cell-timeout are for --engine inline: drop them, or --engine")
    with (
        writing(folder, "cwwm-bench run"),
        opened(machines, device, threads=threads, plugins=plugins, cache_bytes=stored, say=say) as cluster,
    ):
        conditions = cluster.machine.conditions if cluster else prepare(where, threads)
        record_store = RecordStore(folder)
        done = run_suite(chosen, cells(chosen, conditions), record_store, replace(means, cluster=cluster))
        unneeded = f", {done.unneeded} not needed" if done.unneeded else ""
        say(f"{done.run} cells run{unneeded}, {done.taken} taken from {folder}")
        _write_leaderboard(record_store, page=folder / "leaderboard.html")
    _print_cut(done.cut)
    return FAILED if done.failed else DONE


@app.command()
def status(out: Annotated[Path, typer.Argument(help="Output folder of a run.")], json: Json = False) -> int:
    """Show how far a run is, also while it goes on; count its records by status, and say why cells failed."""
    from dataclasses import asdict

    from rich.console import Console

    from bench.execution.progress import progress_view, read_progress
    from bench.records.schema import NOT_NEEDED
    from bench.records.store import RecordStore

    progress = read_progress(out)
    records = [] if progress and not RecordStore(out).exists else RecordStore(existing(out)).records()
    counts = Counter(record.status for record in records)
    if json:
        print_json({"records": dict(counts), "progress": asdict(progress) if progress else None})
        return DONE
    if progress:
        Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(progress_view(progress))
    print_table(("status", "cells"), [(plain(name), count) for name, count in sorted(counts.items())])
    for record in records:
        if record.status not in ("ok", NOT_NEEDED):
            show(f"{record.status}: {' '.join(str(part) for _, part in record.key)}: {record.reason}")
    return DONE


@app.command()
def leaderboard(
    out: Annotated[Path, typer.Argument(help="Output folder of a run.")],
    html: Annotated[
        bool, typer.Option("--html", help="Also write leaderboard.html, one page to look into.")
    ] = False,
    to: Annotated[Path | None, typer.Option("--to", help="Write that page to this file; takes --html.")] = None,
) -> int:
    """Derive leaderboard.md, .csv and .png from the records of a folder again, and print it.

    The page holds all records and needs no network: a browser opens it from the file system.
    """
    from bench.records.store import RecordStore
    from bench.support.output_lock import writing

    if to and not html:
        raise BadInput(f"--to {to} says where the page goes; add --html")
    with writing(existing(out), "cwwm-bench leaderboard"):
        _write_leaderboard(RecordStore(out), page=(to or out / "leaderboard.html") if html else None)
    return DONE


@app.command()
def check(
    out: Annotated[Path, typer.Argument(help="Output folder of a run.")],
    sample: Annotated[
        int,
        typer.Option(min=0, help="Cells to run again, chosen at random; and so many rows of another processor."),
    ] = 2,
    seed: Annotated[int | None, typer.Option(help="Choose the cells of an earlier check again.")] = None,
    accept_unrun: Annotated[
        int, typer.Option("--accept-unrun", min=0, help="Take so many records that cannot be run again here.")
    ] = 0,
    time_limit: TimeLimit = "60m",
    device: Device = "auto",
    threads: Threads = 1,
    numerics: Numerics = None,
    plugin: Plugins = None,
) -> int:
    """Say whether results are accepted, or why not: their form, digests and tables, and some cells run again.

    The folder may be a stranger's: nothing in it is imported, and what a plugin made is not run unless you name
    the plugin yourself. Cells of equal processors are held against the records bit by bit. Of another processor
    whole rows are run with all their seeds, and tested as the nightly gate does.
    """
    from bench.verification.check import check_folder
    from bench.verification.rows import SEEDS_FOR_MESSAGES

    with _rerun(
        out, device, threads, numerics, plugin, sample=sample, seed=seed, time_limit=time_limit, accept=accept_unrun
    ) as (record_store, runtime, rerun):
        verdict = check_folder(record_store, runtime, rerun, show)
    for reason in verdict.reasons[:_REASONS]:
        show(f"WRONG: {' '.join(reason.split())}")
    if verdict.reasons:
        more = len(verdict.reasons) - _REASONS
        print(f"not accepted: {len(verdict.reasons)} reasons" + (f", {more} of them not shown" if more > 0 else ""))
        return NO
    ran = f"accepted: {verdict.again} of {verdict.records} cells run again" if sample else "no cell was run again"
    print(f"all is well; {ran}" + (f", {verdict.unrun} taken unseen" if verdict.unrun else ""))
    if verdict.blind:
        print(
            f"but {verdict.blind} rows of another processor have fewer than {SEEDS_FOR_MESSAGES} seeds: a change "
            "of their messages could not have been seen; portable results can be held bit by bit"
        )
    if verdict.older:
        show(f"{verdict.older} of them are of older source, with equal results; cwwm-bench restamp {out} says so")
    return DONE


@app.command()
def restamp(
    out: Annotated[Path, typer.Argument(help="Output folder of a run.")],
    sample: Annotated[int, typer.Option(min=1, help="Cells to run again, chosen at random.")] = 5,
    seed: Annotated[int | None, typer.Option(help="Choose the cells of an earlier try again.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Take what was stamped before, too.")] = False,
    other_processors: Annotated[
        bool,
        typer.Option(
            "--other-processors", help="Take those of other processors, if they are equal here to 12 digits."
        ),
    ] = False,
    time_limit: TimeLimit = "60m",
    device: Device = "auto",
    threads: Threads = 1,
    numerics: Numerics = None,
    plugin: Plugins = None,
) -> int:
    """Say of results of older source that the source as it is gives them too, if a sample of cells agrees.

    Nothing is stamped, and the exit code is 1, unless every cell of the sample is equal: bit by bit, or where
    --other-processors asks for them to 12 digits. What was run again is noted in the run file and in each record.
    The sample is of few marked models, of every scheme in turn.
    """
    from bench.leaderboard import write
    from bench.support.output_lock import writing
    from bench.verification.restamp import restamp as stamp

    with (
        writing(existing(out), "cwwm-bench restamp"),
        _rerun(out, device, threads, numerics, plugin, sample=sample, seed=seed, time_limit=time_limit) as (
            record_store,
            runtime,
            rerun,
        ),
    ):
        done = stamp(record_store, runtime, rerun, show, again=again, other_processors=other_processors)
        if done.stamped:
            write(record_store)
    for reason in done.reasons[:_REASONS]:
        show(f"WRONG: {' '.join(reason.split())}")
    if done.reasons:
        print("nothing was stamped")
        return NO
    print(
        f"{done.stamped} records stamped, after {done.again} cells were run again with equal results"
        if done.stamped
        else "nothing is of older source that can be run again here"
    )
    if done.left:
        print(f"{done.left} records of older source or other conditions stay as they are")
    return DONE


@app.command()
def pack(
    out: Annotated[Path, typer.Argument(help="Output folder of a run.")],
    to: Annotated[Path, typer.Option("--to", help="Folder that is to hold them, to be committed, say.")],
) -> int:
    """Pack the records of a folder's last run into one file in another, and derive the tables beside it."""
    from bench.leaderboard import write
    from bench.records.store import RecordStore
    from bench.support.output_lock import writing

    record_store = RecordStore(existing(out))
    record_store.ensure_packable(to)
    with writing(to, "cwwm-bench pack"):
        packed = record_store.pack(to)
        paths = write(packed)
    show(f"{len(packed.records())} records packed; written: " + ", ".join(map(str, [packed.archive, *paths])))
    return DONE


@app.command()
def archive(
    out: Annotated[Path, typer.Argument(help="Output folder of a run.")],
    reason: Annotated[str, typer.Option("--reason", help="What has changed since, in one line.")],
) -> int:
    """Note on the tables of a folder that its records are of older source; the next run there drops the note."""
    import datetime

    from bench.leaderboard import write
    from bench.records.store import RecordStore
    from bench.support.output_lock import writing

    record_store = RecordStore(existing(out))
    with writing(out, "cwwm-bench archive"):
        record_store.note_archived(datetime.datetime.now(datetime.UTC).date().isoformat(), reason)
        paths = write(record_store)
    show(f"{record_store.archived}\nwritten: " + ", ".join(map(str, paths)))
    return DONE


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="models, schemes, attacks, data or suites.")],
    filter_: Annotated[
        str | None, typer.Option("--filter", help="Wildcard on names; also on timm's models.")
    ] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Models with weights in timm.")] = False,
    plugin: Plugins = None,
    json: Json = False,
) -> int:
    """List what there is; of models those of models.yaml, and with --filter all that timm has."""
    from bench.cli.listing import catalogue
    from bench.execution.plugins import load_plugins

    load_plugins(plugin)
    columns, rows = catalogue(what, filter_, pretrained=pretrained)
    if json:
        print_json([dict(zip(columns, map(str, row), strict=True)) for row in rows])
    else:
        print_table(columns, rows)
    return DONE


@app.command()
def schema(page: Annotated[bool, typer.Option("--page", help="Print the page of docs/ instead.")] = False) -> int:
    """Print what a record holds, as JSON Schema."""
    from bench.records.schema import json_schema
    from bench.records.schema_page import page as made

    if page:
        print(made(), end="")
    else:
        print_json(json_schema())
    return DONE


@contextmanager
def _rerun(
    out: Path,
    device: str,
    threads: int,
    numerics: str | None,
    plugins: list[str] | None,
    *,
    sample: int,
    seed: int | None,
    time_limit: str,
    accept: int = 0,
) -> "Iterator[tuple[RecordStore, dict[str, Any], Rerun]]":
    """Yield a folder's records, the conditions here, and how its cells are run again: in a folder that goes after.

    The numerics are those that the folder was recorded with, unless others are given.
    """
    from bench.execution.executors import Place
    from bench.execution.plugins import load_plugins
    from bench.execution.time_budget import parse_budget
    from bench.records.store import RecordStore
    from bench.support.environment import choose_device, prepare
    from bench.support.numerics import PORTABLE, begin
    from bench.verification.check import Rerun
    from bench.verification.rebuild import recorded_numerics

    record_store = RecordStore(existing(out))
    if sample and numerics is None and recorded_numerics(record_store) == PORTABLE:
        begin(PORTABLE)
    load_plugins(plugins)
    where, limit = choose_device(device), parse_budget(time_limit, "--time-limit")
    with tempfile.TemporaryDirectory() as scratch:
        place = Place(Path(scratch), 20 << 30, threads, tuple(plugins or ()), where.type)
        yield record_store, prepare(where, threads), Rerun(place, sample, seed, accept, limit)


def _deadline(budget: str | None) -> float | None:
    """Return when a budget that begins now is used up, on the steady clock."""
    from bench.execution.time_budget import parse_budget

    return None if budget is None else time.monotonic() + parse_budget(budget)


def _print_cut(cut: "Sequence[Cell]") -> None:
    from bench.execution.time_budget import cut_rows

    rows = [(r["seed"], r["scheme"], r["payload"], r["model"], ", ".join(r["attacks"])) for r in cut_rows(cut)]
    if rows:
        print_table(("seed", "scheme", "bits", "model", "attacks"), rows, f"{len(cut)} cells cut by the budget")


def _attack_rows(suite: "Suite", todo: "list[Cell]") -> list[tuple[str, str, str, str]]:
    """Return a row for each attack, or for each of its models if their strengths were chosen one by one."""
    rows = []
    for entry in suite.attacks:
        if not entry.lost:
            rows.append((entry.label, "all", _bits(suite, entry), _numbers(entry.strengths)))
            continue
        strengths = {c.host.model.name: c.attack.strengths for c in todo if c.attack.label == entry.label}
        rows += [(entry.label, model, _bits(suite, entry), _numbers(own)) for model, own in strengths.items()]
    return rows


def _numbers(numbers: "Iterable[float]") -> str:
    return " ".join(f"{number:g}" for number in numbers)


def _bits(suite: "Suite", entry: "SchemeEntry | AttackEntry") -> str:
    return " ".join(map(str, suite.payloads_of(entry)))


def _write_leaderboard(record_store: "RecordStore", page: Path | None) -> None:
    from bench.leaderboard import write
    from bench.leaderboard.page import write_page

    paths = write(record_store)
    if page:
        paths.append(write_page(record_store, page))
    # last: whoever reads only its head closes the pipe, and that ends the command
    show(paths[0].read_text(encoding="utf-8"))
    say("written: " + ", ".join(map(str, paths)))


def main() -> NoReturn:
    """Run the command line and exit; SIGTERM ends it as an interrupt does: workers end, the state is noted."""
    signal.signal(signal.SIGTERM, _interrupt)
    run_program(app, "cwwm-bench")


def _interrupt(number: int, frame: "FrameType | None") -> None:
    raise KeyboardInterrupt
