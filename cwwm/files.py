"""The one place that writes files: beside the name, synced, renamed; a failure leaves nothing behind."""

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cwwm.errors import BadInput, EnvironmentFault

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@contextlib.contextmanager
def atomic_path(path: Path, *, mode: int = 0o644) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it over `path`.

    Raises:
        EnvironmentFault: if the folder cannot be written, the disk is full, or the folder goes away meanwhile.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    except OSError as error:
        raise _fault(path, error) from error
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        if error.errno in _NO_ROOM or str(error.filename) == str(temporary):
            raise _fault(path, error) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _fault(path: Path, error: OSError) -> EnvironmentFault:
    return EnvironmentFault(f"cannot write {path}: {error.strerror}; choose another output folder")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write `data` to `path` so that a reader sees the old file or the whole new one."""
    with atomic_path(path, mode=mode) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 (any JSON value)
    """Write a JSON value, indented, keys in their order, with a final newline."""
    write_atomic(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object from `path`; BadInput, naming `what` it should have been, if it is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInput(f"cannot read {what} {path}: {error}") from error
    if not isinstance(value, dict):
        raise BadInput(f"{path} is not a {what}: it holds no JSON object")
    return value
