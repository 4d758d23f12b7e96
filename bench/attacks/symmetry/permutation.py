"""Permutation: channels, neurons and heads change places everywhere at once, and no answer changes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import Masks
from bench.attacks.symmetry.base import Probe, Symmetry, generator, shares
from cwwm.channels.groups import ChannelGroup
from cwwm.support.errors import BadInput


@dataclass(frozen=True, eq=False)
class Reordering:
    """A group of channels and the order, int64 (width,), that they get."""

    group: ChannelGroup
    order: Tensor

    @property
    def name(self) -> str:
        """Return the group's name."""
        return self.group.name

    def apply(self, model: nn.Module) -> None:
        """Reorder the channels in all parameters and buffers, in place."""
        self.group.permute(model.state_dict(), self.order)


@dataclass(frozen=True, kw_only=True)
class Permutation(Symmetry):
    """Gives the channels of each group a random new order in every tensor that has them.

    A position that a key names then holds another weight. Groups are the channels of a layer, those that a
    residual sum joins together; in attention whole heads, queries with keys within a head, and values within a
    head. Channels stay within their part of a grouped convolution or group norm. The network's inputs and the
    classifier's outputs stay in order. `achieved` has ``moved``, the share of all prunable weights (and of each
    layer's) that came from another place of their tensor. Masks that a former attack holds move along.
    """

    name: ClassVar[str] = "permute"
    strength: ClassVar[str] = "share of the channel groups that get a new order"

    def check_strength(self, strength: float) -> None:
        """Refuse what is no share."""
        if not 0 <= strength <= 1:
            raise BadInput(f"permute: a share of the groups is between 0 and 1, not {strength:g}")

    def proposals(self, probe: Probe, strength: float, seed: int) -> tuple[Sequence[Reordering], dict[str, str]]:
        """Return new orders for the share of the groups; the groups of growing shares are nested."""
        groups = probe.groups()
        skipped = {group.name: group.obstacle or "no two channels may change places" for group in groups}
        groups = [group for group in groups if group.movable]
        for group in groups:
            del skipped[group.name]
        rank = torch.randperm(len(groups), generator=generator(seed, "groups")).tolist()
        count = math.floor(strength * len(groups) + 0.5)
        chosen = [group for group, place in zip(groups, rank, strict=True) if place < count]
        return [Reordering(group, _order(group, seed)) for group in chosen], skipped

    def keep(self, probe: Probe, changes: Sequence[Reordering]) -> list[Reordering]:
        """Return the changes to make; those refused are tried once more as channels that are read repeatedly."""
        kept = list(probe.keep(changes))
        tensors = probe.model.state_dict()
        for change in changes:
            group = change.group.repeated(tensors) if change.name in probe.refused else None
            if group is not None and (again := probe.keep([replace(change, group=group)])):
                del probe.refused[change.name]
                kept += again
        return kept

    def carry(self, model: nn.Module, kept: Sequence[Reordering], masks: Masks) -> Masks:
        """Return the masks with their entries where the weights went."""
        moved = {name: mask.clone() for name, mask in masks.items()}
        for change in kept:
            change.group.permute(moved, change.order)
        return moved

    def measure(self, model: nn.Module, before: Mapping[str, Tensor], kept: Sequence[Reordering]) -> dict[str, Any]:
        """Return the share of weights that came from elsewhere, followed by their indices, not their values."""
        start = {name: torch.arange(tensor.numel()).view(tensor.shape) for name, tensor in before.items()}
        origin = {name: index.clone() for name, index in start.items()}
        for change in kept:
            change.group.permute(origin, change.order)
        return shares((name, origin[name] != start[name]) for name in start)


def _order(group: ChannelGroup, seed: int) -> Tensor:
    """Return a random order of the channels of each cell of a group; it depends on its name and the seed alone."""
    order, draw = torch.arange(group.width), generator(seed, group.name)
    for cell in range(1 + int(group.cells.max())):
        members = (group.cells == cell).nonzero().view(-1)
        order[members] = members[torch.randperm(len(members), generator=draw)]
    return order
