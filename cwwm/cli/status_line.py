"""One line on the terminal that says what a long command is doing and how far it is; gone when it is done."""

import contextlib
import time
from collections.abc import Iterator

from rich.text import Text

from cwwm.support.console import clock, escaped, live_view
from cwwm.support.progress import told_to


class StatusLine:
    """Puts what is told into one line."""

    def __init__(self) -> None:
        """Begin to count the time."""
        self._start, self._subject, self._doing, self._done, self._total = time.perf_counter(), "", "", 0, 0

    def begin(self, subject: str) -> None:
        """Take a new subject."""
        self._subject, self._doing = subject, ""

    def step(self, doing: str, done: int, total: int | None) -> None:
        """Take what is being done to it."""
        self._doing, self._done, self._total = doing, done, self._total if total is None else total

    def text(self) -> Text:
        """Return the line, cut to the width of the terminal; the time comes first, so that it is not cut."""
        doing = f"{self._done} of {self._total} {self._doing}" if self._doing else "reading"
        words = ": ".join(filter(None, (self._subject, doing)))
        seconds = time.perf_counter() - self._start
        return Text(escaped(f"{clock(seconds)}  {words}"), no_wrap=True, overflow="ellipsis")


@contextlib.contextmanager
def status_line() -> Iterator[None]:
    """Show what this context does, where standard error is a terminal; standard output is left alone."""
    line = StatusLine()
    live = live_view(line.text, transient=True)
    if live is None:
        yield
        return
    with live, told_to(line):
        yield
