"""Trained and marked models by identity: safetensors and a JSON file each, put by rename, bounded, evictable."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cwwm.checkpoint import open_weights, save_tensors
from cwwm.files import read_json, write_json


@dataclass(frozen=True)
class Artefact:
    """A state dict on the CPU, and JSON facts about how it was made."""

    tensors: Mapping[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)


class ArtefactStore:
    """A folder of artefacts. Two workers that make the same one do no harm: both rename the same content."""

    def __init__(self, folder: Path, *, limit_bytes: int = 20 << 30) -> None:
        """Use `folder`, keeping at most `limit_bytes` in it; the least recently used go first."""
        self.folder = folder
        self.limit_bytes = limit_bytes

    def path(self, identity: str) -> Path:
        """Return where the tensors of an artefact lie; its facts lie beside them, ending in .json."""
        return self.folder / f"{identity}.safetensors"

    def get(self, identity: str, make: Callable[[], Artefact]) -> Artefact:
        """Return the stored artefact, or make and store it. What was evicted is made again from its recipe."""
        path = self.path(identity)
        facts = path.with_suffix(".json")
        if facts.exists() and path.exists():
            facts.touch()
            weights = open_weights(path)
            tensors = {name: weights.tensor(name).clone() for name in weights.names()}
            return Artefact(tensors, read_json(facts, "artefact"))
        made = make()
        save_tensors(made.tensors, path)
        write_json(facts, made.facts)  # last: its presence says that the artefact is whole
        self._evict(keep=facts)
        return made

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
