"""Insertion: layers get wider by dummy channels whose sum of effects is zero, and no answer changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import AttackContext, Attacked, Masks
from bench.attacks.pruning import prunable_tensors
from bench.attacks.removal import classifier_layer, correct_widths
from bench.attacks.symmetry.base import MIXING_NORMS, Probe, Symmetry, generator, shares
from bench.attacks.symmetry.dummies import CLIQUE, KINDS, SPLIT, Dummies, make_dummies
from bench.attacks.symmetry.wires import Wires
from cwwm.channels.graph import is_depthwise
from cwwm.channels.groups import CHANNELS, READS, ChannelGroup, Slot
from cwwm.support.errors import BadInput

_MOST = 8  # times the width; beyond, it is another network


@dataclass(frozen=True, eq=False)
class Widening:
    """A group of channels, the dummies that join it, and the order, int64, of old and new channels together."""

    group: ChannelGroup
    dummies: Dummies
    order: Tensor

    @property
    def name(self) -> str:
        """Return the group's name."""
        return self.group.name

    def apply(self, model: nn.Module) -> None:
        """Give the layers new, larger parameters, in place."""
        for slot in self.group.slots:
            layer, leaf = model.get_submodule(slot.layer), slot.tensor.rpartition(".")[2]
            tensor = getattr(layer, leaf)
            old = tensor.detach().movedim(slot.axis, 0)
            rows = old.reshape(self.group.width, -1, *old.shape[1:])
            wider = self.dummies.join(slot, rows)[self.order.to(rows.device)]
            value = wider.flatten(0, 1).movedim(0, slot.axis).contiguous().to(tensor.dtype)
            learned = isinstance(tensor, nn.Parameter)
            setattr(layer, leaf, nn.Parameter(value, tensor.requires_grad) if learned else value)
            _correct_numbers(layer)


def _correct_numbers(layer: nn.Module) -> None:
    """Make a layer's numbers of channels those of its tensors."""
    if isinstance(layer, nn.modules.conv._ConvNd):
        depthwise = is_depthwise(layer)
        layer.out_channels = len(layer.weight)
        layer.groups = layer.out_channels if depthwise else 1
        layer.in_channels = layer.groups * layer.weight.shape[1]
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = len(layer.weight)
    else:
        layer.num_features = len(next(layer.parameters()))  # type: ignore[assignment]  # a batch norm


@dataclass(frozen=True, kw_only=True)
class Insertion(Symmetry):
    """Adds dummy channels to the interior of a network, physically: the layers get new, larger parameters.

    Dummy neurons are those of neural structural obfuscation (Yan, Pan, Zhang, Yang: "Rethinking White-Box
    Watermarks on Deep Learning Models under Neural Structural Obfuscation", arXiv 2303.09732), whose cliques and
    splits these are; random values are drawn from the tensor that gets them, so that they look like its own.
    Dummies come at random places among the channels, which keep their order. Interior are channels that one
    layer alone gives and that fill the axes of what reads them: neurons of an MLP, channels between the
    convolutions of a block (squeeze and excite included). Those that a residual sum joins, that a grouped
    convolution or a norm over channels reads, or that are concatenated, are left alone and reported.

    `achieved` has ``inserted``, the dummies of each group, parameters before and after, ``moved``, the share of
    the prunable weights whose tensor has another shape now, and under ``layers`` the same for each. Zeros that a
    mask held are held on, in masks of the new shapes.

    Attributes:
        kind: ``"zero"`` (either what gives a dummy or what reads it is zero, the other side random),
            ``"split"`` (a copy of a channel; what read the channel is shared among both at random), or
            ``"clique"`` (two or three equal random channels, weights that read them sum to zero).
    """

    name: ClassVar[str] = "insert"
    strength: ClassVar[str] = "dummy channels of a group, relative to its width"

    kind: str = SPLIT

    def __post_init__(self) -> None:
        """Refuse an unknown kind."""
        if self.kind not in KINDS:
            raise BadInput(f"insert: kind is one of {', '.join(KINDS)}, not '{self.kind}'")

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Insert in place, as the other attacks of this family; the model takes a new head as before.

        Raises:
            BadInput: as they do, or for a network whose classifier has no classifier's name.
        """
        head = classifier_layer(model, self.name)
        width = head.in_features
        attacked = super().apply(model, strength, context)
        correct_widths(model, head, width)
        return attacked

    def check_strength(self, strength: float) -> None:
        """Refuse what adds nothing, or no number of channels."""
        if not 0 < strength <= _MOST:
            raise BadInput(
                f"insert: dummies relative to the width are above 0 and at most {_MOST}, not {strength:g}"
            )

    def proposals(self, probe: Probe, strength: float, seed: int) -> tuple[Sequence[Widening], dict[str, str]]:
        """Return the interior groups with their dummies: round(strength x width), 1 at least, 2 for a clique."""
        wires = Wires(probe.model, probe.graph)
        groups = [group for group in probe.groups() if group.kind == CHANNELS]
        found = {group.name: _obstacle(probe.model, group, wires) for group in groups}
        least = 2 if self.kind == CLIQUE else 1
        changes = []
        for group in (group for group in groups if not found[group.name]):
            count = max(least, round(strength * group.width))
            dummies = make_dummies(self.kind, group.width, count, seed, group.name)
            changes.append(Widening(group, dummies, _places(group.width, count, seed, group.name)))
        return changes, {name: obstacle for name, obstacle in found.items() if obstacle}

    def carry(self, model: nn.Module, kept: Sequence[Widening], masks: Masks) -> Masks:
        """Return masks that hold the zeros of the new tensors, dummies' included."""
        parameters = dict(model.named_parameters())
        return {name: parameters[name].detach() != 0 for name in masks}

    def measure(self, model: nn.Module, before: Mapping[str, Tensor], kept: Sequence[Widening]) -> dict[str, Any]:
        """Return the dummies, the parameters, and the share of weights whose tensor has another shape."""
        after = prunable_tensors(model)
        reshaped = {name: torch.tensor(after[name].shape != tensor.shape) for name, tensor in before.items()}
        inserted = {change.name: len(change.dummies.prototypes) for change in kept}
        found = shares((name, flag.expand(before[name].shape)) for name, flag in reshaped.items())
        return {**found, "inserted": inserted, "parameters": sum(p.numel() for p in model.parameters())}


def _places(width: int, count: int, seed: int, group: str) -> Tensor:
    """Return old channels in order with dummies at random places among them; int64 (width + count,)."""
    order = torch.empty(width + count, dtype=torch.int64)
    dummy = torch.zeros(width + count, dtype=torch.bool)
    dummy[torch.randperm(width + count, generator=generator(seed, f"{group} places"))[:count]] = True
    order[~dummy], order[dummy] = torch.arange(width), width + torch.arange(count)
    return order


def _obstacle(model: nn.Module, group: ChannelGroup, wires: Wires) -> str:
    """Return why a group is not interior, or nothing."""
    if group.obstacle:
        return group.obstacle
    if any(slot.layer == slot.tensor for slot in group.slots):
        return "a parameter of the model's own is tied to them"
    layers = {slot.layer: model.get_submodule(slot.layer) for slot in group.slots}
    if any(isinstance(layer, MIXING_NORMS) for layer in layers.values()):
        return "a norm over channels reads them"
    if int(group.cells.max()):
        return "a grouped layer has them in parts, or layers have only some of them"
    if not all(_fills(slot, group.width, model) for slot in group.slots):
        return "they are concatenated with others"
    givers = {slot.layer for slot in group.slots if slot.role != READS}
    wires_given = [wires.after(name) for name in givers if not isinstance(layers[name], nn.PReLU)]
    return "a sum joins what several layers give" if len(set(wires_given)) < len(wires_given) else ""


def _fills(slot: Slot, width: int, model: nn.Module) -> bool:
    """Say whether a slot is all of its axis, channel after channel."""
    count = len(slot.positions)
    whole = count == slot.size(model.state_dict()[slot.tensor]) and count % width == 0
    return whole and torch.equal(slot.channels, torch.arange(width).repeat_interleave(count // width))
