"""What both command lines share: exit codes, one-line errors, JSON or table output."""

import json
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click
import typer
from rich.console import Console
from rich.table import Table

from cwwm.errors import BadInput

DONE, NO, BAD_INPUT, FAILED = 0, 1, 2, 3


def run_app(app: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 done, 1 the answer is no, 2 bad input, 3 failed."""
    try:
        code = app(args=arguments, prog_name=name, standalone_mode=False)
    except BadInput as error:
        print(f"{name}: {error}", file=sys.stderr)
        return BAD_INPUT
    except click.ClickException as error:
        print(f"{name}: {error.format_message()} (see {name} --help)", file=sys.stderr)
        return BAD_INPUT
    except (click.Abort, KeyboardInterrupt):
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    except Exception:
        traceback.print_exc()
        print(f"{name}: the work failed; the lines above say where", file=sys.stderr)
        return FAILED
    return code if isinstance(code, int) else DONE


def print_json(value: Any) -> None:  # noqa: ANN401 (any JSON value)
    """Print a JSON value on standard output."""
    print(json.dumps(value, indent=1, allow_nan=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    """Print a table on standard output; every cell by `str`."""
    table = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False).print(table)
