"""Reads the initialisers of an ONNX file, those in files beside it too: nothing is run, memory is bounded.

The outer messages are walked here and only the small ones inside are given to the package onnx, one at a time: a
file of a few megabytes can hold millions of empty messages, each of which would take a hundred times its size.
"""

import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from cwwm.support.errors import BadInput
from cwwm.support.files import open_regular
from cwwm.weights.protobuf import messages_in
from cwwm.weights.view import TensorWeights

_MOST_MESSAGES = 1_000_000  # nodes and initialisers of a graph
_MOST_NODE = 1 << 20  # bytes; a larger one, such as a large constant, is passed over
_MOST_AXES = 32
_MOST_FILES = 256  # that tensors lie in
_OVERLAP = 4  # how often the bytes of these may be named by different tensors

# fields of onnx.proto that lead to a graph's nodes and initialisers
_GRAPH = 7  # of ModelProto
_NODE, _INITIALIZER = 1, 5  # of GraphProto

_DTYPES = {1: torch.float32, 10: torch.float16, 11: torch.float64, 16: torch.bfloat16}  # of TensorProto.DataType
_FIELDS = {1: "float_data", 10: "int32_data", 11: "double_data", 16: "int32_data"}  # where values are not raw
_EXTERNAL = 1  # of TensorProto.DataLocation


class OnnxWeights(TensorWeights):
    """The float initialisers of an ONNX file, in the order in which its nodes read them.

    An exporter names them its own way, may transpose them, and folds norms into them.
    """

    exported = True


def open_onnx(path: Path) -> OnnxWeights:
    """Read an ONNX file; its tensors are views of it and of the files beside it.

    Raises:
        BadInput: for a missing, damaged or hostile file, and for values that are not where it says.
        ModuleNotFoundError: without the package onnx.
    """
    graph = _Graph(path)
    tensors = {name: graph.tensors[name] for name in dict.fromkeys(graph.read) if name in graph.tensors}
    if not graph.tensors:
        raise BadInput(f"{path} holds no weights: it has no initialisers of float numbers")
    return OnnxWeights({**tensors, **graph.tensors})


class _Graph:
    """What an ONNX file says.

    Attributes:
        tensors: the float initialisers, and float constants, by name.
        read: names that nodes read, in their order.
    """

    def __init__(self, path: Path) -> None:
        self.tensors, self.read = dict[str, Tensor](), list[str]()
        self._path, self._beside = path, _Beside(path)
        with open_regular(path, "ONNX file") as file:
            self._data = _mapped(file.fileno(), path)
        for field, message in self._messages():
            if field == _INITIALIZER:
                self._keep(_parsed("TensorProto", message, path))
            elif len(message) <= _MOST_NODE:
                self._follow(_parsed("NodeProto", message, path))
        self._beside.require_sound()

    def _messages(self) -> Iterator[tuple[int, memoryview]]:
        count = 0
        for outer, graph in self._fields(memoryview(self._data)):
            for field, message in self._fields(graph) if outer == _GRAPH else ():
                if field in (_NODE, _INITIALIZER):
                    count += 1
                    if count > _MOST_MESSAGES:
                        raise BadInput(f"{self._path} has more than {_MOST_MESSAGES:,} nodes and initialisers")
                    yield field, message

    def _fields(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        try:
            yield from messages_in(data)
        except (ValueError, IndexError) as error:
            raise BadInput(f"{self._path} is truncated or no ONNX file") from error

    def _follow(self, node: Any) -> None:  # noqa: ANN401
        """Note what a node reads; a constant is as good as an initialiser."""
        self.read += node.input
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value" and node.output:
                attribute.t.name = node.output[0]
                self._keep(attribute.t)

    def _keep(self, tensor: Any) -> None:  # noqa: ANN401
        if tensor.data_type not in _DTYPES or not tensor.name:
            return
        if tensor.name in self.tensors:
            raise BadInput(f"{self._path} has two tensors of the name {tensor.name}")
        self.tensors[tensor.name] = self._values(tensor)

    def _values(self, tensor: Any) -> Tensor:  # noqa: ANN401
        """Return the values of a TensorProto in its shape."""
        shape, dtype = tuple(tensor.dims), _DTYPES[tensor.data_type]
        if len(shape) > _MOST_AXES or min(shape, default=0) < 0 or math.prod(n or 1 for n in shape) >= 1 << 62:
            raise BadInput(f"tensor {tensor.name} of {self._path} has an impossible shape")
        if tensor.data_location == _EXTERNAL:
            stated = {entry.key: entry.value for entry in tensor.external_data}
            data = self._beside.bytes_of(tensor.name, stated, math.prod(shape) * dtype.itemsize)
            values = torch.frombuffer(data, dtype=dtype) if data is not None else torch.empty(0, dtype=dtype)
        else:
            values = _inside(tensor, dtype)
        if values.numel() != math.prod(shape):
            raise BadInput(f"tensor {tensor.name} of {self._path} has not as many values as its shape says")
        return values.reshape(shape)


def _parsed(kind: str, message: memoryview, path: Path) -> Any:  # noqa: ANN401 (made from the protocol's description)
    """Return a small message of a file as the package onnx reads it."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return getattr(onnx, kind).FromString(bytes(message))
    except (DecodeError, ValueError) as error:
        raise BadInput(f"{path} is truncated or no ONNX file: {error}") from error


def _inside(tensor: Any, dtype: torch.dtype) -> Tensor:  # noqa: ANN401
    """Return the values that a TensorProto holds itself, flat."""
    if len(tensor.raw_data) >= dtype.itemsize:
        raw = bytearray(tensor.raw_data)
        return torch.frombuffer(raw, dtype=dtype, count=len(raw) // dtype.itemsize)
    listed = getattr(tensor, _FIELDS[tensor.data_type])
    if dtype.itemsize > 2:
        return torch.tensor(list(listed), dtype=dtype)
    bits = torch.tensor(list(listed), dtype=torch.int32)  # of 16-bit floats their bits
    return bits.to(torch.int16).view(dtype)


@dataclass(frozen=True)
class _File:
    """A file of values beside the model, mapped."""

    data: mmap.mmap
    size: int


class _Beside:
    """The files that hold values of tensors: in the model's own folder or below it, and nowhere else."""

    def __init__(self, model: Path) -> None:
        self._model, self._folder = model, model.resolve().parent
        self._files, self._named = dict[str, _File](), 0

    def bytes_of(self, name: str, stated: Mapping[str, str], count: int) -> memoryview | None:
        """Return the bytes of a tensor, None of an empty one.

        Args:
            name: of the tensor.
            stated: location, offset and length, as the file says them.
            count: bytes that the tensor's shape takes.
        """
        location = stated.get("location", "")
        offset, length = (self._number(name, stated.get(key, str(default)))
                          for key, default in (("offset", 0), ("length", count)))  # fmt: skip
        file = self._opened(name, location)
        if length != count or offset + count > file.size:
            raise BadInput(f"tensor {name} of {self._model}: {location} does not hold its {count:,} bytes")
        self._named += count
        return memoryview(file.data)[offset : offset + count] if count else None

    def require_sound(self) -> None:
        """Raise BadInput where tensors name the same bytes again and again: reading them would take any time."""
        if self._named > _OVERLAP * sum(file.size for file in self._files.values()):
            raise BadInput(f"{self._model} names the same bytes more than {_OVERLAP} times")

    def _number(self, name: str, text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise BadInput(f"tensor {name} of {self._model}: '{text[:20]}' is no place in a file")
        return int(text)

    def _opened(self, name: str, location: str) -> _File:
        if location in self._files:
            return self._files[location]
        if len(self._files) >= _MOST_FILES:
            raise BadInput(f"the tensors of {self._model} lie in more than {_MOST_FILES} files")
        path = self._inside(name, location)
        with open_regular(path, f"values of tensor {name}") as file:
            data = _mapped(file.fileno(), path)
        return self._files.setdefault(location, _File(data, len(data)))

    def _inside(self, name: str, location: str) -> Path:
        """Return the path of a file beside the model; BadInput for one that is anywhere else, by a link too."""
        parts = PurePosixPath(location)
        plain = location and location.isprintable() and not parts.is_absolute() and "\\" not in location
        path = self._folder / location if plain and ".." not in parts.parts else None
        if path is None or not path.resolve().is_relative_to(self._folder):
            raise BadInput(
                f"tensor {name} of {self._model} says that its values lie in '{location[:80]}', which is not in "
                "the folder of the model"
            )
        return path


def _mapped(descriptor: int, path: Path) -> mmap.mmap:
    """Return a file's bytes; writes stay in memory."""
    try:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    except ValueError as error:  # an empty file
        raise BadInput(f"{path} is empty") from error
