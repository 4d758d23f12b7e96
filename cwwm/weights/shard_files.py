"""Which files of a folder make one checkpoint, and what lies beside them: nothing outside the folder is ever taken.

Hugging Face's layout: shards `model-00001-of-00002.safetensors` and an index that says which tensor is in which; or
the shards without an index; or `model.safetensors` alone. Of its cache, whose files are links to `blobs`, too.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from cwwm.support.errors import BadInput
from cwwm.support.files import read_json

INDEX = ".index.json"
MOST_SHARDS = 1000
_KINDS = (".safetensors", ".bin")  # the first that is there is taken
_ALONE = {".safetensors": "model.safetensors", ".bin": "pytorch_model.bin"}
_NUMBERED = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<kind>\.safetensors|\.bin)")
_MOST_BESIDE = 64 << 20  # bytes of a file that is no shard: vocabularies take some millions
_BESIDE = (".json", ".txt", ".md", ".model", ".tiktoken", ".jinja", ".py", ".yaml", ".yml", "")
_SECRET = (".mark.json", ".commitment.json", INDEX)
_SECRET_NAMES = ("message.txt",)


@dataclass(frozen=True)
class ShardFiles:
    """The files of one checkpoint in a folder.

    Attributes:
        folder: that they lie in.
        names: of the shards, sorted.
        index: name of the index; None without one.
        homes: shard by tensor, as the index says; empty without one.
    """

    folder: Path
    names: tuple[str, ...]
    index: str | None = None
    homes: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, path: Path) -> "ShardFiles":
        """Find the shards of a folder, or of an index.

        Raises:
            BadInput: for a folder that holds none, or several checkpoints; for a shard that is missing, named twice
                or outside the folder; for an index that is none.
        """
        found = _in_folder(path) if path.is_dir() else _of_index(path)
        for name in found.names:
            _require_inside(found.folder, name)
        return found

    def beside(self) -> tuple[list[str], list[str]]:
        """Return the names of the folder's other files: those that go with a copy, and those that do not.

        Configuration, vocabularies and texts go with it, by their names. Weights, which would be unmarked ones,
        folders, marks, keys, and links out of the folder do not. `cwwm.weights.companions` looks into both.
        """
        taken = {*self.names, self.index}
        others = sorted(p.name for p in self.folder.iterdir() if p.name not in taken and not p.name.startswith("."))
        goes = [name for name in others if _goes_along(self.folder, name)]
        return goes, [name for name in others if name not in set(goes)]


def is_sharded(path: Path) -> bool:
    """Say whether a path is read as shards: a folder or an index."""
    return path.is_dir() or path.name.endswith(INDEX)


def checkpoint_folder(path: Path) -> Path | None:
    """Return the folder that a path is read as, absolute; None for one file."""
    if not is_sharded(path):
        return None
    return (path if path.is_dir() else path.parent).resolve()


def _in_folder(folder: Path) -> ShardFiles:
    names = {path.name for path in folder.iterdir() if path.name.endswith((*_KINDS, INDEX))}
    for kind in _KINDS:
        found = _of_kind(folder, names, kind)
        if len(found) > 1:
            raise BadInput(
                f"{folder} holds several checkpoints: {_listed([_called(one) for one in found])}; name one"
            )
        if found:
            (one,) = found
            return _of_index(folder / one.index) if one.index else one
    raise BadInput(
        f"{folder} is a folder without a checkpoint: an index, numbered shards, or one file of safetensors"
    )


def _of_kind(folder: Path, names: set[str], kind: str) -> list[ShardFiles]:
    """Return the checkpoints of a folder in files of one kind."""
    indices = sorted(name for name in names if name.endswith(kind + INDEX))
    if indices:
        alone = [ShardFiles(folder, (_ALONE[kind],))] if _ALONE[kind] in names else []
        return [*(ShardFiles(folder, (), index) for index in indices), *alone]
    files = sorted(name for name in names if name.endswith(kind))
    stems = sorted({(m["stem"], m["count"]) for name in files if (m := _NUMBERED.fullmatch(name))})
    numbered = [ShardFiles(folder, _numbered(folder, files, stem, count, kind)) for stem, count in stems]
    single = [name for name in files if not _NUMBERED.fullmatch(name)]
    main = [name for name in single if name == _ALONE[kind]]
    return [*numbered, *(ShardFiles(folder, (name,)) for name in main or ([] if numbered else single))]


def _numbered(folder: Path, files: Sequence[str], stem: str, count: str, kind: str) -> tuple[str, ...]:
    """Return all shards of a row; BadInput for one that is not there, or is too much."""
    _require_count(int(count), folder)
    wanted = [f"{stem}-{number:05}-of-{count}{kind}" for number in range(1, int(count) + 1)]
    there = [
        name for name in files if (m := _NUMBERED.fullmatch(name)) and (m["stem"], m["count"]) == (stem, count)
    ]
    for name in wanted:
        if name not in there:
            raise BadInput(
                f"{folder} lacks {name}, one of {int(count)} shards; fetch it, or name the others one by one"
            )
    if len(there) > len(wanted):
        raise BadInput(
            f"{folder} holds {len(there)} files of {int(count)} shards, such as {set(there).difference(wanted)}"
        )
    return tuple(wanted)


def _of_index(path: Path) -> ShardFiles:
    """Read an index; BadInput if it names what is no file beside it."""
    homes = read_json(path, "index of shards").get("weight_map")
    if not isinstance(homes, dict) or not homes or not all(isinstance(name, str) for name in homes.values()):
        raise BadInput(f"{path} is no index of shards: it has no weight_map from tensors to files")
    names = sorted(set(homes.values()))
    _require_count(len(names), path)
    for name in names:
        _require_plain(name, path)
        if not (path.parent / name).exists():
            raise BadInput(
                f"{path} names the shard {name}, which is not there; fetch it, or name the others one by one"
            )
    return ShardFiles(path.parent, tuple(names), path.name, homes)


def _require_count(count: int, path: Path) -> None:
    if not 1 <= count <= MOST_SHARDS:
        raise BadInput(f"{path} has {count:,} shards; 1 to {MOST_SHARDS:,} are read")


def _require_plain(name: str, path: Path) -> None:
    """Raise BadInput for a shard's name that leads out of the folder, on any system, or is no shard's."""
    parts = PurePosixPath(name).parts, PureWindowsPath(name).parts
    if parts != ((name,), (name,)) or name in (".", "..") or "\0" in name:
        raise BadInput(f"{path} names the shard {name[:80]!r}, outside the folder; only files beside it are read")
    if not name.endswith(_KINDS):
        raise BadInput(f"{path} names the shard {name[:80]!r}; shards are {' or '.join(_KINDS)} files")


def _require_inside(folder: Path, name: str) -> None:
    if not _inside(folder, name):
        raise BadInput(
            f"{folder / name} is a link out of the folder; copy the file there, or give it by itself as checkpoint"
        )


def _inside(folder: Path, name: str) -> bool:
    """Say whether a file, links followed, lies in the folder, or in the blobs of the cache that it belongs to."""
    home, file = folder.resolve(), (folder / name).resolve()
    blobs = [parent.parent / "blobs" for parent in home.parents if parent.name == "snapshots"]
    return any(file.is_relative_to(place) for place in (home, *blobs))


def _goes_along(folder: Path, name: str) -> bool:
    path = folder / name
    kept = name.endswith(_SECRET) or name in _SECRET_NAMES or path.suffix.lower() not in _BESIDE
    return not kept and path.is_file() and _inside(folder, name) and path.stat().st_size <= _MOST_BESIDE


def _called(found: ShardFiles) -> str:
    return found.index or found.names[0]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
