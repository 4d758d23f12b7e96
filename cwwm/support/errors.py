"""The errors that a user can cause, and the near-name hints that go with them."""

import difflib
from collections.abc import Iterable


class BadInput(ValueError):  # noqa: N818 (a name that a user of the library reads)
    """Something the caller gave cannot be used; the message says what, where, and what to do.

    Both command lines print it as one line and exit with code 2.
    """


class EnvironmentFault(BadInput):
    """The machine failed, not what was given: a full disk, a folder that cannot be written, a damaged cache.

    It says nothing about a model or a mark, so it is never a result: what met it can be tried again.
    """


def unknown_name(kind: str, name: str, known: Iterable[str], where: str = "") -> BadInput:
    """Return the error for an unknown `name`, naming the nearest valid ones.

    Args:
        kind: what the name should have been, for example ``"scheme"``.
        name: the name that was given.
        known: all valid names.
        where: file and key in which it was found, if any.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names[:30])}"
    return BadInput(f"{where + ': ' if where else ''}unknown {kind} '{name}'; {hint}")
