"""What both command lines share: exit codes, one-line errors, JSON or table output."""

import json
import sys
import traceback
from collections.abc import Sequence
from typing import Any, cast

import typer
from rich.console import Console
from rich.table import Table

from cwwm.errors import BadInput

DONE, NO, BAD_INPUT, FAILED = 0, 1, 2, 3
INTERRUPTED = 130  # as shells have it

# typer brings a copy of click in newer versions, whose errors are not those of the package click
_UsageError = cast(
    type[typer.BadParameter], next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
)


def run_app(app: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 done, 1 the answer is no, 2 bad input, 3 failed."""
    try:
        code = app(args=arguments, prog_name=name, standalone_mode=False)
    except BadInput as error:
        return _refuse(name, str(error))
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            return BAD_INPUT
        return _refuse(name, f"{error.format_message()} (see {name} --help)")
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except Exception:
        traceback.print_exc()
        print(f"{name}: the work failed; the lines above say where", file=sys.stderr)
        return FAILED
    if code == INTERRUPTED:  # newer versions of typer return it
        print(f"{name}: interrupted", file=sys.stderr)
    return code if isinstance(code, int) else DONE


def _refuse(name: str, reason: str) -> int:
    """Print one line, whatever the reason's text, and return the exit code for bad input."""
    print(f"{name}: {' '.join(reason.split())}", file=sys.stderr)
    return BAD_INPUT


def print_json(value: Any) -> None:  # noqa: ANN401 (any JSON value)
    """Print a JSON value on standard output."""
    print(json.dumps(value, indent=1, allow_nan=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    """Print a table on standard output; every cell by `str`."""
    table = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False).print(table)
