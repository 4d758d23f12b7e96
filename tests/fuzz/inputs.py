"""What a target is, and the inputs that all readers are tried on: valid files with some bytes or values changed."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from cwwm.support.errors import BadInput
from tests.fuzz.make_corpus import CORPUS
from tests.fuzz.mutations import byte_edits, changed_bytes, json_edits, rewritten


@dataclass(frozen=True)
class Target:
    """A reader, and the inputs that it is tried on."""

    inputs: st.SearchStrategy[tuple[str, bytes]]
    read: Callable[[Path], object]

    def run(self, name: str, data: bytes, folder: Path) -> bool:
        """Read an input; return whether it was accepted. Anything but `BadInput` is raised."""
        path = folder / name
        path.write_bytes(data)
        path.chmod(0o600)
        try:
            self.read(path)
        except BadInput:
            return False
        finally:
            path.unlink(missing_ok=True)
        return True


def seeds(pattern: str) -> list[Path]:
    """Return the valid files of the corpus that match a pattern."""
    return sorted(CORPUS.glob(pattern))


def changed(pattern: str) -> st.SearchStrategy[tuple[str, bytes]]:
    """Return files that match a pattern, some of their bytes changed."""
    return st.tuples(st.sampled_from(seeds(pattern)), byte_edits).map(
        lambda drawn: (drawn[0].name, changed_bytes(drawn[0].read_bytes(), drawn[1]))
    )


def changed_values(pattern: str, dumps: Callable[[Any], str] = json.dumps) -> st.SearchStrategy[tuple[str, bytes]]:
    """Return JSON files that match a pattern, some of their values changed, written by `dumps`."""
    return st.tuples(st.sampled_from(seeds(pattern)), json_edits).map(
        lambda drawn: (drawn[0].name, rewritten(drawn[0].read_bytes(), drawn[1], dumps))
    )
