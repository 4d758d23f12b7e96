"""The stored models of a worker: a cache of its node, filled from the shared folder, to which it adds."""

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.execution.cluster.shared_folder import SharedFolder
from bench.support.artifact_store import Artefact, ArtefactStore
from cwwm.support.errors import BadInput

CACHE_VARIABLE = "CWWM_NODE_CACHE"
ARTEFACTS = "artefacts"


class SharedArtefacts(ArtefactStore):
    """What a node has lies in its cache under the same names; each copy is held against its digests, as any is.

    The shared folder keeps everything; the cache drops what was used least.
    """

    def __init__(self, cache: Path, shared: SharedFolder, *, limit_bytes: int = 20 << 30) -> None:
        """Keep at most `limit_bytes` in the folder `cache` of this node."""
        super().__init__(cache, limit_bytes=limit_bytes)
        self._shared = shared

    def get(self, identity: str, make: Callable[[], Artefact]) -> Artefact:
        """Return what this node has or the shared folder holds, else make it for all.

        Raises:
            EnvironmentFault: if it cannot be stored.
        """
        if (found := self._stored(self.path(identity)) or self._fetched(identity)) is not None:
            return found
        with self._shared.turn(f"{ARTEFACTS}/.{identity}.making"):
            if (found := self._fetched(identity)) is not None:  # made meanwhile
                return found
            made = make()
            self._store(self.path(identity), made)
            for name in _names(identity):  # the facts last: they say that the artefact is whole
                self._shared.put(self.folder / name, f"{ARTEFACTS}/{name}")
        return made

    def _fetched(self, identity: str) -> Artefact | None:
        for name in _names(identity):
            if not self._shared.fetch(f"{ARTEFACTS}/{name}", self.folder / name):
                return None
        return self._stored(self.path(identity))


def is_shared(identity: str, shared: SharedFolder) -> bool:
    """Say whether an artefact lies in the shared folder."""
    return shared.exists(f"{ARTEFACTS}/{_names(identity)[1]}")


def _names(identity: str) -> tuple[str, str]:
    return f"{identity}.safetensors", f"{identity}.json"


def node_cache() -> Path:
    """Return the folder of this node that its workers share: $CWWM_NODE_CACHE, or one among temporary files.

    Raises:
        BadInput: if that is another user's, who could lend models of any kind.
    """
    if CACHE_VARIABLE in os.environ:
        return Path(os.environ[CACHE_VARIABLE])
    folder = Path(tempfile.gettempdir(), f"cwwm-bench-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise BadInput(
            f"{folder} is not a folder of yours alone; remove it, or set {CACHE_VARIABLE} to another one"
        )
    return folder
