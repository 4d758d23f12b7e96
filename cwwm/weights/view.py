"""One view of a model's weights, whether they live in a module, a dictionary or a file."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

import torch
from torch import Tensor, nn

from cwwm.support.errors import BadInput
from cwwm.weights.weight_kind import tied_names

FLOAT_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
T = TypeVar("T")
#: floats of one byte, which are read as the float32 numbers that they stand for, and carry no mark
SMALL_FLOATS = frozenset(
    {torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz, torch.float8_e8m0fnu}
)
#: dtypes, by name, whose values are weights: what a rule of host layers looks at
WEIGHT_DTYPES = frozenset({*FLOAT_DTYPES, "float64", *(str(d).removeprefix("torch.") for d in SMALL_FLOATS)})


@dataclass(frozen=True)
class Unusual:
    """A tensor of a file whose values are not read.

    Attributes:
        kind: what it is instead of a dense tensor of numbers, in words.
        shape: as the file says it; of no axes if it does not.
        dtype: its name; empty if the file does not say it.
    """

    kind: str
    shape: tuple[int, ...] = ()
    dtype: str = ""


class Weights(ABC):
    """Named tensors that can be read and, at chosen flat indices, written.

    Host of an embedding and suspect of an extraction alike.

    Attributes:
        module: the module behind the weights if there is one that can run forward, else None.
        exported: whether names and axes are those of an exporter, which mean nothing without the owner's copy.
        aligned: whether a search brought its channels to where they are.
        matched: whether these are no weights but what weights say for a one, in units that add up; see
            `cwwm.residual`.
        origin: the file that they are of; empty if there is none.
        tied: further names of tensors, each with the one that `names` has. They can be read and written by both.
    """

    module: nn.Module | None = None
    exported: bool = False
    aligned: bool = False
    matched: bool = False
    origin: str = ""
    tied: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def names(self) -> Sequence[str]:
        """Return the tensors' names, tied tensors once, in the model's own order."""

    def all_names(self) -> Sequence[str]:
        """Return the names, and behind them the further ones of tied tensors."""
        return [*self.names(), *self.tied]

    @abstractmethod
    def tensor(self, name: str) -> Tensor:
        """Return the tensor for reading, detached, floats of one byte as float32.

        Raises:
            KeyError: if there is none. BadInput: if it is `unreadable`.
        """

    def stored(self, name: str) -> Tensor | None:
        """Return the tensor as it is kept, whatever its dtype; None of one whose bytes are not to be had."""
        return self.tensor(name)

    def unreadable(self, name: str) -> str:
        """Return what a tensor is that holds no real numbers, or none that can be read; empty for all others."""
        return ""

    @abstractmethod
    def write(self, name: str, index: Tensor, values: Tensor) -> None:
        """Set the flat entries `index` (int64 (n,)) of a tensor to `values` (n,), cast to its dtype."""

    def entries(self, name: str, index: Tensor) -> Tensor:
        """Return the flat entries `index`, int64 (n,), of a tensor, in its dtype: (n,) on its device."""
        tensor = self.tensor(name)
        index = index.to(tensor.device)
        if tensor.is_contiguous():
            return tensor.view(-1)[index]
        return tensor[torch.unravel_index(index, tensor.shape)]

    def remembered(self, name: str, what: str, make: Callable[[], T]) -> T:
        """Return what `make` makes of a tensor; weights that know when it changes make it once."""
        return make()

    def size(self, name: str) -> int:
        """Return the tensor's number of entries."""
        return math.prod(self.shape(name))

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the tensor's shape without reading it."""
        return tuple(self.tensor(name).shape)

    def dtype(self, name: str) -> str:
        """Return the tensor's dtype by name, for example ``"float32"``."""
        return str(self.tensor(name).dtype).removeprefix("torch.")

    def __contains__(self, name: object) -> bool:
        """Say whether a tensor of that name is there."""
        return name in self.names()


class TensorWeights(Weights):
    """Weights in a dictionary of tensors, such as a state dict; writes go into the tensors given."""

    def __init__(self, tensors: Mapping[str, Tensor | Unusual]) -> None:
        """View `tensors`; of tied ones, one name counts, the same in any order; see `tied_names`."""
        self._tensors = {n: tensor.detach() for n, tensor in tensors.items() if isinstance(tensor, Tensor)}
        self._unusual = {n: tensor for n, tensor in tensors.items() if isinstance(tensor, Unusual)}
        self.tied = tied_names(self._tensors)
        self._names = [name for name in tensors if name not in self.tied]

    def __contains__(self, name: object) -> bool:
        """Say whether a tensor of that name is there."""
        return name in self._tensors or name in self._unusual

    def names(self) -> Sequence[str]:
        """Return the names, of tied tensors one."""
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape; of a nested tensor none."""
        return self._unusual[name].shape if name in self._unusual else _shape(self._tensors[name])

    def dtype(self, name: str) -> str:
        """Return the dtype as it is kept."""
        return self._unusual[name].dtype if name in self._unusual else dtype_name(self._tensors[name].dtype)

    def stored(self, name: str) -> Tensor | None:
        """Return the tensor itself; None of an unusual one."""
        return None if name in self._unusual else _dense(self._tensors[name])

    def unreadable(self, name: str) -> str:
        """Return what is unusual."""
        return self._unusual[name].kind if name in self._unusual else unusual_kind(self._tensors[name])

    def tensor(self, name: str) -> Tensor:
        """Return the tensor itself, or its values as float32."""
        require_readable(self, name)
        return widened(self._tensors[name])

    def write(self, name: str, index: Tensor, values: Tensor) -> None:
        """Write in place; BadInput for a tensor whose memory is not contiguous."""
        tensor = self._tensors[name]
        if not tensor.is_contiguous():
            raise BadInput(f"tensor {name} is not contiguous; call .contiguous() on it before marking")
        tensor.view(-1).index_copy_(0, index.to(tensor.device), values.to(tensor.device, tensor.dtype))


class ModuleWeights(Weights):
    """The parameters of a module; writes go into the module."""

    def __init__(self, module: nn.Module) -> None:
        """View `module`."""
        self.module = module
        self._parameters = dict(module.named_parameters(remove_duplicate=False))
        self.tied = tied_names(self._parameters)

    def names(self) -> Sequence[str]:
        """Return the parameters' names, of shared ones one."""
        return [name for name in self._parameters if name not in self.tied]

    def __contains__(self, name: object) -> bool:
        """Say whether a parameter of that name is there."""
        return name in self._parameters

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the parameter's shape."""
        return tuple(self._parameters[name].shape)

    def dtype(self, name: str) -> str:
        """Return the parameter's dtype."""
        return dtype_name(self._parameters[name].dtype)

    def stored(self, name: str) -> Tensor | None:
        """Return the parameter, detached, sharing its memory."""
        return _dense(self._parameters[name].detach())

    def unreadable(self, name: str) -> str:
        """Return what is unusual about a parameter."""
        return unusual_kind(self._parameters[name])

    def tensor(self, name: str) -> Tensor:
        """Return the parameter, detached, sharing its memory unless it is a float of one byte."""
        require_readable(self, name)
        return widened(self._parameters[name].detach())

    def write(self, name: str, index: Tensor, values: Tensor) -> None:
        """Write into the parameter, in its logical (row-major) order whatever its memory format."""
        tensor = self._parameters[name].detach()
        values = values.to(tensor.device, tensor.dtype)
        index = index.to(tensor.device)
        if tensor.is_contiguous():
            tensor.view(-1).index_copy_(0, index, values)
        else:  # channels_last: flat indices follow the logical shape, not the memory
            tensor.index_put_(torch.unravel_index(index, tensor.shape), values)


def dtype_name(dtype: torch.dtype) -> str:
    """Return a dtype's name, such as ``"float32"``."""
    return str(dtype).removeprefix("torch.")


def widened(tensor: Tensor) -> Tensor:
    """Return a tensor whose dtype all of torch computes with: floats of one byte as float32, exactly."""
    return tensor.float() if tensor.dtype in SMALL_FLOATS else tensor


def unusual_kind(tensor: Tensor) -> str:
    """Return what a tensor is that is not dense, or not of real numbers; empty for all others."""
    if tensor.is_nested:
        return "nested"
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.is_quantized:
        return "quantised"
    return "of complex numbers" if tensor.is_complex() else ""


def require_readable(weights: Weights, name: str) -> None:
    """Raise BadInput, naming the tensor, if its values cannot be read."""
    kind = weights.unreadable(name)
    if kind:
        of = f" of {weights.origin}" if weights.origin else ""
        raise BadInput(f"tensor {name}{of} is {kind}: it cannot be read; save it as a dense tensor with its values")


def _dense(tensor: Tensor) -> Tensor | None:
    return None if unusual_kind(tensor) and not tensor.is_complex() else tensor


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return () if tensor.is_nested else tuple(tensor.shape)


def all_finite(tensor: Tensor) -> bool:
    """Say whether a tensor holds no NaN and no infinity; reads it in chunks, copies nothing large."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.detach().resolve_conj())
    chunks = torch.split(tensor.detach().reshape(-1), 1 << 20)
    return all(bool(torch.isfinite(chunk.sum(dtype=torch.float64))) for chunk in chunks)


def as_weights(model: nn.Module | Mapping[str, Tensor] | Weights) -> Weights:
    """Return `model` as Weights."""
    if isinstance(model, Weights):
        return model
    return ModuleWeights(model) if isinstance(model, nn.Module) else TensorWeights(model)
