"""Trained and marked models by identity: safetensors and a JSON file each, put by rename, bounded, evictable."""

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from bench.support.output_lock import one_at_a_time
from cwwm.support.errors import BadInput, EnvironmentFault
from cwwm.support.files import open_regular, read_json, write_json
from cwwm.support.seeds import canonical_json
from cwwm.weights.checkpoint import open_weights, save_tensors


@dataclass(frozen=True)
class Artefact:
    """A state dict on the CPU, and JSON facts about how it was made."""

    tensors: Mapping[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)


class ArtefactStore:
    """A folder of artefacts. Of several workers that need the same one, one makes it, and the others wait.

    The facts beside the tensors hold digests of both. What does not match them, or cannot be read, is made anew.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = 20 << 30) -> None:
        """Use `folder`, keeping at most `limit_bytes` in it; the least recently used go first."""
        self.folder = folder
        self.limit_bytes = limit_bytes

    def path(self, identity: str) -> Path:
        """Return where the tensors of an artefact lie; its facts lie beside them, ending in .json."""
        return self.folder / f"{identity}.safetensors"

    def get(self, identity: str, make: Callable[[], Artefact]) -> Artefact:
        """Return the stored artefact, or make and store it: what was evicted or damaged is made from its recipe.

        Raises:
            EnvironmentFault: if it cannot be stored.
        """
        path = self.path(identity)
        if (stored := self._stored(path)) is not None:
            return stored
        with one_at_a_time(self.folder / f".{identity}.making"):
            if (stored := self._stored(path)) is not None:  # made meanwhile
                return stored
            made = make()
            self._store(path, made)
        return made

    def _stored(self, path: Path) -> Artefact | None:
        """Return what is stored whole, as its digests say; else None."""
        facts = path.with_suffix(".json")
        try:
            noted = read_json(facts, "artefact")
            if noted != _noted(file_digest(path), noted["facts"]):
                return None
            weights = open_weights(path)
            tensors = {name: weights.tensor(name).clone() for name in weights.names()}
        except (OSError, BadInput, KeyError):
            return None
        with contextlib.suppress(OSError):  # it is only the mark of its last use
            facts.touch()
        return Artefact(tensors, noted["facts"])

    def _store(self, path: Path, made: Artefact) -> None:
        facts = path.with_suffix(".json")
        try:
            save_tensors(made.tensors, path)
            write_json(facts, _noted(file_digest(path), made.facts))  # last: it says that the artefact is whole
            self._evict(keep=facts)
        except (OSError, SafetensorError) as error:
            raise EnvironmentFault(f"cannot store {path}: {error}") from error

    def _evict(self, keep: Path) -> None:
        facts = sorted(self.folder.glob("*.json"), key=lambda p: p.stat().st_mtime)
        size = sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())
        for path in facts:
            if size <= self.limit_bytes or path == keep:
                continue
            tensors = path.with_suffix(".safetensors")
            size -= path.stat().st_size + (tensors.stat().st_size if tensors.exists() else 0)
            path.unlink(missing_ok=True)
            tensors.unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """Return SHA-256 of a file."""
    with open_regular(path, "stored model") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def _noted(tensors: str, facts: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    """Return what the file of facts holds, given the digest of the file of tensors."""
    digest = hashlib.sha256(canonical_json({"tensors": tensors, "facts": facts})).hexdigest()
    return {"tensors": tensors, "facts": facts, "digest": digest}


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Return SHA-256 of a whole state, independent of the order of its names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous().view(-1)
        digest.update(name.encode() + b"\0" + value.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def state_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """Return a copy of a module's state on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
