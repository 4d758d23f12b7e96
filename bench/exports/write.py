"""Writes exports: all of them are made first, so that a fault in one leaves no file."""

from collections.abc import Iterable
from pathlib import Path

from bench.exports.base import Export, Source
from bench.support.output_lock import writing
from cwwm.support.files import write_atomic


def write_exports(source: Source, exports: Iterable[Export], folder: Path) -> list[Path]:
    """Write the files of some formats into a folder, each whole or not at all, and return their paths.

    Raises:
        BadInput: if another command writes there. EnvironmentFault: if the folder cannot be written.
    """
    made = {folder / name: data for export in exports for name, data in export.files(source).items()}
    with writing(folder, "cwwm-bench export"):
        for path, data in made.items():
            write_atomic(path, data)
    return list(made)
