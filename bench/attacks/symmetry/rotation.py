"""Rotation: an invertible matrix inside each attention head mixes its dimensions, and no answer changes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import Masks, measure_change
from bench.attacks.pruning import prunable_tensors
from bench.attacks.symmetry.base import Probe, Symmetry, generator, shares
from cwwm.channels.attention import QUERIES, VALUES
from cwwm.channels.groups import PASSES, READS, ChannelGroup, Slot
from cwwm.support.errors import BadInput


@dataclass(frozen=True, eq=False)
class Mixing:
    """The queries and keys, or the values, of an attention module, and a matrix for each head.

    Attributes:
        group: of the channels, each head's next to each other.
        matrices: float64 (heads, size, size), invertible.
    """

    group: ChannelGroup
    matrices: Tensor

    @property
    def name(self) -> str:
        """Return the group's name."""
        return self.group.name

    def apply(self, model: nn.Module) -> None:
        """Mix the dimensions of each head in place: what gives them by A, what reads them by the inverse of A.

        With queries A q and keys A^-T k the products q . k stay; values A v are read by W A^-1.
        """
        tensors, dual = model.state_dict(), torch.linalg.inv(self.matrices).transpose(1, 2)
        for slot in self.group.slots:
            if slot.role == READS:
                turns = [dual]
            else:
                turns = [self.matrices, dual] if self.group.kind == QUERIES else [self.matrices]
            _turn(tensors[slot.tensor], slot, turns)


def _turn(tensor: Tensor, slot: Slot, turns: Sequence[Tensor]) -> None:
    """Multiply the dimensions of each head from the left, in place; the slot has a run of all heads a turn."""
    rows = slot.take(tensor).double()
    matrices = torch.stack(list(turns)).to(rows.device)
    runs, heads, size = matrices.shape[:3]
    mixed = matrices @ rows.reshape(runs, heads, size, -1)
    slot.put(tensor, mixed.reshape(rows.shape))


@dataclass(frozen=True, kw_only=True)
class Rotation(Symmetry):
    """Multiplies the dimensions of each attention head by a random invertible matrix, undone where they are read.

    Queries and keys of a head meet only in their products, and values are read by one linear layer: a dense matrix
    may stand between, as published for quantisable transformers (QuaRot, arXiv 2404.00456, uses orthogonal ones).
    Every weight of queries, keys and values becomes a mixture, so nothing that a key names is left, and no order
    or scale of channels brings it back. The matrix is U diag(f) V with random orthogonal U and V and factors f
    log-uniform in [1/s, s]; at s = 1 it is a rotation. Heads with a norm on queries and keys, or on what they
    answer, are left alone, and so is all that is not attention: there the attack changes nothing. `achieved` has
    ``moved``, the share of prunable weights that changed, and ``change``, the squared change over the squared
    norm. Masks that a former attack holds end where their weights are mixed.
    """

    name: ClassVar[str] = "rotate"
    strength: ClassVar[str] = "largest factor along a direction of a head, s; the least is 1/s; at 1 a rotation"

    def check_strength(self, strength: float) -> None:
        """Refuse what is no factor of at least 1."""
        if not 1 <= strength < math.inf:
            raise BadInput(f"rotate: the largest factor is a number of at least 1, not {strength:g}")

    def proposals(self, probe: Probe, strength: float, seed: int) -> tuple[Sequence[Mixing], dict[str, str]]:
        """Return all heads with their matrices."""
        changes, skipped = list[Mixing](), dict[str, str]()
        for group in probe.groups():
            if group.kind not in (QUERIES, VALUES):
                continue
            if any(slot.role == PASSES for slot in group.slots):
                skipped[group.name] = "a norm reads them"
            else:
                changes.append(Mixing(group, _matrices(group, strength, seed)))
        return changes, skipped

    def carry(self, model: nn.Module, kept: Sequence[Mixing], masks: Masks) -> Masks:
        """Return the masks of tensors that are not mixed."""
        mixed = {slot.tensor for change in kept for slot in change.group.slots}
        return {name: mask for name, mask in masks.items() if name not in mixed}

    def measure(self, model: nn.Module, before: Mapping[str, Tensor], kept: Sequence[Mixing]) -> dict[str, Any]:
        """Return the share of weights that changed, and the energy of the change."""
        after = prunable_tensors(model)
        change = measure_change(before, after)["change"]
        return {**shares((name, before[name] != after[name]) for name in before), "change": change}


def _matrices(group: ChannelGroup, strength: float, seed: int) -> Tensor:
    """Return a matrix for each head, float64 (heads, size, size); all strengths share the directions."""
    heads = 1 + int(group.cells.max())
    size = group.width // heads
    draw = generator(seed, group.name)
    first, second = (
        torch.linalg.qr(torch.randn(heads, size, size, generator=draw, dtype=torch.float64)).Q for _ in range(2)
    )
    exponents = 2 * torch.rand(heads, 1, size, generator=draw, dtype=torch.float64) - 1
    factors = torch.as_tensor(float(strength), dtype=torch.float64) ** exponents
    matrices: Tensor = (first * factors) @ second
    return matrices
