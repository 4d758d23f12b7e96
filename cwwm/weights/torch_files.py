"""Reads files of torch.save without torch's unpickler: nothing is run, nothing is copied, memory is bounded.

A pickle in such a file only names tensors: a stored run of bytes, a dtype, a shape, strides. It is read by an
unpickler that knows these names and plain containers, and nothing else. The tensors are then views of the mapped
file, so what a file takes in memory follows from its size, whatever shapes it states.
"""

import io
import math
import mmap
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cwwm.support.errors import BadInput
from cwwm.support.files import open_regular
from cwwm.weights.view import SMALL_FLOATS, Unusual, dtype_name

_MOST_PICKLE = 32 << 20  # bytes: names and shapes of 100,000 tensors take 20 million
_MOST_AXES = 32
_MOST_ENTRIES = 1_000_000  # of a zip archive
_STATE_DEPTH = 3  # mappings that may lie round a state dict
_OVERLAP = 4  # how often the stored bytes may be named by different tensors
_TOO_MANY = "expanded or overlaps others, far beyond what the file stores"
_LEGACY = 0x1950A86A20F9469CFC6C  # first number of a file written before torch 1.6
_LEGACY_HEADERS = 3  # pickles before the one of tensors: this number, the version, the machine

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "UntypedStorage": torch.uint8,
    "QInt8Storage": torch.int8,
    "QUInt8Storage": torch.uint8,
    "QInt32Storage": torch.int32,
}
_QUANTISED_KIND, _SPARSE_KIND = "quantised", "sparse"
# Ways to rebuild tensors that are no plain ones, all of torch._utils or torch.nested, and what to call them.
_UNUSUAL = {
    "_rebuild_sparse_tensor": _SPARSE_KIND,
    "_rebuild_sparse_csr_tensor": _SPARSE_KIND,
    "_rebuild_qtensor": _QUANTISED_KIND,
    "_rebuild_meta_tensor_no_storage": "a shape without values (device meta)",
    "_rebuild_nested_tensor": "nested",
    "_rebuild_njt": "nested",
    "_rebuild_wrapper_subclass": "of a class of its own",
    "_rebuild_device_tensor_from_numpy": "of another device",
    "_rebuild_device_tensor_from_cpu_tensor": "of another device",
}


# of other dtypes, such as bits and quantised ones, torch makes no tensor out of bytes, or ends the process over it
_DENSE = SMALL_FLOATS | {
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex128, torch.complex64, torch.complex32,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8,
    torch.bool,
}  # fmt: skip
_QUANTISED = {torch.int8: "qint8", torch.uint8: "quint8", torch.int32: "qint32"}
_LOOKED_AT = 8  # arguments of a tensor that is no plain one, and parts of each

_CONSTANTS = (torch.dtype, torch.qscheme, torch.layout, torch.memory_format)


class NotOnlyTensors(Exception):  # noqa: N818 (says what a file is)
    """A pickle that asks for something that could run code."""


@dataclass(frozen=True)
class _Stored:
    """A run of bytes that tensors share: its key in the file, and the dtype that it was saved as."""

    key: str
    dtype: torch.dtype


@dataclass(frozen=True)
class _View:
    """A tensor as a pickle describes it, nothing of it checked."""

    stored: Any
    offset: Any
    shape: Any
    strides: Any
    dtype: Any = None


class _Inert:
    """Stands for an object that is read and not used, such as a device."""


class _Unpickler(pickle._Unpickler):  # the one in C can be made to fill the memory
    """Reads what torch.save writes: containers, numbers, text and descriptions of tensors."""

    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    stack: list[Any]

    def __init__(self, file: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(file, **options)
        self.dtypes: dict[str, torch.dtype] = {}  # of the stored runs of bytes, by key

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if (module, name) == ("torch._utils", "_rebuild_tensor_v3"):
            return _rebuilt_as
        if module == "torch._utils" and name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
            return _parameter
        if name in _UNUSUAL and module.partition(".")[0] == "torch":
            return lambda *arguments: _unusual(_UNUSUAL[name], arguments)
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _STORAGES[name]
        return self._plain(module, name)

    def _plain(self, module: str, name: str) -> Any:  # noqa: ANN401
        if (module, name) in (("collections", "OrderedDict"), ("collections", "Counter")):
            return _ordered
        if (module, name) == ("torch", "Size"):
            return lambda *sizes: sizes[0] if sizes else ()
        if module == "torch" and isinstance(getattr(torch, name, None), _CONSTANTS):
            return getattr(torch, name)
        if (module, name) in (("torch", "device"), ("torch.serialization", "_get_layout"), ("builtins", "set"),
                              ("builtins", "complex"), ("_codecs", "encode")):  # fmt: skip
            return lambda *_: _Inert()
        raise NotOnlyTensors(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> _Stored:  # noqa: ANN401
        kind, dtype, key = pid[:3]
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise ValueError("a stored run of bytes has no dtype or no name")
        if len(pid) > 5 and pid[5] is not None:
            raise ValueError("it holds views of storages, which torch wrote before version 0.4")
        self.dtypes[key] = dtype
        return _Stored(key, dtype)

    def load_build(self) -> None:
        self.stack.pop()  # attributes of a container, such as versions of modules: not used

    def load_empty_set(self) -> None:
        self.append(_Inert())  # no state dict holds one

    def load_additems(self) -> None:
        self.pop_mark()

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def load_setitems(self) -> None:
        self._set(self.pop_mark())

    def _set(self, items: list[Any]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, str):  # of other keys, hashes can be made to collide, and none names a tensor
                self.stack[-1][key] = value

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack[-1]
        if not callable(function) or isinstance(function, type):
            raise ValueError("it calls something that is no function")
        self.stack[-1] = function(*arguments)


def _allowed() -> dict[int, Callable[[Any], None]]:
    """Return how opcodes are read, without those that torch.save does not write."""
    known: dict[int, Callable[[Any], None]] = pickle._Unpickler.dispatch
    names = (
        "PROTO STOP FRAME MARK POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE "
        "SHORT_BINUNICODE BINBYTES SHORT_BINBYTES BINSTRING SHORT_BINSTRING EMPTY_LIST APPEND APPENDS EMPTY_DICT "
        "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 GLOBAL STACK_GLOBAL BINPERSID BINPUT LONG_BINPUT MEMOIZE BINGET "
        "LONG_BINGET"
    )
    found = {pickle.__dict__[name][0]: known[pickle.__dict__[name][0]] for name in names.split()}
    own = ("BUILD", "SETITEM", "SETITEMS", "REDUCE", "EMPTY_SET", "ADDITEMS")
    return found | {pickle.__dict__[name][0]: getattr(_Unpickler, f"load_{name.lower()}") for name in own}


_Unpickler.dispatch = _allowed()


def _rebuilt(stored: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _View:  # noqa: ANN401
    return _View(stored, offset, shape, strides)


def _rebuilt_as(stored: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _View:  # noqa: ANN401
    return _View(stored, offset, shape, strides, rest[2])


def _unusual(kind: str, arguments: tuple[Any, ...]) -> Unusual:
    """Return a tensor that is no plain one, with the first shape and the dtype that its description names."""
    first = arguments[:_LOOKED_AT]
    parts = [
        *first,
        *(p for argument in first if isinstance(argument, (tuple, list)) for p in argument[:_LOOKED_AT]),
    ]
    shape = next((tuple(part) for part in parts if _is_shape(part)), ())
    stated = [part for part in parts if isinstance(part, torch.dtype)]
    views = [part.stored if isinstance(part, _View) else part for part in parts]
    held = [part.dtype for part in views if isinstance(part, _Stored)]
    held = held[::-1] if kind == _SPARSE_KIND else held  # its values come after their places
    for dtype in (*stated, *held):
        return Unusual(kind, shape, _QUANTISED.get(dtype, "") if kind == _QUANTISED_KIND else dtype_name(dtype))
    return Unusual(kind, shape)


def _is_shape(part: object) -> bool:
    if not isinstance(part, (tuple, list)) or len(part) > _MOST_AXES:
        return False
    return all(type(n) is int and n >= 0 for n in part) and math.prod(n or 1 for n in part) < 1 << 62


def _ordered(items: Any = (), *_: Any) -> OrderedDict[str, Any]:  # noqa: ANN401
    pairs = items.items() if isinstance(items, Mapping) else items
    return OrderedDict((key, value) for key, value in pairs if isinstance(key, str))


def _parameter(data: Any, *_: Any) -> Any:  # noqa: ANN401
    return data


def load_torch_file(path: Path) -> Any:  # noqa: ANN401
    """Return what a file of torch.save holds: containers, numbers and text, tensors as views of the mapped file.

    Instead of a sparse, quantised, meta or nested tensor, and of expanded ones that name the stored bytes again and
    again, there is an `Unusual`. Writing to a tensor leaves the file as it is.

    Raises:
        BadInput: if the file is missing, no regular one, damaged, compressed, or asks for anything that could run
            code.
    """
    with open_regular(path, "checkpoint") as file:
        if not file.read(1):
            raise BadInput(f"{path} is truncated or no torch checkpoint: it is empty")
        file.seek(0)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        try:
            if zipfile.is_zipfile(file):
                tree, runs = _zip_parts(file, mapped)
            else:
                tree, runs = _legacy_parts(mapped)
            return _Builder(mapped, runs).built(tree)
        except NotOnlyTensors as error:
            raise BadInput(
                f"{path} holds more than tensors ({error}); loading it could run code, so it is refused; save its "
                "state dict"
            ) from error
        except BadInput:
            raise
        except Exception as error:  # whatever bytes of a stranger make a parser raise
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise BadInput(f"{path} is truncated or no torch checkpoint: {reason}") from error


_Runs = Mapping[str, tuple[int, int]]  # by key: first byte of a stored run in the file, and its length


def _zip_parts(file: Any, mapped: mmap.mmap) -> tuple[Any, _Runs]:  # noqa: ANN401
    """Return the tree that a zip archive of torch.save describes, and where its runs of bytes lie."""
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()[: _MOST_ENTRIES + 1]}
        if len(entries) > _MOST_ENTRIES:
            raise ValueError(f"it has more than {_MOST_ENTRIES:,} entries")
        if any(info.compress_type != zipfile.ZIP_STORED for info in entries.values()):
            raise ValueError("it is compressed, which torch.save never does; unpack it and pack it uncompressed")
        (main,) = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
        root = main.removesuffix("data.pkl")
        order = entries.get(root + "byteorder")
        if order is not None and bytes(_run(mapped, order)) != b"little":
            raise ValueError("its bytes are in big-endian order; save it on a little-endian machine")
        tree = _unpickled(io.BytesIO(_run(mapped, entries[main])))
        data = root + "data/"
        runs = {n.removeprefix(data): _place(mapped, i) for n, i in entries.items() if n.startswith(data)}
    return tree, runs


def _place(mapped: mmap.mmap, entry: zipfile.ZipInfo) -> tuple[int, int]:
    """Return first byte and length of a stored entry; its local header says where it starts."""
    header = entry.header_offset
    if mapped[header : header + 4] != b"PK\x03\x04":
        raise ValueError("an entry of the archive is not where it should be")
    start = header + 30 + sum(int.from_bytes(mapped[header + at : header + at + 2], "little") for at in (26, 28))
    if not 0 <= start <= start + entry.file_size <= len(mapped):
        raise ValueError("an entry of the archive reaches beyond its end")
    return start, entry.file_size


def _run(mapped: mmap.mmap, entry: zipfile.ZipInfo) -> bytes:
    start, size = _place(mapped, entry)
    if size > _MOST_PICKLE:
        raise ValueError(f"its description of tensors has more than {_MOST_PICKLE:,} bytes")
    return mapped[start : start + size]


def _unpickled(data: io.BytesIO) -> Any:  # noqa: ANN401
    return _Unpickler(data, encoding="utf-8").load()


def _legacy_parts(mapped: mmap.mmap) -> tuple[Any, _Runs]:
    """Return the same of a file from before torch 1.6: pickles one after the other, then the runs of bytes."""
    head = io.BytesIO(mapped[: min(len(mapped), _MOST_PICKLE)])
    first, *_ = (_unpickled(head) for _ in range(_LEGACY_HEADERS))
    if first != _LEGACY:
        raise ValueError("it does not begin as torch.save begins a file")
    unpickler = _Unpickler(head, encoding="utf-8")
    tree, dtypes = unpickler.load(), unpickler.dtypes
    keys, place = _unpickled(head), head.tell()
    runs = {}
    for key in keys:
        size = int.from_bytes(mapped[place : place + 8], "little") * dtypes.get(key, torch.uint8).itemsize
        if key not in dtypes or place + 8 + size > len(mapped):
            raise ValueError("a stored run of bytes is missing")
        runs[key] = (place + 8, size)
        place += 8 + size
    return tree, runs


class _Builder:
    """Turns descriptions into tensors, and counts the bytes that they name."""

    def __init__(self, mapped: mmap.mmap, runs: _Runs) -> None:
        self._mapped, self._runs = mapped, runs
        self._flat: dict[tuple[str, torch.dtype], Tensor] = {}
        self._known: dict[tuple[Any, ...], Tensor | Unusual] = {}
        self._built: dict[tuple[int, int], Any] = {}
        self._left = _OVERLAP * sum(size for _, size in runs.values())

    def built(self, tree: Any, depth: int = 0) -> Any:  # noqa: ANN401
        """Return the tree with tensors; only mappings in mappings are entered, and lists of tensors in these."""
        if isinstance(tree, _View):
            return self._tensor(tree)
        if isinstance(tree, list) and tree and all(isinstance(value, _View) for value in tree):
            return [self._tensor(value) for value in tree]
        if not isinstance(tree, Mapping):
            return tree
        if depth > _STATE_DEPTH:
            return None
        if (id(tree), depth) not in self._built:  # the same one may lie in many places
            self._built[id(tree), depth] = {name: self.built(value, depth + 1) for name, value in tree.items()}
        return self._built[id(tree), depth]

    def _tensor(self, view: _View) -> Tensor | Unusual:
        shape, strides, offset, stored = tuple(view.shape), tuple(view.strides), view.offset, view.stored
        numbers = (*shape, *strides, offset)
        if not isinstance(stored, _Stored) or not all(type(n) is int and 0 <= n < 1 << 62 for n in numbers):
            raise ValueError("a tensor has impossible sizes")
        if len(shape) != len(strides) or len(shape) > _MOST_AXES:
            raise ValueError(
                f"a tensor has {len(shape)} axes and {len(strides)} strides; {_MOST_AXES} are the most"
            )
        dtype = stored.dtype if view.dtype is None else view.dtype
        place = (stored.key, dtype, offset, shape, strides)
        if place not in self._known:
            self._known[place] = self._view(stored.key, dtype, offset, shape, strides)
        return self._known[place]

    def _view(
        self, key: str, dtype: torch.dtype, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> Tensor | Unusual:
        if dtype not in _DENSE:
            return Unusual(f"of {dtype_name(dtype)}", shape, dtype_name(dtype))
        flat = self._run(key, dtype)
        if 0 in shape:
            return torch.empty(shape, dtype=dtype)
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if last >= len(flat):
            raise ValueError("a tensor reaches beyond what is stored of it")
        size = math.prod(shape) * dtype.itemsize
        if size > self._left:
            return Unusual(_TOO_MANY, shape, dtype_name(dtype))
        self._left -= size
        return flat.as_strided(shape, strides, offset)

    def _run(self, key: str, dtype: torch.dtype) -> Tensor:
        """Return a stored run as one axis."""
        if (key, dtype) not in self._flat:
            start, size = self._runs[key]
            count = size // dtype.itemsize
            if not count:
                self._flat[key, dtype] = torch.empty(0, dtype=dtype)
            elif start % dtype.itemsize:
                copied = bytearray(self._mapped[start : start + count * dtype.itemsize])
                self._flat[key, dtype] = torch.frombuffer(copied, dtype=dtype)
            else:
                self._flat[key, dtype] = torch.frombuffer(self._mapped, dtype=dtype, count=count, offset=start)
        return self._flat[key, dtype]
