"""What a tensor is by its name and shape alone, and which of the names of one tensor counts."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

_WEIGHT = re.compile(r"(^|[._])weight$")
_NOT_LINEAR = re.compile(
    r"(^|[._])(embeddings?|embed|wte|wpe|emb|embed_tokens|token|tok|pos|position|norm\w*|bn\w*)([._]|$)"
    r"|(^|[._])cls([._](?!predictions\.|classifier$)|$)|relative|rel_pos|(token|position|word|pos|tok|type)_emb"
)


def weight_kind(name: str, shape: Sequence[int]) -> str | None:
    """Return ``"conv"`` or ``"linear"`` for a weight that can be pruned, else None.

    Norms, biases, layer scales (all of one axis), embeddings and position tables are none.
    """
    if not _WEIGHT.search(name) or len(shape) < 2 or math.prod(shape) in (0, max(shape)):
        return None
    if len(shape) >= 3:
        return "conv"
    return None if _NOT_LINEAR.search(name.rsplit(".", 1)[0]) else "linear"


def tied_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the names of tied tensors that do not count, each with the one that does, whatever their order.

    Tied are tensors that are one piece of memory seen alike. The name of an embedding or a table counts before that
    of a weight, for libraries that write each tensor once keep it; else the name that sorts first does.
    """
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.layout == torch.strided and not tensor.is_nested and tensor.numel():
            place = tensor.data_ptr() or id(tensor)  # of one without values there is no memory
            groups.setdefault((place, tensor.dtype, tuple(tensor.shape), tensor.stride()), []).append(name)
    return {
        name: counted
        for names in groups.values()
        if len(names) > 1 and (counted := _counted(names, tensors[names[0]].shape))
        for name in names
        if name != counted
    }


def _counted(names: Iterable[str], shape: Sequence[int]) -> str:
    return min(names, key=lambda name: (weight_kind(name, shape) is not None, name))
