"""Checkpoints: safetensors mapped into memory and rewritten in place, torch files read weights-only, ONNX.

A safetensors file is never loaded whole: tensors are views of the mapping, and marking writes only the host
weights into a synced copy, so names, order, metadata and every other byte stay as they were.
"""

import contextlib
import json
import math
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cwwm.support.errors import BadInput
from cwwm.support.files import atomic_path, copy_bytes, open_regular, sync
from cwwm.weights.copies import TorchWeights, chosen_copy, read_states
from cwwm.weights.first_bytes import Form, form_of
from cwwm.weights.onnx_file import open_onnx
from cwwm.weights.shard_files import is_sharded
from cwwm.weights.sharded import open_shards, rewriting_shards
from cwwm.weights.torch_files import load_torch_file
from cwwm.weights.view import Weights, dtype_name, require_readable, widened

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
}
_WRITABLE = frozenset(_DTYPES.values())
# floats of which a byte holds more than one, or parts of two: what safetensors calls them, and other people
_PACKED = {"F4": "float4_e2m1fn", "F6_E2M3": "float6_e2m3fn", "F6_E3M2": "float6_e3m2fn"}
T = TypeVar("T")
_MOST_HEADER = 32 << 20  # bytes: names and shapes of 200,000 tensors
_MOST_AXES = 32
_MOST_NAME = 1024  # characters of a tensor's name
_TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar")


class FileWeights(Weights):
    """The tensors of a safetensors file, mapped; writes stay in memory."""

    def __init__(self, path: Path) -> None:
        """Map the file.

        Raises:
            BadInput: if it is missing, truncated or no safetensors file.
        """
        self.path, self.origin = path, str(path)
        with open_regular(path, "checkpoint") as file:
            header = int.from_bytes(file.read(8), "little")
            if header > _MOST_HEADER:
                raise BadInput(
                    f"{path} is truncated or no safetensors file: its header has {header:,} bytes, "
                    f"{_MOST_HEADER:,} are the most"
                )
            _validate(path)
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self._start = 8 + header
        entries: dict[str, Any] = json.loads(self._map[8 : self._start])
        self.metadata: dict[str, str] = entries.pop("__metadata__", {})
        require_names(entries, path)
        _require_shapes(entries, path)
        self._entries = entries
        self._made: dict[str, dict[str, Any]] = {}

    def names(self) -> Sequence[str]:
        """Return the names in the file's order."""
        return list(self._entries)

    def __contains__(self, name: object) -> bool:
        """Say whether the file holds a tensor of that name."""
        return name in self._entries

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape from the header."""
        return tuple(self._entries[name]["shape"])

    def dtype(self, name: str) -> str:
        """Return the dtype from the header."""
        kind = self._entries[name]["dtype"]
        return dtype_name(_DTYPES[kind]) if kind in _DTYPES else _PACKED.get(kind, kind)

    def unreadable(self, name: str) -> str:
        """Return what a tensor is that holds no real numbers, or packs them below a byte."""
        kind = self._entries[name]["dtype"]
        if kind not in _DTYPES:
            return f"{self.dtype(name)}, packed below a byte"
        return "of complex numbers" if _DTYPES[kind].is_complex else ""

    def tensor(self, name: str) -> Tensor:
        """Return the tensor as `stored`, floats of one byte as float32; BadInput as `Weights.tensor`."""
        require_readable(self, name)
        return widened(self.stored(name))

    def stored(self, name: str) -> Tensor:
        """Return the tensor as a view of the mapping (a copy where the file does not align it).

        Of one that is packed below a byte these are its bytes, uint8 (n,).
        """
        entry = self._entries[name]
        dtype, shape = _DTYPES.get(entry["dtype"], torch.uint8), tuple(entry["shape"])
        begin, end = (self._start + offset for offset in entry["data_offsets"])
        if entry["dtype"] not in _DTYPES:
            shape = (end - begin,)
        if begin == end:
            return torch.empty(shape, dtype=dtype)
        if begin % dtype.itemsize:
            return torch.frombuffer(bytearray(self._map[begin:end]), dtype=dtype).view(shape)
        return torch.frombuffer(self._map, dtype=dtype, count=(end - begin) // dtype.itemsize, offset=begin).view(
            shape
        )

    def entries(self, name: str, index: Tensor) -> Tensor:
        """Return entries of a tensor; of the file no more is read than the pages that they are in, all at once."""
        require_readable(self, name)
        entry = self._entries[name]
        size = _DTYPES[entry["dtype"]].itemsize
        begin, end = (self._start + offset for offset in entry["data_offsets"])
        if begin % size or begin == end or not hasattr(mmap, "MADV_RANDOM"):
            return super().entries(name, index)
        first, page = begin - begin % mmap.PAGESIZE, mmap.PAGESIZE
        places = begin + index.numpy() * size
        self._map.madvise(mmap.MADV_RANDOM, first, end - first)
        for place in (np.unique(places // page) * page).tolist():
            self._map.madvise(mmap.MADV_WILLNEED, place, page)
        found = widened(self.stored(name).view(-1)[index])
        self._map.madvise(mmap.MADV_NORMAL, first, end - first)
        return found

    def remembered(self, name: str, what: str, make: Callable[[], T]) -> T:
        """Return what `make` makes of a tensor, made once until the tensor is written to."""
        made = self._made.setdefault(name, {})
        if what not in made:
            made[what] = make()
        found: T = made[what]
        return found

    def write(self, name: str, index: Tensor, values: Tensor) -> None:
        """Write entries through the mapping, byte by byte where the file does not align the tensor."""
        self._made.pop(name, None)
        entry = self._entries[name]
        dtype = _DTYPES[entry["dtype"]]
        begin, end = (self._start + offset for offset in entry["data_offsets"])
        items = np.frombuffer(self._map, np.uint8, end - begin, begin).reshape(-1, dtype.itemsize)
        items[index.numpy()] = values.to(dtype).contiguous().view(torch.uint8).numpy().reshape(-1, dtype.itemsize)


class CopiedWeights(FileWeights):
    """Weights of a safetensors file that is being copied: writes go into the copy.

    Until the first write, tensors are read from the source, so that finding thresholds need not wait.
    """

    def __init__(self, source: Path, target: Path, worker: ThreadPoolExecutor) -> None:
        """Start to copy `source` to `target`; BadInput as `FileWeights`."""
        super().__init__(source)
        self._target = target
        self._copying: Future[None] | None = worker.submit(_copy_synced, source, target)

    def write(self, name: str, index: Tensor, values: Tensor) -> None:
        """Write entries into the copy; tensors read from now on are the copy's."""
        self._await_copy()
        super().write(name, index, values)

    def flush(self) -> None:
        """Write the copy and what was changed in it through to the disk."""
        self._await_copy()
        self._map.flush()

    def _await_copy(self) -> None:
        if self._copying is None:
            return
        self._copying.result()
        self._copying = None
        with self._target.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_WRITE)


def _copy_synced(source: Path, target: Path) -> None:
    """Copy a file and write it through to the disk, while others are still read and copied."""
    copy_bytes(source, target)
    sync(target)


def _validate(path: Path) -> None:
    try:
        with safe_open(path, framework="numpy"):
            pass
    except (OSError, SafetensorError, ValueError) as error:
        raise BadInput(f"{path} is truncated or no safetensors file: {error}") from error


def require_names(names: Iterable[str], path: Path) -> None:
    """Raise BadInput for a name that no tensor has: searching it could take long."""
    for name in names:
        if len(name) > _MOST_NAME:
            raise BadInput(f"a tensor's name in {path} has {len(name):,} characters; {_MOST_NAME} are the most")


def _require_shapes(entries: Mapping[str, Any], path: Path) -> None:
    """Raise BadInput for shapes that torch takes not, or that no bytes bear out: one axis of an empty tensor."""
    for name, entry in entries.items():
        shape = entry["shape"]
        if len(shape) > _MOST_AXES or math.prod(n or 1 for n in shape) >= 1 << 62:
            raise BadInput(f"tensor {name} of {path} has an impossible shape")


def open_weights(path: Path) -> Weights:
    """Open a checkpoint for reading: safetensors mapped, torch files loaded weights-only, ONNX.

    First bytes say what a file is. Its suffix counts only where they say nothing, as in a damaged file.

    A folder of shards, or its index (.index.json), is one checkpoint; see `cwwm.weights.shard_files`.

    Raises:
        BadInput: if the file is missing, damaged, or something else; it says what.
        ModuleNotFoundError: for an ONNX file without the package onnx.
    """
    form = form_of(path)
    if form in (Form.FOLDER, Form.INDEX) or is_sharded(path):
        return open_shards(path, open_weights)
    if form is Form.UNKNOWN:
        suffix = path.suffix.lower()
        form = Form.ONNX if suffix == ".onnx" else Form.TORCH if suffix in _TORCH_SUFFIXES else Form.SAFETENSORS
    if form is Form.ONNX:
        exported = open_onnx(path)
        require_names(exported.names(), path)
        return exported
    if form is Form.TORCH:
        return _load_torch(path)
    return FileWeights(path)


def _load_torch(path: Path) -> TorchWeights:
    states = read_states(load_torch_file(path), path)
    for state in states.values():
        require_names(state, path)
    return TorchWeights(next(iter(states.values())), states if len(states) > 1 else {}, str(path))


@contextlib.contextmanager
def rewriting(source: Path, target: Path, copy: str | None = None) -> Iterator[Weights]:
    """Yield writable weights of a copy of `source`; on success the copy becomes `target`, atomically.

    A safetensors source is copied byte for byte; a torch source is written as safetensors, each name of a tied
    tensor with its own copy of it, marked alike; a folder of shards, or its index, becomes a folder. Of a
    checkpoint with several copies of its weights, those of the one that `copy` names are yielded.

    Raises:
        BadInput: as `open_weights` and `chosen_copy`, if `target` cannot be written, for an ONNX file, or for a
            tensor that safetensors cannot hold.
    """
    with ThreadPoolExecutor(1) as worker:  # waits for the copy even where marking fails
        one = partial(_rewriting_file, worker=worker)
        try:
            if is_sharded(source):
                with rewriting_shards(source, target, one) as weights:
                    yield chosen_copy(weights, copy, str(source))
            else:
                with one(source, target, copy) as weights:
                    yield weights
        except BaseException:
            worker.shutdown(wait=False, cancel_futures=True)  # shards not begun
            raise


@contextlib.contextmanager
def _rewriting_file(
    source: Path, target: Path, copy: str | None = None, *, worker: ThreadPoolExecutor
) -> Iterator[Weights]:
    weights = open_weights(source)
    chosen = chosen_copy(weights, copy, str(source))
    if weights.exported:
        raise BadInput(f"{source} was exported from a checkpoint: mark that one, and export it then")
    if not isinstance(weights, FileWeights):
        require_writable(chosen)
    with atomic_path(target) as temporary:
        if isinstance(weights, FileWeights):
            copied = CopiedWeights(source, temporary, worker)
            yield chosen_copy(copied, copy, str(source))
            copied.flush()
        else:
            yield chosen
            save_file(_all_names(chosen), temporary, {"format": "pt"})  # as transformers asks for


def require_writable(weights: Weights) -> None:
    """Raise BadInput, naming the tensor, if safetensors cannot hold one of them."""
    for name in weights.names():
        kind, stored = weights.unreadable(name), weights.stored(name)
        if stored is None or stored.dtype not in _WRITABLE:
            of = f" of {weights.origin}" if weights.origin else ""
            raise BadInput(
                f"tensor {name}{of} is {kind or weights.dtype(name)}: a marked copy cannot hold it; save it as a "
                "dense tensor with its values, or leave it out"
            )


def _all_names(weights: Weights) -> dict[str, Tensor]:
    """Return the tensors by all their names, each name with memory of its own."""
    stored = {name: weights.stored(name) for name in weights.all_names()}
    return {name: tensor.clone() for name, tensor in stored.items() if tensor is not None}


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors (any device) as a safetensors file, atomically; tied ones are written apart."""
    with atomic_path(path) as temporary:
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        save_file(plain, temporary, dict(metadata or {}))
