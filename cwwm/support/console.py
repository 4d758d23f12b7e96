"""What both command lines share: exit codes, one-line errors, JSON or table output, safe for every terminal."""

import contextlib
import gc
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TextIO, cast

import typer
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

from cwwm.support.errors import BadInput
from cwwm.support.packages import missing_package

DONE, NO, BAD_INPUT, FAILED = 0, 1, 2, 3
INTERRUPTED = 130  # as shells have it
_LONG = 500  # rows, beyond which a table is not fitted to the terminal

# typer brings a copy of click in newer versions, whose errors are not those of the package click
_UsageError = cast(
    type[typer.BadParameter], next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
)


def run_program(app: typer.Typer, name: str) -> NoReturn:
    """Run a command line as the whole program, and exit.

    What was imported is there to the end: no collection walks over it, nor the last one, which took 0.3 s for it.
    """
    gc.freeze()
    sys.exit(run_app(app, name))


def run_app(app: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 done, 1 the answer is no, 2 bad input, 3 failed.

    A reader that closes the pipe early changes none of them, and no locale makes printing fail.
    """
    with _patient_streams():
        code = _run(app, name, arguments)
        with contextlib.suppress(OSError):
            sys.stderr.flush()
    return code


def _run(app: typer.Typer, name: str, arguments: Sequence[str] | None) -> int:
    try:
        code = app(args=arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except BadInput as error:
        return _refuse(name, str(error))
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            return BAD_INPUT
        return _refuse(name, f"{error.format_message()} (see {name} --help)")
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except ModuleNotFoundError as error:
        missing = missing_package(error)
        return _refuse(name, missing) if missing else _break(name, error)
    except Exception as error:
        return _break(name, error)
    if code == INTERRUPTED:  # newer versions of typer return it
        print(f"{name}: interrupted", file=sys.stderr)
    return code if isinstance(code, int) else DONE


def _refuse(name: str, reason: str) -> int:
    """Print one line, whatever the reason's text, and return the exit code for bad input."""
    print(f"{name}: {escaped(' '.join(reason.split()))}", file=sys.stderr)
    return BAD_INPUT


def _break(name: str, error: Exception) -> int:
    """Print where the work failed and return the exit code for that."""
    traceback.print_exception(error)
    print(f"{name}: the work failed; the lines above say where", file=sys.stderr)
    return FAILED


class _Patient:
    """A stream whose reader may leave: what is written after that is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        """Lead the stream nowhere, so that what it still holds does no harm either."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._stream, name)


@contextlib.contextmanager
def _patient_streams() -> Iterator[None]:
    """Print what the locale cannot say as backslash escapes, and go on when a reader leaves."""
    streams = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:  # for a process that was started with a stream closed
        for stream in streams:
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        sys.stdout, sys.stderr = (cast(TextIO, _Patient(stream or nowhere)) for stream in streams)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = streams


def escaped(text: str) -> str:
    """Return a text with everything that is not printable as a backslash escape: controls, line ends, joiners."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(line: str) -> None:
    """Print one line on standard output, whatever names from files are in it; see `escaped`."""
    print(escaped(line))


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds, with hours if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def live_view(picture: Callable[[], RenderableType], *, transient: bool = False) -> Live | None:
    """Return what keeps a picture up to date on standard error; None where that is no terminal.

    What is printed on standard output meanwhile goes there. A `transient` picture is gone in the end.
    """
    if not sys.stderr.isatty():
        return None
    console = Console(stderr=True, highlight=False)
    return Live(console=console, get_renderable=picture, transient=transient, redirect_stdout=False)


def print_json(value: Any) -> None:  # noqa: ANN401 (any JSON value)
    """Print a JSON value on standard output."""
    print(json.dumps(value, indent=1, allow_nan=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    """Print a table on standard output; every cell by `str`, escaped as `say` does.

    A long one is set in columns as wide as they need, whatever the width of the terminal: that takes no time.
    """
    if len(rows) > _LONG:
        _print_long(columns, [[escaped(str(cell)) for cell in row] for row in rows], title)
        return
    table = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(escaped(str(cell)) for cell in row))
    width = None if sys.stdout.isatty() else 160
    Console(width=width, highlight=False, markup=False, emoji=False).print(table)


def _print_long(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None) -> None:
    lines = [columns, *rows]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    texts = (
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    print(*([title] if title else []), *(text.rstrip() for text in texts), sep="\n")
