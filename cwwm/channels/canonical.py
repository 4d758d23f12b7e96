"""Brings a network to a canonical width: removes channels that change nothing, as an attacker inserts them.

Against function-preserving insertion of channels (dummy neurons, arXiv 2303.09732), which moves whatever depends on
widths and indices; after the idea of canonicalising the graph before extraction (arXiv 2603.12679, of which we read
the abstract only: the rules here are ours).
"""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from cwwm.channels.graph import InteriorGroup, evaluating, interior_groups, is_depthwise, refusing
from cwwm.support.errors import BadInput

_ALIKE = 1e-5  # of their norms: how far equal channels may be apart through rounding in layers before them
_CANCELLED = 16  # in units of the dtype's epsilon: what rounding leaves of weights that cancel
_SAME = 1e-4  # of the largest output
_PASSING = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._BatchNorm)


def canonicalise(model: nn.Module, images: Tensor) -> dict[str, int]:
    """Remove in place the channels of interior groups that provably change nothing.

    Three rules, repeated until none applies, all up to rounding: channels with equal filters, biases and norms are
    one, whose readers' weights are the sum (undoes splits); a channel that all its readers weigh with zero goes
    (undoes dummy neurons, and cliques of equal channels whose weights cancel); so does one whose filter is zero and
    which is zero where it is read. One channel of a group stays. A channel that pruning emptied goes as well: no
    rule can tell it from an inserted one. Groups with layers that do not treat each channel by itself (layer norms,
    response norms) are left alone.

    Args:
        model: on the device of `images`; its layers get new, smaller parameters.
        images: (n >= 2, c, h, w), to trace and run the network with; best random ones.

    Returns:
        how many channels left each group, by the name of the weight that gave them.

    Raises:
        BadInput: without Torch-Pruning, for a network that it cannot follow, or whose outputs changed by more than
            1e-4 of the largest one (a layer between the filters that mixes channels without weights of its own).
    """
    before = _outputs(model, images)
    removed: dict[str, int] = {}
    while found := _pass(model, images):
        removed = {name: removed.get(name, 0) + found.get(name, 0) for name in {**removed, **found}}
    after = _outputs(model, images)
    if removed and float((after - before).abs().max()) > _SAME * float(before.abs().max()):
        raise BadInput("this network cannot be brought to a canonical width: its layers mix channels out of sight")
    return removed


def _pass(model: nn.Module, images: Tensor) -> dict[str, int]:
    """Remove what is seen to change nothing now; return how many channels left each group, without zeros."""
    groups = [group for group in interior_groups(model, images) if _each_by_itself(group)]
    silent = _silent(model, images, groups)
    removed = {}
    for group, unheard in zip(groups, silent, strict=True):
        _merge(group)
        dead = _unread(group) | (_unfed(group) & unheard)
        channels: list[int] = dead.nonzero().view(-1).tolist()
        channels = channels[1:] if len(channels) == group.width else channels
        with refusing("canonicalise: this network cannot lose its channels"):
            group.remove(channels)
        if channels:
            removed[group.name] = len(channels)
    return removed


def _each_by_itself(group: InteriorGroup) -> bool:
    return all(isinstance(layer, _PASSING) for layer in group.passed)


@torch.no_grad()
def _merge(group: InteriorGroup) -> None:
    """Let the first of channels that are equal take over what readers weigh the others with."""
    first = _first_alike(group)
    if bool((first == torch.arange(group.width, device=first.device)).all()):
        return
    for reader in group.readers:
        weight = reader.get_parameter("weight")
        total = torch.zeros_like(weight).index_add_(1, first, weight)
        size = torch.zeros_like(weight).index_add_(1, first, weight.abs())
        total[total.abs() <= _CANCELLED * torch.finfo(weight.dtype).eps * size] = 0
        shared = torch.bincount(first, minlength=group.width) != 1  # merged into, or merged away
        weight[:, shared] = total[:, shared]


def _first_alike(group: InteriorGroup) -> Tensor:
    """Return for each channel the first one that is equal to it in all that gives and passes it, int64 (width,)."""
    layers = [group.source, *(layer for layer in group.passed if isinstance(layer, nn.Module))]
    tensors = [tensor for layer in layers for tensor in layer.state_dict().values()]
    alike = torch.ones(group.width, group.width, dtype=torch.bool, device=tensors[0].device)
    for tensor in tensors:
        if tensor.ndim and len(tensor) == group.width:
            rows = tensor.double().reshape(group.width, -1)
            norms = rows.norm(dim=1)
            alike &= torch.cdist(rows, rows) <= _ALIKE * torch.maximum(norms[:, None], norms)
    alike.fill_diagonal_(True)  # a row with NaN is alike to itself only
    first = alike.int().argmax(1)
    while bool((first[first] != first).any()):
        first = first[first]
    return first


def _unread(group: InteriorGroup) -> Tensor:
    """Return which channels all readers weigh with zero, bool (width,)."""
    columns = [reader.get_parameter("weight").detach().transpose(0, 1).flatten(1) for reader in group.readers]
    return torch.stack([(column == 0).all(1) for column in columns]).all(0)


def _unfed(group: InteriorGroup) -> Tensor:
    """Return which channels hear nothing of the input, for a filter on their way is zero, bool (width,)."""
    passed = [layer for layer in group.passed if isinstance(layer, nn.Module) and is_depthwise(layer)]
    rows = [layer.get_parameter("weight").detach().flatten(1) for layer in (group.source, *passed)]
    return torch.stack([(row == 0).all(1) for row in rows]).any(0)


def _silent(model: nn.Module, images: Tensor, groups: Sequence[InteriorGroup]) -> list[Tensor]:
    """Return for each group which channels are zero wherever they are read, bool (width,)."""
    seen: dict[nn.Module, Tensor] = {}

    def listen(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        axis = 1 if isinstance(layer, nn.modules.conv._ConvNd) else -1
        seen[layer] = (inputs[0].detach().transpose(0, axis).flatten(1) == 0).all(1)

    with ExitStack() as stack, evaluating(model):
        for reader in (reader for group in groups for reader in group.readers):
            stack.callback(reader.register_forward_pre_hook(listen).remove)
        model(images)
    return [torch.stack([seen[reader] for reader in group.readers]).all(0) for group in groups]


def _outputs(model: nn.Module, images: Tensor) -> Tensor:
    with evaluating(model):
        return torch.as_tensor(model(images)).double()
