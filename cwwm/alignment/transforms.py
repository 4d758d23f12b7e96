"""How a suspect's weights are brought back: channels to their places, then changes of groups of them undone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cwwm.alignment.channel_map import NONE, ChannelMap
from cwwm.alignment.similarity import dense


class ChannelTransform(Protocol):
    """A linear change that mixes channels within groups at most, known well enough to be undone.

    Weights are (outputs, inputs a group, kernel), channels in the owner's order.
    """

    def off_outputs(self, weights: Tensor) -> Tensor:
        """Return the weights of a layer that gives these channels without the change."""
        ...

    def off_inputs(self, weights: Tensor) -> Tensor:
        """Return the weights of a layer that reads these channels without the change."""
        ...


@dataclass(frozen=True, eq=False)
class Factors:
    """The change of groups of one channel each: a factor, negative where its sign was turned.

    Attributes:
        values: float32 (channels,), none of them zero.
    """

    values: Tensor

    def off_outputs(self, weights: Tensor) -> Tensor:
        """Return the weights with each output divided by its factor."""
        return weights / self.values[:, None, None]

    def off_inputs(self, weights: Tensor) -> Tensor:
        """Return the weights with each input divided by its factor."""
        return weights / self.values[read_inputs(axes(weights.shape), len(self.values))][..., None]


def axes(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return a weight's shape as (outputs, inputs a group, kernel)."""
    return shape[0], shape[1], math.prod(shape[2:])


def read_inputs(shape: tuple[int, int, int], inputs: int) -> Tensor:
    """Return which of a layer's inputs each output reads, int64 (outputs, inputs a group)."""
    groups = inputs // shape[1]
    first = torch.arange(shape[0]) // (shape[0] // groups) * shape[1]
    return first[:, None] + torch.arange(shape[1])


def bring_back(
    suspect: Tensor, shape: tuple[int, int, int], outputs: ChannelMap, inputs: ChannelMap | None
) -> Tensor:
    """Return the suspect's weights, (outputs, inputs a group, kernel), in the owner's order and shape.

    Args:
        suspect: (outputs, inputs a group, kernel), of the suspect's widths.
        shape: of the owner's tensor, as three axes.
        outputs, inputs: of the layer's channels; inputs is None for a depthwise layer.

    Returns:
        Zero where a channel has no partner, or where a grouped layer of the suspect has no such weight.
    """
    if inputs is None:
        inputs = ChannelMap.identity(1)
    theirs = inputs.width // suspect.shape[1]
    result = suspect.new_zeros(*shape)
    rows = torch.from_numpy(outputs.matched)
    partners = torch.from_numpy(outputs.partner[outputs.matched])
    full = dense(suspect, theirs)[partners]
    sources = torch.from_numpy(inputs.partner)[read_inputs(shape, inputs.size)[rows]]
    values = full.gather(1, sources.clamp(min=0)[..., None].expand(-1, -1, full.shape[2]))
    result[rows] = torch.where((sources != NONE)[..., None], values, 0.0)
    return result
