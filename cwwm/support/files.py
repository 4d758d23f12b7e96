"""Reads regular files of bounded size; writes files whole: beside the name, synced, renamed, or none at all."""

import contextlib
import errno
import json
import math
import os
import secrets
import shutil
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from cwwm.support.errors import BadInput, EnvironmentFault

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)

MOST_JSON = 16 << 20  # bytes: a mark of 70,000 layers takes ten million
_AT_ONCE = 1 << 30  # bytes: a file system that shares blocks takes any number
_DEEPEST = 64  # levels of a JSON value
_LARGEST = 1 << 63  # no number in a file is beyond it


@contextlib.contextmanager
def open_regular(path: Path, what: str, *, most: int | None = None) -> Iterator[BinaryIO]:
    """Open a regular file for reading; never waits for a pipe.

    Args:
        path: of the file.
        what: it should be, for the error.
        most: bytes that it may have; any number by default.

    Raises:
        BadInput: if it is missing, a folder, a pipe or a device, or has too many bytes.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise BadInput(f"no {what} at {path}") from error
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {what} {path}: {_reason(error)}") from error
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        os.close(descriptor)
        raise BadInput(f"cannot read {what} {path}: it is a folder, a pipe or a device, not a regular file")
    with open(descriptor, "rb") as file:
        if most is not None and state.st_size > most:
            raise BadInput(f"cannot read {what} {path}: it has {state.st_size:,} bytes; {most:,} are the most")
        yield file


def read_bounded(path: Path, what: str, most: int) -> bytes:
    """Return the bytes of a regular file; BadInput, naming `what` it should have been, beyond `most` of them."""
    with open_regular(path, what, most=most) as file:
        data = file.read(most + 1)  # it may have grown
    if len(data) > most:
        raise BadInput(f"cannot read {what} {path}: it has more than {most:,} bytes")
    return data


def _reason(error: Exception) -> str:
    """Return an error's text without the path, which the caller names."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@contextlib.contextmanager
def atomic_path(path: Path, *, mode: int = 0o644, exclusive: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it over `path`.

    Args:
        path: to write. A file that is replaced keeps its mode.
        mode: of a new file.
        exclusive: refuse to replace a file, also one that appears meanwhile.

    Raises:
        EnvironmentFault: if the folder cannot be written, the disk is full, or the folder goes away meanwhile.
        BadInput: if the file exists and `exclusive` is given.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    except (OSError, ValueError) as error:
        raise write_fault(path, error) from error
    created = stat.S_IMODE(temporary.stat().st_mode)
    try:
        yield temporary
        written = temporary.lstat()
        if stat.S_ISREG(written.st_mode) and written.st_nlink == 1:  # no link to another file
            temporary.chmod(created)  # some libraries write a file of their own over it
            keep_mode(path, temporary)
        sync(temporary)
        if exclusive:
            create(temporary, path)
        else:
            os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        if error.errno in _NO_ROOM or str(error.filename) == str(temporary):
            raise write_fault(path, error) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`; on success sync it and all that is in it, and give it the name.

    Raises:
        EnvironmentFault: if it cannot be written.
        BadInput: if `path` is there and is no empty folder.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for written in (*temporary.rglob("*"), temporary):
            sync(written)
        create(temporary, path)
        sync(path.parent)
    except OSError as error:
        if error.errno in _NO_ROOM or str(error.filename) == str(temporary):
            raise write_fault(path, error) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_bytes(source: Path, target: Path) -> None:
    """Write the bytes of a file to another name, anew if it is there.

    Where the file system can, both share their blocks until one of them changes, and nothing is copied.
    """
    with source.open("rb") as read, target.open("wb") as written:
        left = os.fstat(read.fileno()).st_size
        try:
            while left > 0 and (done := os.copy_file_range(read.fileno(), written.fileno(), min(left, _AT_ONCE))):
                left -= done
        except (AttributeError, OSError):  # not Linux, or two file systems
            left = -1
    if left:
        shutil.copyfile(source, target)


def write_fault(path: Path, error: Exception) -> EnvironmentFault:
    """Return the error for a file that cannot be written."""
    return EnvironmentFault(f"cannot write {path}: {_reason(error)}; choose another output folder")


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep_mode(old: Path, new: Path) -> None:
    """Give `new` the mode of the file that it is about to replace, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        new.chmod(stat.S_IMODE(old.stat().st_mode))


def create(temporary: Path, path: Path) -> None:
    """Give a finished file, or folder, its final name, which nobody may have taken; BadInput if somebody has."""
    try:
        if temporary.is_dir():
            _create_folder(temporary, path)
            return
        try:
            os.link(temporary, path)  # the name appears with all its bytes
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES):
                raise
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # a file system without links
            os.replace(temporary, path)
    except FileExistsError as error:
        raise BadInput(f"{path} exists; it is never overwritten, choose another name") from error


def _create_folder(temporary: Path, path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise FileExistsError(path)
    try:
        os.rename(temporary, path)  # over nothing but an empty folder
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(path) from error
        raise


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644, exclusive: bool = False) -> None:
    """Write `data` to `path` so that a reader sees the old file or the whole new one; as `atomic_path`."""
    with atomic_path(path, mode=mode, exclusive=exclusive) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 (any JSON value)
    """Write a JSON value, indented, keys in their order, with a final newline."""
    write_atomic(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object from `path`; BadInput, naming `what` it should have been, if it is none.

    The file is regular and of bounded size and depth, its numbers are finite and below 2^63, and no object names
    one thing twice.
    """
    data = read_bounded(path, what, MOST_JSON)
    try:
        value = json.loads(
            data.decode("utf-8"),
            parse_constant=_no_number,
            parse_float=_real,
            parse_int=_whole,
            object_pairs_hook=_once,
        )
    except (ValueError, RecursionError) as error:  # a decoding error is a ValueError, too
        raise BadInput(f"cannot read {what} {path}: {error}") from error
    if not isinstance(value, dict):
        raise BadInput(f"{path} is not a {what}: it holds no JSON object")
    if not _shallow(value):
        raise BadInput(f"cannot read {what} {path}: it is nested deeper than {_DEEPEST} levels")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = Counter(names).most_common(1)[0][0]
        raise ValueError(f"it names {twice[:80]!r} twice")
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _whole(text: str) -> int:
    value = int(text) if len(text) < 30 else _LARGEST  # long ones take long
    if not -_LARGEST < value < _LARGEST:
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _shallow(value: object) -> bool:
    """Say whether a JSON value has no more levels than `_DEEPEST`."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return True
    return False


def _children(value: object) -> Sequence[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()
