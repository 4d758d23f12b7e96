"""Reads what strangers may have written: plain files only, bounded in size and depth, finite numbers only."""

import json
import lzma
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cwwm.support.errors import BadInput

RECORD_BYTES = 1 << 20  # of one record; the largest of ours has 25,000
RECORDS_BYTES = 256 << 20  # of all records of a folder, unpacked; the most of ours have 55 million
FILE_BYTES = 64 << 20  # of a run file, which lists cells
_UNPACKING_BYTES = 256 << 20  # of memory that an archive may ask for
_CHUNK = 1 << 16


def read_bounded(path: Path, what: str, limit: int = FILE_BYTES) -> bytes:
    """Return the bytes of a plain file; BadInput, naming `what` it is, for a link, a device or too long a file."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise BadInput(f"{what} {path} is no plain file")
        if found.st_size > limit:
            raise BadInput(f"{what} {path} has {found.st_size:,} bytes; at most {limit:,} are read")
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {what} {path}: {error.strerror}") from error


def read_object(path: Path, what: str, limit: int = FILE_BYTES) -> dict[str, Any]:
    """Return the JSON object of a plain file; BadInput, naming `what` it should have been, if it is none."""
    return parse_object(read_bounded(path, what, limit), f"{what} {path}")


def parse_object(text: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object that a text holds.

    Raises:
        BadInput: led by `where`, if it is none: other JSON, NaN or an infinite number, nested too deeply.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise BadInput(f"{where} is nested too deeply to be a record") from None
    except ValueError as error:  # malformed, not UTF-8, NaN, or an integer of thousands of digits
        raise BadInput(f"{where} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise BadInput(f"{where} is damaged: it holds no JSON object")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def archive_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of an xz archive of records, unpacking no more than is asked for.

    Raises:
        BadInput: where it is damaged, goes on after its end, or holds more than records can.
    """
    rest, size, number = b"", 0, 0
    for piece in _unpacked(path):
        size += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        if size > RECORDS_BYTES or max(map(len, [*lines, rest])) > RECORD_BYTES:
            raise BadInput(f"archive {path} holds more than records can, after record {number}; it is not unpacked")
        number += len(lines)
        yield from lines
    if rest:
        raise BadInput(f"archive {path} is damaged after record {number}: its last line has no end")


def _unpacked(path: Path) -> Iterator[bytes]:
    """Yield the content of an xz file in pieces of bounded size."""
    packed = read_bounded(path, "archive", RECORDS_BYTES)
    machine = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_UNPACKING_BYTES)
    try:
        yield machine.decompress(packed, _CHUNK)
        while not machine.eof:
            if not (piece := machine.decompress(b"", _CHUNK)) and not machine.eof:
                raise lzma.LZMAError("it ends early")
            yield piece
    except (lzma.LZMAError, EOFError, MemoryError) as error:
        raise BadInput(f"archive {path} is damaged: {error}") from error
    if machine.unused_data:
        raise BadInput(f"archive {path} is damaged: it goes on after its end")
