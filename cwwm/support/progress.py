"""How far long work is: told while it is done, to whoever listens, and to nobody by default.

What is told changes no result, and a call of `tell` counts for no fingerprint of results.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Protocol


class Listener(Protocol):
    """Who is told."""

    def begin(self, subject: str) -> None:
        """Take a new subject: what the next steps are done to."""

    def step(self, doing: str, done: int, total: int | None) -> None:
        """Take what is being done, and how much of its total is; None: of the total told last."""


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextlib.contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Tell a listener what is done inside this context."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def begin(subject: str) -> None:
    """Tell what the next steps are done to."""
    if (listener := _listener.get()) is not None:
        listener.begin(subject)


def tell(doing: str, done: int, total: int | None = None) -> None:
    """Tell what is being done, and how much of its total is; without one, of the total told last."""
    if (listener := _listener.get()) is not None:
        listener.step(doing, done, total)
