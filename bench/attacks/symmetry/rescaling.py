"""Rescaling: channels are given larger and read smaller, each by its own factor, and no answer changes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import measure_change
from bench.attacks.pruning import prunable_tensors
from bench.attacks.symmetry.base import MIXING_NORMS, Probe, Symmetry, generator, shares
from bench.attacks.symmetry.wires import Wires
from cwwm.channels.attention import QUERIES, VALUES
from cwwm.channels.groups import CHANNELS, GIVES, PASSES, READS, ChannelGroup, Slot
from cwwm.support.errors import BadInput

_BATCH_NORM = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True, eq=False)
class Place:
    """Where the channels of a group can get factors.

    Attributes:
        name: the layers that give and read them there.
        width: number of channels.
        up: slots that are multiplied by the factors. down: slots that are divided by them.
        norms: batch norms that read the channels, by slot: statistics and weight take the factors up.
        factors: float64 (width,), positive.
    """

    name: str
    width: int
    up: tuple[Slot, ...]
    down: tuple[Slot, ...]
    norms: tuple[Slot, ...] = ()
    factors: Tensor | None = None

    def apply(self, model: nn.Module) -> None:
        """Scale in place."""
        assert self.factors is not None
        tensors = model.state_dict()
        for slot in self.up:
            _scale(tensors[slot.tensor], slot, self.factors)
        for slot in self.down:
            _scale(tensors[slot.tensor], slot, 1 / self.factors)
        for slot in self.norms:
            _absorb(model.get_submodule(slot.layer), slot, self.factors)


def _scale(tensor: Tensor, slot: Slot, factors: Tensor) -> None:
    rows = slot.take(tensor).double()
    own = factors[slot.channels].to(tensor.device)
    slot.put(tensor, rows * own.view(-1, *[1] * (rows.ndim - 1)))


def _absorb(norm: nn.Module, slot: Slot, factors: Tensor) -> None:
    """Make a batch norm answer inputs that are `factors` times as large as it answered before.

    Mean m and variance v become a m and a^2 v. Since a^2 v + eps is not a^2 (v + eps), the weight w becomes
    w sqrt(a^2 v + eps) / (a sqrt(v + eps)), which is exact also where eps counts.
    """
    mean, variance, weight = (slot.take(getattr(norm, name)).double() for name in (*_STATISTICS, "weight"))
    own = factors[slot.channels].to(mean.device)
    larger = own.square() * variance
    slot.put(norm.running_mean, own * mean)  # type: ignore[arg-type]
    slot.put(norm.weight, weight * ((larger + norm.eps) / (variance + norm.eps)).sqrt() / own)  # type: ignore
    slot.put(norm.running_var, larger)  # type: ignore[arg-type]


_STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True, kw_only=True)
class Rescaling(Symmetry):
    """Multiplies what gives a channel by a positive factor and divides what reads it by the same.

    Factors are log-uniform in [1/s, s], one a channel and place; all strengths share one draw. No sign changes,
    no zero arises or goes, and every magnitude may. Places are tried wherever layers give and layers read a
    channel with nothing between but operations that a factor passes (ReLU, LeakyReLU, pooling, residual sums):
    layer to layer; layer to batch norm, whatever activation follows, whose statistics take the factor up; batch
    or layer norm to layer; layer to layer scale; queries against keys; values to what reads them. None is
    where a layer norm reads, or across GELU, SiLU or ReLU6; these are reported. `achieved` has ``moved``, the
    share of prunable weights that changed, and ``change``, the squared change over the squared norm.
    """

    name: ClassVar[str] = "rescale"
    strength: ClassVar[str] = "largest factor on a channel, s; the least is 1/s"

    def check_strength(self, strength: float) -> None:
        """Refuse what is no factor of at least 1."""
        if not 1 <= strength < math.inf:
            raise BadInput(f"rescale: the largest factor is a number of at least 1, not {strength:g}")

    def proposals(self, probe: Probe, strength: float, seed: int) -> tuple[Sequence[Place], dict[str, str]]:
        """Return all places with their factors."""
        places, skipped = list[Place](), dict[str, str]()
        wires = Wires(probe.model, probe.graph)
        for group in probe.groups():
            if group.obstacle:
                skipped[group.name] = group.obstacle
            for place, obstacle in _places(probe.model, group, wires):
                if obstacle:
                    skipped[place.name] = obstacle
                else:
                    places.append(replace(place, factors=_factors(place, strength, seed)))
        return places, skipped

    def measure(self, model: nn.Module, before: Mapping[str, Tensor], kept: Sequence[Place]) -> dict[str, Any]:
        """Return the share of weights that changed, the energy of the change, and the places."""
        after = prunable_tensors(model)
        change = measure_change(before, after)["change"]
        found = shares((name, before[name] != after[name]) for name in before)
        return {**found, "change": change, "places": [place.name for place in kept]}


def _factors(place: Place, strength: float, seed: int) -> Tensor:
    exponents = 2 * torch.rand(place.width, generator=generator(seed, place.name), dtype=torch.float64) - 1
    return torch.as_tensor(float(strength), dtype=torch.float64) ** exponents


def _places(model: nn.Module, group: ChannelGroup, wires: Wires) -> Iterator[tuple[Place, str]]:
    """Yield the places of a group with what keeps each from being one, or an empty string."""
    if group.kind in (QUERIES, VALUES):
        yield _inside_attention(group)
    elif group.kind == CHANNELS:
        slots = [slot for slot in group.slots if not isinstance(_layer(model, slot), nn.PReLU)]
        for wire in dict.fromkeys(wires.after(slot.layer) for slot in slots if slot.role != READS):
            given = [slot for slot in slots if slot.role != READS and wires.after(slot.layer) == wire]
            takers = [slot for slot in slots if slot.role != GIVES or slot.layer in wires.scales]
            read = [slot for slot in takers if wires.before(slot.layer) == wire]
            yield _on_wire(model, group, given, read), _obstacle(model, read, wires.obstacle(wire))


def _on_wire(model: nn.Module, group: ChannelGroup, given: Sequence[Slot], read: Sequence[Slot]) -> Place:
    weights = [slot for slot in read if _leaf(slot) == "weight" or _layer(model, slot) is None]  # no offsets
    norms = tuple(slot for slot in weights if isinstance(_layer(model, slot), _BATCH_NORM))
    return Place(
        f"{group.name}: {given[0].layer} to {read[0].layer if read else 'nothing'}",
        group.width,
        up=tuple(slot for slot in given if _leaf(slot) not in _STATISTICS),
        down=tuple(slot for slot in weights if slot not in norms),
        norms=norms,
    )


def _obstacle(model: nn.Module, read: Sequence[Slot], operation: str) -> str:
    if operation:
        return f"no factor passes {operation}"
    if any(isinstance(_layer(model, slot), MIXING_NORMS) for slot in read):
        return "a norm over channels reads them"
    return "" if read else "nothing that they could be divided in reads them"


def _inside_attention(group: ChannelGroup) -> tuple[Place, str]:
    """Return queries against keys, or values to what reads them."""
    down = [slot for slot in group.slots if slot.role == READS]
    up = [slot for slot in group.slots if slot.role == GIVES]
    if group.kind == QUERIES:
        up, down = [_part(slot, 0) for slot in up], [_part(slot, 1) for slot in up]
    normed = any(slot.role == PASSES for slot in group.slots)
    return Place(group.name, group.width, tuple(up), tuple(down)), "a norm reads them" if normed else ""


def _part(slot: Slot, half: int) -> Slot:
    """Return a slot of queries and keys with the queries (0) or keys (1) alone: they follow each other."""
    chosen = slice(half * len(slot.positions) // 2, (half + 1) * len(slot.positions) // 2)
    return replace(slot, positions=slot.positions[chosen], channels=slot.channels[chosen])


def _layer(model: nn.Module, slot: Slot) -> nn.Module | None:
    """Return the layer of a slot, or None for a parameter that no layer wraps."""
    return None if slot.layer == slot.tensor else model.get_submodule(slot.layer)


def _leaf(slot: Slot) -> str:
    return slot.tensor.rpartition(".")[2]
