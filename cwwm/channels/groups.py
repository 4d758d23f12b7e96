"""Where each set of tied channels lies: which axes of which tensors carry it, and at which positions."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cwwm.channels.graph import inside_attention, is_depthwise

GIVES, PASSES, READS = "gives", "passes", "reads"
CHANNELS = "channels"
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Slot:
    """One axis of one tensor that carries channels of a group.

    Attributes:
        layer: name of the module that owns the tensor, or of the parameter if no layer wraps it.
        tensor: its name in the state dict.
        role: ``"gives"`` the channels, ``"passes"`` each on by itself (norms, depthwise), or ``"reads"`` them.
        axis: of the tensor.
        positions: int64 (p,), ascending, on that axis.
        channels: int64 (p,), which channel of the group is there; several positions where maps are flattened.
        parts: of a grouped convolution that reads: its axis 0 falls into that many equal parts, each of which
            reads as many channels as axis 1 has entries. Positions then count the channels of all parts.
    """

    layer: str
    tensor: str
    role: str
    axis: int
    positions: Tensor
    channels: Tensor
    parts: int = 1

    def take(self, tensor: Tensor) -> Tensor:
        """Return the entries at the positions, (p, ...), a copy."""
        view, index = self._indexed(tensor)
        return view[index]

    def put(self, tensor: Tensor, rows: Tensor) -> None:
        """Write `rows`, (p, ...), at the positions, in place."""
        view, index = self._indexed(tensor)
        view[index] = rows.to(tensor.dtype)

    def size(self, tensor: Tensor) -> int:
        """Return how many positions the axis has."""
        return tensor.shape[self.axis] * self.parts

    def repeated(self, size: int, width: int) -> "Slot":
        """Return the slot with its channels in every share of an axis, where they are all, in the first one."""
        every = torch.arange(width)
        if size == width or size % width or self.role == GIVES or not torch.equal(self.positions, every):
            return self
        return replace(self, positions=torch.arange(size), channels=every.repeat(size // width))

    def _indexed(self, tensor: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        positions = self.positions.to(tensor.device)
        if self.parts == 1:
            return tensor.movedim(self.axis, 0), (positions,)
        view, width = tensor.view(self.parts, -1, *tensor.shape[1:]).movedim(2, 1), tensor.shape[1]
        return view, (positions // width, positions % width)


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels that belong together in several tensors.

    Attributes:
        name: of the layer that it was found from, with what its channels are where they are no outputs.
        width: number of channels.
        slots: where they are.
        cells: int64 (width,); only channels of one cell may change places: they lie in the same tensors, in
            the same part of a grouped convolution or group norm, in the same head.
        obstacle: why the group cannot be followed, in a few words; empty if it can.
        kind: ``"channels"``, or what of an attention module they are (see `cwwm.channels.attention`).
    """

    name: str
    width: int
    slots: tuple[Slot, ...]
    cells: Tensor
    obstacle: str = ""
    kind: str = CHANNELS

    @classmethod
    def unfollowed(cls, name: str, reason: str) -> "ChannelGroup":
        """Return what stands for channels that cannot be followed."""
        return cls(name, 0, (), torch.zeros(0, dtype=torch.int64), reason)

    @property
    def movable(self) -> bool:
        """Say whether any two channels may change places."""
        return bool((self.cells.bincount() > 1).any())

    def repeated(self, tensors: Tensors) -> "ChannelGroup | None":
        """Return the group as it is where layers read it several times in a row, or None where none could.

        Torch-Pruning takes a layer whose axis is r times as long to have the channels in its first share alone.
        Patches merged into one (Swin's) have them in all r shares. Which it is, only the outputs tell.
        """
        slots = tuple(slot.repeated(slot.size(tensors[slot.tensor]), self.width) for slot in self.slots)
        longer = any(len(a.positions) > len(b.positions) for a, b in zip(slots, self.slots, strict=True))
        return replace(self, slots=slots) if longer else None

    def permute(self, tensors: Tensors, order: Tensor) -> None:
        """Put channel ``order[c]`` in the place of channel c in all tensors, in place; others are left out.

        Args:
            tensors: by name; weights, masks, or anything else of the weights' shapes.
            order: int64 (width,), a permutation that leaves every channel in its cell.
        """
        for slot in self.slots:
            if slot.tensor in tensors:
                tensor = tensors[slot.tensor]
                slot.put(tensor, slot.take(tensor)[_sources(slot.channels, order).to(tensor.device)])


def _sources(channels: Tensor, order: Tensor) -> Tensor:
    """Return for each entry of `channels` which entry its new content comes from: k-th for k-th of a channel."""
    by_channel = channels.argsort(stable=True)
    counts = channels.bincount(minlength=len(order))
    starts = counts.cumsum(0) - counts
    ranks = torch.arange(len(channels)) - starts[channels[by_channel]]
    sources = torch.empty_like(by_channel)
    sources[by_channel] = by_channel[starts[order[channels[by_channel]]] + ranks]
    return sources


def channel_groups(model: nn.Module, graph: Any) -> Iterator[ChannelGroup]:  # noqa: ANN401 (not typed)
    """Yield the groups of a network's channels, without those that are its outputs or inside its attention.

    Args:
        model: the network.
        graph: its dependency graph, as `cwwm.channels.graph.traced` returns it.
    """
    names = {id(item): name for name, item in (*model.named_modules(), *model.named_parameters())}
    for group in graph.get_all_groups(ignored_layers=inside_attention(model)):
        last = [dep for dep, _ in group if not dep.target.outputs]  # of all layers and operations
        if not any(graph.is_out_channel_pruning_fn(dep.handler) for dep in last):
            yield _group(group, graph, names)


class _UnfollowedError(Exception):
    """A layer whose channels cannot be followed; says why, in a few words."""


def _group(group: Any, graph: Any, names: Mapping[int, str]) -> ChannelGroup:  # noqa: ANN401 (not typed)
    name, width = names[id(group[0].dep.target.module)], 1 + max(group[0].root_idxs)
    slots, labels = list[Slot](), [torch.zeros(width, dtype=torch.int64)]
    try:
        for item in group:
            owner = names.get(id(item.dep.target.module))
            if owner is None or not item.idxs:
                continue  # an operation without weights
            positions = torch.tensor(item.idxs)
            order = positions.argsort()
            places = positions[order], torch.tensor(item.root_idxs)[order]
            own = list(_slots(item.dep.target, owner, graph.is_in_channel_pruning_fn(item.dep.handler), places))
            labels += _labels(item.dep.target.module, own, width)
            slots += own
    except _UnfollowedError as reason:
        return ChannelGroup.unfollowed(name, str(reason))
    cells = torch.unique(torch.stack(labels, 1), dim=0, return_inverse=True)[1]
    return ChannelGroup(name, width, tuple(slots), cells)


def _slots(node: Any, owner: str, reads: bool, places: tuple[Tensor, Tensor]) -> Iterator[Slot]:  # noqa: ANN401
    """Yield the slots of one layer, or of a parameter that no layer wraps."""
    layer = node.module
    if isinstance(layer, nn.Parameter):
        yield _slot(layer, Slot(owner, owner, GIVES, node.pruning_dim, *places))
        return
    if not isinstance(layer, FOLLOWED) or getattr(layer, "transposed", False):
        raise _UnfollowedError(f"channels are not followed through {type(layer).__name__}")
    if isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) > 1:
        raise _UnfollowedError("a layer norm over more than channels")
    prefix = f"{owner}." if owner else ""
    if reads and isinstance(layer, _MIXING) and not is_depthwise(layer):
        slot = Slot(owner, f"{prefix}weight", READS, 1, *places, parts=getattr(layer, "groups", 1))
        yield _slot(layer.weight, slot)
        return
    role = GIVES if isinstance(layer, _MIXING) and not is_depthwise(layer) else PASSES
    tensors = {**dict(layer.named_parameters(recurse=False)), **dict(layer.named_buffers(recurse=False))}
    for name, tensor in tensors.items():
        if tensor.ndim and tensor.numel() > 1:  # no counter, no slope shared by all channels
            yield _slot(tensor, Slot(owner, f"{prefix}{name}", role, 0, *places))


_MIXING = (nn.modules.conv._ConvNd, nn.Linear)
FOLLOWED = (*_MIXING, nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.PReLU)


def _slot(tensor: Tensor, slot: Slot) -> Slot:
    if int(slot.positions[-1]) >= slot.size(tensor):
        raise _UnfollowedError(f"{slot.tensor} has fewer channels than what is tied to it")
    return slot


def _labels(layer: nn.Module, slots: Iterable[Slot], width: int) -> list[Tensor]:
    """Return for each slot how often each channel occurs, and in which part of a grouped layer; int64 (width,)."""
    parts = 1 if is_depthwise(layer) else int(getattr(layer, "groups", getattr(layer, "num_groups", 1)))
    labels = []
    for slot in slots:
        size = max(1, _total(layer, slot) // parts)
        labels.append(slot.channels.bincount(minlength=width))
        first = torch.zeros(width, dtype=torch.int64)
        labels.append(first.index_put((slot.channels,), slot.positions // size))
    return labels


def _total(layer: nn.Module, slot: Slot) -> int:
    tensor = layer if isinstance(layer, Tensor) else getattr(layer, slot.tensor.rpartition(".")[2])
    return slot.size(tensor)
