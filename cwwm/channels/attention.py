"""What may change places inside attention: whole heads, and within each head queries with keys, and values."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from cwwm.channels.groups import GIVES, PASSES, READS, ChannelGroup, Slot

HEADS, QUERIES, VALUES = "heads", "queries and keys", "values"


def attention_groups(model: nn.Module) -> Iterator[ChannelGroup]:
    """Yield three groups for each attention module: its heads, its queries with its keys, its values.

    Followed are modules as timm writes them: ``num_heads``, one linear layer ``qkv`` whose outputs are
    (3, heads, head size), another, ``proj``, that reads (heads, head size). Tables with a column for each head
    (relative position bias) go with the heads; norms of queries and keys, whose weights all heads share, tie the
    heads' dimensions to each other. Others are yielded with an obstacle.
    """
    for name, module in model.named_modules():
        if hasattr(module, "num_heads") and list(module.children()):
            yield from _groups(name, module)


def _groups(name: str, module: nn.Module) -> Iterator[ChannelGroup]:
    qkv, proj, heads = getattr(module, "qkv", None), getattr(module, "proj", None), module.num_heads
    if not (isinstance(qkv, nn.Linear) and isinstance(proj, nn.Linear) and isinstance(heads, int)):
        yield ChannelGroup.unfollowed(name, "attention without layers qkv and proj")
        return
    if qkv.out_features != 3 * proj.in_features or proj.in_features % heads:
        yield ChannelGroup.unfollowed(name, "attention whose queries, keys and values differ in size")
        return
    size = proj.in_features // heads
    yield _heads(name, module, heads, size)
    yield _queries(name, module, heads, size)
    yield _values(name, module, heads, size)


def _heads(name: str, module: nn.Module, heads: int, size: int) -> ChannelGroup:
    owner = torch.arange(heads).repeat_interleave(size)
    slots = [*_given(name, module, torch.arange(3 * heads * size), owner.repeat(3)), *_read(name, module, owner)]
    for table, tensor in module.named_parameters(recurse=False):
        if tensor.ndim > 1 and list(tensor.shape).count(heads) == 1:
            axis, every = list(tensor.shape).index(heads), torch.arange(heads)
            slots.append(Slot(f"{name}.{table}", f"{name}.{table}", GIVES, axis, every, every))
    return ChannelGroup(f"{name} {HEADS}", heads, tuple(slots), torch.zeros(heads, dtype=torch.int64), kind=HEADS)


def _queries(name: str, module: nn.Module, heads: int, size: int) -> ChannelGroup:
    inner = heads * size
    norms = [n for n in ("q_norm", "k_norm") if list(getattr(module, n, nn.Identity()).parameters())]
    if not norms:
        each = _given(name, module, torch.arange(2 * inner), torch.arange(inner).repeat(2))
        cells = torch.arange(heads).repeat_interleave(size)
        return ChannelGroup(f"{name} {QUERIES}", inner, tuple(each), cells, kind=QUERIES)
    every = torch.arange(size)
    slots = [*_given(name, module, torch.arange(2 * inner), every.repeat(2 * heads))]
    for norm in norms:
        slots += [
            Slot(f"{name}.{norm}", f"{name}.{norm}.{tensor}", PASSES, 0, every, every)
            for tensor, value in getattr(module, norm).named_parameters()
            if value.shape == (size,)
        ]
    return ChannelGroup(f"{name} {QUERIES}", size, tuple(slots), torch.zeros(size, dtype=torch.int64), kind=QUERIES)


def _values(name: str, module: nn.Module, heads: int, size: int) -> ChannelGroup:
    inner = heads * size
    every = torch.arange(inner)
    slots = [*_given(name, module, 2 * inner + every, every), *_read(name, module, every)]
    return ChannelGroup(f"{name} {VALUES}", inner, tuple(slots), every // size, kind=VALUES)


def _given(name: str, module: nn.Module, positions: Tensor, channels: Tensor) -> Iterator[Slot]:
    """Yield the slots of these outputs of ``qkv``."""
    for tensor, _ in module.qkv.named_parameters():  # type: ignore[union-attr]
        yield Slot(f"{name}.qkv", f"{name}.qkv.{tensor}", GIVES, 0, positions, channels)


def _read(name: str, module: nn.Module, channels: Tensor) -> Iterator[Slot]:
    """Yield the slots of what reads the values, ``proj`` and, before it, ``norm`` if there is one."""
    every = torch.arange(len(channels))
    yield Slot(f"{name}.proj", f"{name}.proj.weight", READS, 1, every, channels)
    for tensor, value in getattr(module, "norm", nn.Identity()).named_parameters():
        if value.shape == (len(channels),):
            yield Slot(f"{name}.norm", f"{name}.norm.{tensor}", PASSES, 0, every, channels)
