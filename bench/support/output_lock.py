"""One command at a time writes to an output folder: a lock that names its holder, and a sweep of dead files."""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from cwwm.support.errors import BadInput, EnvironmentFault

LOCK = ".lock"
_SWEPT = ("", "cells", "artefacts", "hosts")  # folders that commands write to, in an output folder
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # of some file systems


@contextlib.contextmanager
def writing(folder: Path, command: str) -> Iterator[None]:
    """Keep a folder for one command that writes there, and remove temporary files of processes that are gone.

    The lock goes with its process, however that ends. Folders inside have locks of their own.

    Args:
        folder: made if it is missing.
        command: told to those who find the folder in use.

    Raises:
        BadInput: if another process writes there; the message names it.
        EnvironmentFault: if the folder cannot be written.
    """
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(path)
    except OSError as error:
        raise EnvironmentFault(f"cannot write {path}: {error.strerror}; choose another output folder") from error
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(_holder(command)).encode())
        sweep(folder)
        yield
    finally:
        with contextlib.suppress(OSError):
            sweep(folder)
            path.unlink()
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove temporary files that processes left behind when they were killed; the caller holds the lock."""
    for name in _SWEPT:
        place = folder / name
        if place.is_symlink() and name:
            continue  # it is not of this folder
        for part in place.glob(".*.part"):
            if part.is_symlink() or not part.is_dir():  # no command makes folders there
                part.unlink(missing_ok=True)


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Hold a lock that goes with its process, waiting for whoever has it.

    Nothing is locked on a file system without locks.

    Raises:
        EnvironmentFault: if the file of the lock cannot be made.
    """
    descriptor = _waited_for(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


@contextlib.contextmanager
def held_if_free(path: Path) -> Iterator[bool]:
    """Hold a lock that goes with its process, if nobody has it; yield whether that is so.

    It is free to everybody on a file system without locks.

    Raises:
        EnvironmentFault: if the file of the lock cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(path)
    except OSError as error:
        raise EnvironmentFault(f"cannot write {path.parent}: {error.strerror}") from error
    except BadInput:
        yield False
        return
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _waited_for(path: Path) -> int:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise EnvironmentFault(f"cannot write {path.parent}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
        if _is_still(path, descriptor):
            return descriptor
        os.close(descriptor)  # its holder ended and removed it just now


def _locked(path: Path) -> int:
    """Return the descriptor of the lock's file, locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        try:
            _lock(descriptor, path)
            if _is_still(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder ended and removed it just now


def _lock(descriptor: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise BadInput(f"{path} is no plain file; remove it")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BadInput(
            f"{path.parent} is in use by {_told(descriptor)}; wait until it ends, or choose another folder"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _is_still(path: Path, descriptor: int) -> bool:
    """Say whether a path still names an open file."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def _holder(command: str) -> dict[str, str | int]:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"command": command, "pid": os.getpid(), "machine": socket.gethostname(), "since": now}


def _told(descriptor: int) -> str:
    """Return who holds a lock, in words."""
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        text = f"{holder['command']} (process {holder['pid']} on {holder['machine']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
    return text if text.isprintable() else "another process"
