"""The folder that a driver and its workers share: a path, or a URL that fsspec reads; files appear in it whole."""

import contextlib
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.support.output_lock import held_if_free, one_at_a_time
from cwwm.support.errors import BadInput, EnvironmentFault
from cwwm.support.files import atomic_path, write_atomic

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_FORGOTTEN = 86400.0  # seconds after which an unfinished file is nobody's


class SharedFolder(Protocol):
    """Files by name, such as ``"cells/0f.json"``; whoever reads one sees the old file or the whole new one.

    Attributes:
        url: by which a worker opens the same folder.
    """

    url: str

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file, or None if there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file, or replace it."""

    def add(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one of this name; say whether it was written."""

    def exists(self, name: str) -> bool:
        """Say whether there is a file of this name."""

    def names(self, place: str) -> set[str]:
        """Return the names of the finished files directly in a folder of this one, without the folder."""

    def fetch(self, name: str, path: Path) -> bool:
        """Copy a file to a path of this machine; say whether there was one."""

    def put(self, path: Path, name: str) -> None:
        """Copy a file of this machine under a name, or over the one that has it."""

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""

    def turn(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Wait until nobody else is in this turn, where the folder has locks."""

    def if_free(self, name: str) -> contextlib.AbstractContextManager[bool]:
        """Take a turn without waiting; yield whether it was free, True where the folder has no locks."""

    def sweep(self) -> None:
        """Remove files that were begun by processes which are long gone."""


class PathFolder:
    """A folder of the file system, such as one that a cluster mounts everywhere."""

    def __init__(self, path: Path) -> None:
        """Use a folder; it is not made before something is written."""
        self.path, self.url = path.absolute(), str(path.absolute())

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file, or None if there is none."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file, or replace it."""
        write_atomic(self.path / name, data)

    def add(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one of this name; say whether it was written."""
        try:
            write_atomic(self.path / name, data, exclusive=True)
        except EnvironmentFault:
            raise
        except BadInput:  # there is one
            return False
        return True

    def exists(self, name: str) -> bool:
        """Say whether there is a file of this name."""
        return (self.path / name).exists()

    def names(self, place: str) -> set[str]:
        """Return the names of the finished files directly in a folder of this one, without the folder."""
        folder = self.path / place
        return {p.name for p in folder.iterdir() if p.name[0] != "."} if folder.is_dir() else set()

    def fetch(self, name: str, path: Path) -> bool:
        """Copy a file to a path of this machine; say whether there was one."""
        try:
            with atomic_path(path) as temporary:
                shutil.copyfile(self.path / name, temporary)
        except FileNotFoundError:
            return False
        return True

    def put(self, path: Path, name: str) -> None:
        """Copy a file of this machine under a name, or over the one that has it."""
        with atomic_path(self.path / name) as temporary:
            shutil.copyfile(path, temporary)

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""
        (self.path / name).unlink(missing_ok=True)

    def turn(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Wait until nobody else is in this turn, where the file system has locks."""
        return one_at_a_time(self.path / name)

    def if_free(self, name: str) -> contextlib.AbstractContextManager[bool]:
        """Take a turn without waiting; yield whether it was free, True where the file system has no locks."""
        return held_if_free(self.path / name)

    def sweep(self) -> None:
        """Remove files that were begun by processes which are long gone."""
        for part in self.path.rglob(".*.part"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > _FORGOTTEN:
                    part.unlink()


class UrlFolder:
    """A folder that fsspec reads, such as a bucket; it has no locks, so that two drivers may do some work twice."""

    def __init__(self, url: str, files: "AbstractFileSystem", root: str) -> None:
        """Use the folder `root` of a file system, known to all as `url`."""
        self.url, self._files, self._root = url, files, root.rstrip("/")

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file, or None if there is none."""
        try:
            data: bytes = self._files.cat_file(self._at(name))
        except FileNotFoundError:
            return None
        return data

    def write(self, name: str, data: bytes) -> None:
        """Write a file, or replace it: beside it, then moved over it."""
        with self._beside(name) as temporary:
            self._files.pipe_file(temporary, data)

    def add(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one of this name; say whether it was written."""
        if self.exists(name):
            return False
        self.write(name, data)
        return True

    def exists(self, name: str) -> bool:
        """Say whether there is a file of this name."""
        self._files.invalidate_cache()  # another process may have made it
        return bool(self._files.exists(self._at(name)))

    def names(self, place: str) -> set[str]:
        """Return the names of the finished files directly in a folder of this one, without the folder."""
        try:
            found = self._files.ls(self._at(place), detail=False, refresh=True)
        except FileNotFoundError:
            return set()
        names = {str(path).rstrip("/").rpartition("/")[2] for path in found}
        return {name for name in names if name and name[0] != "."}

    def fetch(self, name: str, path: Path) -> bool:
        """Copy a file to a path of this machine; say whether there was one."""
        try:
            with atomic_path(path) as temporary:
                self._files.get_file(self._at(name), str(temporary))
        except FileNotFoundError:
            return False
        return True

    def put(self, path: Path, name: str) -> None:
        """Copy a file of this machine under a name, or over the one that has it."""
        with self._beside(name) as temporary:
            self._files.put_file(str(path), temporary)

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._at(name))

    @contextlib.contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Wait for nobody: there are no locks."""
        yield

    @contextlib.contextmanager
    def if_free(self, name: str) -> Iterator[bool]:
        """Yield True: there are no locks."""
        yield True

    def sweep(self) -> None:
        """Leave everything as it is: when a file was begun is not known everywhere."""

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextlib.contextmanager
    def _beside(self, name: str) -> Iterator[str]:
        """Yield a name beside another one, and move what was written there over it."""
        place, _, last = self._at(name).rpartition("/")
        temporary = f"{place}/.{last}.{secrets.token_hex(6)}.part"
        self._files.makedirs(place, exist_ok=True)
        yield temporary
        self._files.mv(temporary, self._at(name))


def open_shared(url: str) -> SharedFolder:
    """Return the folder of a path or a URL.

    Raises:
        BadInput: for a kind of URL that fsspec does not know, or whose package is not installed.
    """
    if "://" not in url:
        return PathFolder(Path(url))
    if url.startswith("file://"):
        return PathFolder(Path(url.removeprefix("file://")))
    from fsspec.core import url_to_fs

    try:
        files, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise BadInput(f"--shared {url} cannot be opened: {error}") from error
    return UrlFolder(url, files, root)
