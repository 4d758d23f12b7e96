"""What the commands of cwwm-bench share: their options, and what becomes of them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.support.plain_text import show
from cwwm.support.errors import BadInput

if TYPE_CHECKING:
    from bench.suite import Suite

FOR_TABLES = "sklearn"  # tables alone load it, in the end; a run asks for it before it begins
RUNS = Path("results", "runs")  # ignored, under the working directory: runs write there by default
SuiteName = Annotated[str, typer.Argument(help="A suite's name (see list suites), or a YAML file.")]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="Replace the suite's models: names of models.yaml, wildcards, timm."),
]
Schemes = Annotated[list[str] | None, typer.Option("--scheme", help="Keep or add schemes, by label or name.")]
Attacks = Annotated[list[str] | None, typer.Option("--attack", help="Keep these attacks of the suite.")]
Payloads = Annotated[list[int] | None, typer.Option("--payload", help="Keep these payloads of the suite, in bits.")]
Seeds = Annotated[int | None, typer.Option("--seeds", help="Number of seeds.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Out = Annotated[Path | None, typer.Option("--out", help="Output folder; default results/runs/SUITE.")]
Threads = Annotated[int, typer.Option(min=1, help="Torch threads; results repeat only at equal numbers.")]


def _begin_numerics(setting: str | None) -> str | None:
    from bench.support.numerics import begin

    if setting is not None:
        begin(setting)
    return setting


Numerics = Annotated[
    str | None,
    typer.Option(
        "--numerics",
        callback=_begin_numerics,
        help="native (each library as fast as the processor allows) or portable: AVX2 everywhere, a tenth slower, "
        "so that results should repeat on any x86-64 processor.",
    ),
]
Budget = Annotated[
    str | None,
    typer.Option("--budget", help="Time, such as 60m: the most important cells first, and say what was cut."),
]
Baseline = Annotated[
    Path | None, typer.Option("--baseline", help="Folder of baselines, one a suite; default results/baseline.")
]
TimeLimit = Annotated[str, typer.Option("--time-limit", help="Time that one cell may take, its training included.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", help="A Python module with more schemes or attacks; its code is run. May repeat."),
]


def default_out(suite: str) -> Path:
    """Return the ignored folder that a suite's run writes to by default, under the working directory."""
    return RUNS / Path(suite).stem


def chosen_suite(
    name: str,
    models: list[str] | None,
    schemes: list[str] | None,
    attacks: list[str] | None,
    seeds: int | None,
    payloads: list[int] | None = None,
    plugins: list[str] | None = None,
) -> "Suite":
    """Return a suite as the options narrow it, once the plugins are known that it may name."""
    from bench.execution.plugins import load_plugins
    from bench.models.registry import idle_tags
    from bench.suite import load_suite, narrow

    load_plugins(plugins)
    suite = narrow(
        load_suite(name),
        models=models or (),
        schemes=schemes or (),
        attacks=attacks or (),
        payloads=payloads or (),
        seeds=seeds,
    )
    for line in idle_tags(suite.models):
        say(line)
    return suite


def existing(folder: Path) -> Path:
    """Return the output folder of a run; BadInput if it is none."""
    from bench.records.store import RecordStore

    if not RecordStore(folder).exists:
        raise BadInput(f"{folder} holds no records; run a suite first: cwwm-bench run smoke --out {folder}")
    return folder


def say(text: str) -> None:
    """Tell how the work goes, beside its results."""
    show(text, sys.stderr)
