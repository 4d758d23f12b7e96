"""The command of cwwm-bench that writes records in the formats that others read."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Baseline, existing, say
from bench.support.plain_text import show
from cwwm.support.console import DONE
from cwwm.support.errors import BadInput

app = typer.Typer()


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="Output folder of a run, or one with packed records.")],
    to: Annotated[list[str], typer.Option("--to", help="oss-v3, bmf, gha, junit or parquet. May repeat.")],
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Folder that gets the files; default OUT/exports.")
    ] = None,
    baseline: Baseline = None,
) -> int:
    """Write the records of a folder in formats that other programs read, and print the names of the files.

    oss-v3: the PyTorch benchmark database, a record a metric, the baseline as target (oss-v3.json).

    bmf: Bencher, with intervals: exact messages, log10 p, accuracy, seconds (bmf.json).

    gha: github-action-benchmark, its custom tools (gha-bigger.json, gha-smaller.json).

    junit: a test report; a case a scheme and attack fails where it is worse than the baseline (junit.xml).

    parquet: a row a strength of each cell, for pandas, Polars, DuckDB (records.parquet); needs pyarrow.

    The baseline is that of nightly and compare; without one only failed cells are errors in junit.xml.

    Equal records give equal files, and no network is used.

    Example: cwwm-bench export results/smoke --to bmf --to junit --folder exports
    """
    from bench.exports.base import Source
    from bench.exports.registry import exports_named
    from bench.exports.write import write_exports
    from bench.records.store import RecordStore
    from bench.regression.baseline import baseline_of

    formats, record_store = exports_named(to), RecordStore(existing(out))
    accepted = baseline_of(record_store.suite, baseline)
    if baseline and not accepted:
        raise BadInput(f"{baseline / record_store.suite} holds no baseline; leave --baseline out, or accept one")
    say(f"compared with {accepted.folder}" if accepted else "compared with nothing: the suite has no baseline")
    for path in write_exports(Source.of(record_store, accepted), formats, folder or out / "exports"):
        show(str(path))
    return DONE
