"""Several files that appear together or not at all, also where the process is killed meanwhile."""

import contextlib
import glob
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cwwm.support.errors import BadInput
from cwwm.support.files import create, keep_mode, sync, write_fault

try:
    import fcntl
except ImportError:  # not POSIX: nothing to lock a folder with
    fcntl = None  # type: ignore[assignment]

_KEPT = "replaced"  # in a folder of staged files: those that stood under their names before


@dataclass(frozen=True)
class _Seen:
    """What stood under a name at one moment, to notice that another process replaced it."""

    device: int
    inode: int
    changed: int

    @classmethod
    def at(cls, path: Path) -> "_Seen | None":
        try:
            state = path.lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise write_fault(path, error) from error
        return cls(state.st_dev, state.st_ino, state.st_mtime_ns)


@contextlib.contextmanager
def appearing_together(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield an empty folder beside `paths`; on success all files in it appear under these names, else none does.

    What is written there has the names of `paths`, which lie in one folder; some may be missing in the end. They
    appear in the order of `paths`, so the last one never stands without the others; it may be a folder. Files that
    are replaced keep their modes.

    Raises:
        BadInput: if the folder cannot be written, or one of the names was taken or replaced meanwhile: of two
            processes that write to one name, one is refused.
    """
    folder = paths[-1].parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            before = [_Seen.at(path) for path in paths]
            staging, held = _staging(paths[-1])
    except BadInput:
        raise
    except (OSError, ValueError) as error:
        raise write_fault(paths[-1], error) from error
    try:
        yield staging
        with _locked(folder):
            _publish(staging, paths, before)
            sync(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        os.close(held)


def _staging(path: Path) -> tuple[Path, int]:
    """Make the folder that files for `path` are written to; return it, and what holds its lock."""
    staging = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    staging.mkdir()
    held = os.open(staging, os.O_RDONLY)
    _lock(held)
    return staging, held


def undo_unfinished(paths: Sequence[Path]) -> None:
    """Remove what a process left that was killed while its files were to appear under these names.

    Where it had begun to give them their names and not come to the last, what stood there before is put back; it
    had told nobody that it was done. Nothing is touched that may be a living process's, or of which that cannot be
    known, for want of locks.
    """
    folder, last = paths[-1].parent, paths[-1].name
    if fcntl is None or not folder.is_dir():
        return
    with _locked(folder):
        for staging in folder.glob(f".{glob.escape(last)}.*.part"):
            if staging.is_dir() and not staging.is_symlink() and _is_left(staging):
                if (staging / last).exists() and not _named(staging, paths[-1]):
                    for path in reversed(paths):
                        _put_back(staging, path)
                shutil.rmtree(staging, ignore_errors=True)


def _is_left(staging: Path) -> bool:
    """Say whether nobody holds the lock of a folder of files that are to appear."""
    descriptor = os.open(staging, os.O_RDONLY)
    try:
        return _lock(descriptor, wait=False)
    finally:
        os.close(descriptor)


def _named(staging: Path, path: Path) -> bool:
    """Say whether a staged file has its name already."""
    new = staging / path.name
    if (staging / _KEPT / path.name).exists():
        return not new.exists()
    return new.exists() and path.exists() and new.samefile(path)


def _put_back(staging: Path, path: Path) -> None:
    """Put back what stood under a name before a staged file took it."""
    kept = staging / _KEPT / path.name
    if kept.exists() and (_named(staging, path) or not os.path.lexists(path)):  # a folder leaves before one comes
        os.replace(kept, path)
    elif _named(staging, path):
        path.unlink()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, where the system has one, so that two processes publish one after the other."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, wait: bool = True) -> bool:
    """Lock an open folder until it is closed; return whether that was possible: some file systems lock none."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _publish(staging: Path, paths: Sequence[Path], before: Sequence[_Seen | None]) -> None:
    """Move the staged files to their names, all or none."""
    for path, seen in zip(paths, before, strict=True):
        if _Seen.at(path) != seen:
            raise BadInput(f"{path} was written by another process meanwhile; nothing was replaced")
    kept = staging / _KEPT
    kept.mkdir()
    moved: list[tuple[Path, _Seen | None]] = []
    try:
        for path, seen in zip(paths, before, strict=True):
            new = staging / path.name
            if not new.exists():
                continue
            if seen is None:
                create(new, path)
            else:
                _replace(path, kept / path.name, new)
            moved.append((path, seen))
    except BaseException:
        for path, seen in reversed(moved):
            if seen is None:
                path.unlink(missing_ok=True)
            else:
                os.replace(kept / path.name, path)
        raise


def _replace(path: Path, kept: Path, new: Path) -> None:
    """Put `new` into the place of a file, which gets a second name, or of a folder, which must leave first."""
    if not (new.is_dir() or path.is_dir()):
        _keep(path, kept)
        keep_mode(kept, new)
        os.replace(new, path)
        return
    os.rename(path, kept)
    try:
        os.rename(new, path)
    except BaseException:
        os.rename(kept, path)
        raise


def _keep(path: Path, kept: Path) -> None:
    """Give a file that is about to be replaced a second name."""
    try:
        os.link(path, kept)
    except OSError:  # a file system without links
        shutil.copy2(path, kept)
