"""One view of a model's weights, whether they live in a module, a dictionary or a file."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from cwwm.support.errors import BadInput

FLOAT_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Weights(ABC):
    """Named tensors that can be read and, at chosen flat indices, written.

    Host of an embedding and suspect of an extraction alike.

    Attributes:
        module: the module behind the weights if there is one that can run forward, else None.
        exported: whether names and axes are those of an exporter, which mean nothing without the owner's copy.
        aligned: whether a search brought its channels to where they are.
        matched: whether these are no weights but what weights say for a one, in units that add up; see
            `cwwm.residual`.
    """

    module: nn.Module | None = None
    exported: bool = False
    aligned: bool = False
    matched: bool = False

    @abstractmethod
    def names(self) -> Sequence[str]:
        """Return the tensors' names, tied tensors once, in the model's own order."""

    @abstractmethod
    def tensor(self, name: str) -> Tensor:
        """Return the tensor for reading, detached; KeyError if there is none."""

    @abstractmethod
    def write(self, name: str, index: Tensor, values: Tensor) -> None:
        """Set the flat entries `index` (int64 (n,)) of a tensor to `values` (n,), cast to its dtype."""

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

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """View `tensors`; of tensors that share memory, the first name counts."""
        self._tensors = {name: tensor.detach() for name, tensor in tensors.items()}
        self._names = _untied(self._tensors)
        self._known = frozenset(self._names)

    def __contains__(self, name: object) -> bool:
        """Say whether a tensor of that name is there."""
        return name in self._known

    def names(self) -> Sequence[str]:
        """Return the names of tensors that do not share another's memory."""
        return self._names

    def tensor(self, name: str) -> Tensor:
        """Return the tensor itself."""
        return self._tensors[name]

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
        self._parameters = dict(module.named_parameters(remove_duplicate=True))

    def names(self) -> Sequence[str]:
        """Return the parameters' names, shared ones once."""
        return list(self._parameters)

    def __contains__(self, name: object) -> bool:
        """Say whether a parameter of that name is there."""
        return name in self._parameters

    def tensor(self, name: str) -> Tensor:
        """Return the parameter, detached, sharing its memory."""
        return self._parameters[name].detach()

    def write(self, name: str, index: Tensor, values: Tensor) -> None:
        """Write into the parameter, in its logical (row-major) order whatever its memory format."""
        tensor = self._parameters[name].detach()
        values = values.to(tensor.device, tensor.dtype)
        index = index.to(tensor.device)
        if tensor.is_contiguous():
            tensor.view(-1).index_copy_(0, index, values)
        else:  # channels_last: flat indices follow the logical shape, not the memory
            tensor.index_put_(torch.unravel_index(index, tensor.shape), values)


def _untied(tensors: Mapping[str, Tensor]) -> list[str]:
    seen: set[tuple[int, tuple[int, ...]]] = set()
    names = []
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tuple(tensor.shape))
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        names.append(name)
    return names


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
