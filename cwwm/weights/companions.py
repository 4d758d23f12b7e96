"""What goes with a copy of a folder of shards: configuration, vocabularies and texts, at any depth."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from cwwm.weights.shard_files import ShardFiles

_DEEPEST = 8  # folders inside each other: models have one
_OWNERS = re.compile(rb'(cwwm-(harness-)?key |\{\s*"format": "cwwm-)')  # how keys, marks and commitments begin
_HEAD = 256  # bytes that tell it


def companions(files: ShardFiles, depth: int = _DEEPEST) -> tuple[list[str], list[str]]:
    """Return the files that go with a copy, and what does not; names below the folder, with slashes.

    `ShardFiles.beside` is the rule for each file, wherever it lies; keys, marks and commitments stay whatever they
    are called. A folder of which nothing goes is named itself. Links to folders are not followed.
    """
    goes, left = list[str](), list[str]()
    there, others = files.beside()
    for name in there:
        (left if _is_owners(files.folder / name) else goes).append(name)
    for name in others:
        path = files.folder / name
        inside, out = companions(ShardFiles(path, ()), depth - 1) if depth and _is_open_folder(path) else ([], [])
        goes += _below(name, inside)
        left += _below(name, out) if inside else [name]
    return sorted(goes), sorted(left)


def _below(folder: str, names: list[str]) -> Iterator[str]:
    return (f"{folder}/{name}" for name in names)


def _is_open_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and os.access(path, os.R_OK | os.X_OK)


def _is_owners(path: Path) -> bool:
    """Say whether a file is a key, a mark or a commitment, whatever it is called."""
    with path.open("rb") as file:
        return _OWNERS.match(file.read(_HEAD)) is not None
