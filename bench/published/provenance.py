"""Where the page of a study comes from: command line, date, hardware, versions, source; noted as it is written."""

import datetime
import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field

from bench.published.entries import LIST, Entry, read_published
from bench.published.study_source import study_source
from bench.records.fields import Identity
from bench.support.environment import hardware
from bench.support.git import current_commit
from bench.support.numerics import processor_facts
from bench.support.schema import Fields, Name, validated
from cwwm.support.files import read_json, write_json

FOLDER = "provenance"  # below the folder of results; a file a page
_BEGAN = time.monotonic()  # a study's program imports this before it measures


class Provenance(Fields):
    """What made a page.

    Attributes:
        arguments: of the study's command line, without the page.
        date: when it was written. seconds: of the program until then.
        hardware: what did the work. torch, numerics: which version, and how numbers are rounded.
        commit: of the checkout, with "+" where files differed from it.
        source: digest of the definitions behind the page (`bench.published.study_source`); None where unknown.
        reads: digest of the files that the page is derived from. page: of the page itself.
    """

    date: Name
    hardware: Name
    page: Name
    arguments: list[str] = Field([])
    seconds: float | None = None
    torch: Name | None = None
    numerics: Name | None = None
    commit: Name | None = None
    source: Identity | None = None
    reads: Name | None = None


def provenance_path(folder: Path, entry: Entry) -> Path:
    """Return the file that says where a page comes from."""
    return folder / FOLDER / Path(entry.result).with_suffix(".json").name


def read_provenance(folder: Path, entry: Entry) -> Provenance | None:
    """Return what is noted of a page, or None if nothing is.

    Raises:
        BadInput: if the file is damaged.
    """
    path = provenance_path(folder, entry)
    if not path.exists():
        return None
    return validated(Provenance, read_json(path, "provenance of a page"), str(path))


def note_page(output: Path) -> None:
    """Note where a page comes from, if its folder publishes it and this program is its study; else do nothing.

    What went on from measurements of unknown source is noted as of unknown source.
    """
    folder, program = output.parent, Path(sys.argv[0])
    entry = read_published(folder).of_page(output.name) if (folder / LIST).exists() else None
    if entry is None or entry.study is None or (program.parent.name, program.stem) != ("studies", entry.study):
        return
    arguments, kept = told_arguments(sys.argv[1:], entry)
    source = study_source(entry.study)
    known = entry.keeps is None or (kept is not None and Path(kept).stem == source)
    made = Provenance(
        date=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        hardware=hardware(_device()),
        page=file_digest(output),
        arguments=arguments,
        seconds=round(time.monotonic() - _BEGAN, 1),
        torch=torch.__version__,
        numerics=processor_facts()["numerics"],
        commit=current_commit(),
        source=source if known else None,
        reads=reads_digest(folder, entry),
    )
    write_json(provenance_path(folder, entry), made.model_dump())


def _device() -> torch.device:
    """Return the device of this program: the GPU if anything was done there."""
    return torch.device("cuda" if torch.cuda.is_initialized() else "cpu")  # type: ignore[no-untyped-call]


def told_arguments(given: Sequence[str], entry: Entry) -> tuple[list[str], str | None]:
    """Return the arguments of a study without page and kept file, and the name of that file if it is given."""
    left, kept = [], None
    waiting = iter(given)
    for argument in waiting:
        option, sign, value = argument.partition("=")
        if option in ("-o", "--output", entry.keeps):
            value = value if sign else next(waiting, "")
            kept = value if option == entry.keeps else kept
        else:
            left.append(argument)
    return left, kept


def reads_digest(folder: Path, entry: Entry) -> str:
    """Return the digest of the files that an entry's page is derived from, by name and content."""
    root, digest = folder.absolute().parent, hashlib.sha256()
    without = [pattern[1:] for pattern in entry.reads if pattern.startswith("!")]
    found = {path for pattern in entry.reads if pattern[0] != "!" for path in root.glob(pattern) if path.is_file()}
    for path in sorted(path for path in found if not any(map(path.match, without))):
        digest.update(f"{path.relative_to(root).as_posix()} {file_digest(path)}\n".encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Return SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
