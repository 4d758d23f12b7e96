"""Checkpoints in several files: read as one, and copied file by file so that only touched shards are written to."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from cwwm.support.errors import BadInput
from cwwm.support.files import atomic_folder, copy_bytes
from cwwm.weights.companions import companions
from cwwm.weights.shard_files import INDEX, ShardFiles
from cwwm.weights.view import Weights

_TORCH = ".bin"
T = TypeVar("T")


class ShardedWeights(Weights):
    """The tensors of several files, in the order of the files' names and of each file."""

    def __init__(self, shards: Mapping[str, Weights], files: ShardFiles) -> None:
        """View the shards, by name of the file.

        Raises:
            BadInput: for a tensor in two of them, or one that the index puts where it is not.
        """
        self._shards = shards
        self._homes: dict[str, Weights] = {}
        where: dict[str, str] = {}
        self.origin = str(files.folder)
        self.tied = {name: kept for weights in shards.values() for name, kept in weights.tied.items()}
        for file, weights in shards.items():
            for name in weights.all_names():
                if name in where:
                    raise BadInput(f"tensor {name} is in two shards of {files.folder}: {where[name]} and {file}")
                where[name], self._homes[name] = file, weights
        for name, file in files.homes.items():
            if name not in shards[file]:
                raise BadInput(f"{files.folder / str(files.index)} puts tensor {name} into {file}, which lacks it")

    def __contains__(self, name: object) -> bool:
        """Say whether a shard holds a tensor of that name."""
        return name in self._homes

    def names(self) -> Sequence[str]:
        """Return the names, shard by shard."""
        return [name for weights in self._shards.values() for name in weights.names()]

    def stored(self, name: str) -> Tensor | None:
        """Return the tensor as its shard keeps it."""
        return self._homes[name].stored(name)

    def unreadable(self, name: str) -> str:
        """Return what the shard says of the tensor."""
        return self._homes[name].unreadable(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape from the shard's header."""
        return self._homes[name].shape(name)

    def dtype(self, name: str) -> str:
        """Return the dtype from the shard's header."""
        return self._homes[name].dtype(name)

    def tensor(self, name: str) -> Tensor:
        """Return the tensor as its shard gives it."""
        return self._homes[name].tensor(name)

    def entries(self, name: str, index: Tensor) -> Tensor:
        """Return entries as the tensor's shard gives them."""
        return self._homes[name].entries(name, index)

    def remembered(self, name: str, what: str, make: Callable[[], T]) -> T:
        """Return what the tensor's shard remembers."""
        return self._homes[name].remembered(name, what, make)

    def write(self, name: str, index: Tensor, values: Tensor) -> None:
        """Write entries into the tensor's shard."""
        self._homes[name].write(name, index, values)


def open_shards(path: Path, opened: Callable[[Path], Weights]) -> ShardedWeights:
    """Open a folder of shards, or an index, for reading.

    Args:
        path: of it.
        opened: opens one file.

    Raises:
        BadInput: as `ShardFiles.of`, `ShardedWeights` and `opened`.
    """
    files = ShardFiles.of(path)
    return ShardedWeights({name: opened(files.folder / name) for name in files.names}, files)


@contextlib.contextmanager
def rewriting_shards(
    source: Path, target: Path, rewriting: Callable[[Path, Path], AbstractContextManager[Weights]]
) -> Iterator[Weights]:
    """Yield writable weights of a copy of a folder; on success the copy becomes the folder `target`, at once.

    Every file is copied, by shared blocks where the file system has them: with a second name of the same file, as
    links give, whoever edits one checkpoint would edit the other. Only shards that are written to are changed, and
    the index stays as it was. Torch shards become safetensors, by the names that these have.

    Args:
        source: a folder, or an index. target: a folder.
        rewriting: yields writable weights of a copy of one file.

    Raises:
        BadInput: as `open_shards`, or if `target` cannot be written.
    """
    files = ShardFiles.of(source)
    with atomic_folder(target) as folder:
        with contextlib.ExitStack() as stack:
            copies = {
                name: stack.enter_context(rewriting(files.folder / name, folder / _renamed(name)))
                for name in files.names
            }
            yield ShardedWeights(copies, files)
        _write_rest(files, folder)


def _write_rest(files: ShardFiles, folder: Path) -> None:
    """Write the index and what goes along."""
    for name in companions(files)[0]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy_bytes(files.folder / name, folder / name)
    if files.index is not None and all(name == _renamed(name) for name in files.names):
        copy_bytes(files.folder / files.index, folder / files.index)
    elif files.index is not None:
        homes = {name: _renamed(file) for name, file in files.homes.items()}
        text = json.dumps({"metadata": {}, "weight_map": homes}, indent=2)
        (folder / (_renamed(files.index.removesuffix(INDEX)) + INDEX)).write_text(text + "\n")


def _renamed(name: str) -> str:
    """Return the name that a shard has as safetensors."""
    if not name.endswith(_TORCH):
        return name
    return name.removesuffix(_TORCH).replace("pytorch_model", "model", 1) + ".safetensors"
