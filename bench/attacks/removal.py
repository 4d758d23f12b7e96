"""Structured removal: channels of smallest magnitude leave the network, which becomes a smaller dense one."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.attacks.base import DATA, Attack, AttackContext, Attacked, Cost, timed
from bench.attacks.pruning import prunable_tensors
from cwwm.channels.graph import inside_attention, is_depthwise, refusing, sources, torch_pruning, traced
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import classifier
from cwwm.weights.order_statistics import pruned_count
from cwwm.weights.view import as_weights

ALL, INTERIOR = "all", "interior"
_REFUSED = "this network cannot lose its channels"
_IMAGES = 2  # to trace a network with; a single one is taken for an image without a batch
_WIDTHS = ("num_features", "head_hidden_size", "embed_dim", "in_features")  # what timm builds a new head from

_LAYERS = (torch.ops.aten.convolution, torch.ops.aten.addmm, torch.ops.aten.mm)  # what layers call on any device


@dataclass(frozen=True, kw_only=True)
class StructuredRemoval(Attack):
    """Removes from every layer floor(R C) of its C output channels, with all that reads or normalises them.

    The dependency graph of Torch-Pruning (Fang et al., DepGraph, arXiv 2301.12900) finds which channels are
    tied, as those that a residual sum joins: they go together, at the same indices. Their importance is the
    sum of |w|^p over the weights that would go, averaged over the layers that lose them (Sec. 3.3 there,
    without its sparse training). The least important go, ties in order, and the rest keep their order.
    Grouped convolutions lose the same channels of every group of theirs, rounded down. We score everything
    before anything is removed and ask for channels by index: counts are exact, where the package's own
    pruners round.

    Spared are the classifier's outputs, and the queries, keys and values of attention (layers but ``proj``
    of a module with ``num_heads``), since a model's code fixes how it splits them into heads. Attention loses
    inputs and outputs with the tokens' channels, and its MLPs lose hidden neurons.

    Attributes:
        norm: p, 1 or 2.
        channels: ``"all"``, or ``"interior"`` for those that one layer alone gives (depthwise convolutions
            aside), as hidden neurons of an MLP, and none that a residual sum joins. Where channels are
            reordered between layers (Swin merges patches, a mixer transposes) only the latter can go.
    """

    name: ClassVar[str] = "structured-removed"
    strength: ClassVar[str] = "rate of channels removed from each layer"
    needs: ClassVar[frozenset[str]] = frozenset({DATA})

    norm: int = 1
    channels: str = ALL

    def __post_init__(self) -> None:
        """Refuse an unknown norm or choice of channels."""
        if self.norm not in (1, 2):
            raise BadInput(f"{self.name}: norm is 1 or 2, not {self.norm}")
        if self.channels not in (ALL, INTERIOR):
            raise BadInput(f"{self.name}: channels is '{ALL}' or '{INTERIOR}', not '{self.channels}'")

    def check_strength(self, strength: float) -> None:
        """Refuse what is no rate, or all channels."""
        if not 0 <= strength < 1:
            raise BadInput(f"{self.name}: a rate is at least 0 and below 1, not {strength:g}")

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Remove channels in place; the layers get new, smaller parameters.

        `achieved` has parameters and multiply-accumulates (an image, in convolutions and linear layers)
        before and after, and under ``layers`` the output channels that each weight has left. Zeros that a
        mask held are held on, in masks of the new shapes.

        Raises:
            BadInput: unless the rate is in [0, 1), without Torch-Pruning, or for a network that it cannot
                follow or whose classifier has no classifier's name.
        """
        self.check_strength(strength)
        head = classifier_layer(model, self.name)
        images = context.data.test.x[:_IMAGES]
        training, names = model.training, list(prunable_tensors(model))
        before = _size(model, images)
        remedy = f"; try channels: {INTERIOR}" if self.channels == ALL else ""
        with timed(context.device) as watch, refusing(f"{self.name}: {_REFUSED}", remedy):
            self._remove(model, head, strength, images)
            after = _size(model, images)
        model.train(training)
        parameters = dict(model.named_parameters())
        achieved = {
            "parameters_before": before[0],
            "parameters": after[0],
            "macs_before": before[1],
            "macs": after[1],
            "layers": {name: len(parameters[name]) for name in names},
        }
        masks = {name: parameters[name].detach() != 0 for name in context.masks}
        return Attacked(model, strength, achieved, masks, Cost(seconds=watch.seconds))

    def _remove(self, model: nn.Module, head: nn.Linear, rate: float, images: Tensor) -> None:
        graph, width = traced(model, images), head.in_features
        importance = torch_pruning().importance.MagnitudeImportance(p=self.norm)
        groups = list(graph.get_all_groups(ignored_layers=[head, *inside_attention(model)]))
        if self.channels == INTERIOR:
            groups = [group for group in groups if len(sources(graph, group)) == 1]
        chosen = [(group[0].dep, _least(importance(group), _parts(graph, group), rate)) for group in groups]
        for root, indices in chosen:
            if indices:
                graph.get_pruning_group(root.target.module, root.handler, indices).prune()
        correct_widths(model, head, width)


def remove_empty(model: nn.Module, images: Tensor, attack: str) -> None:
    """Remove in place the channels that pruning left without effect, and with them what reads or gives them.

    A channel is empty if all filters that give it are zero, or all weights that read it (unused paths). What a
    bias or a norm still gave in place of a zero filter is lost with it, so retrain afterwards. The classifier's
    outputs and the insides of attention stay, and one channel of each group at least.

    Args:
        model: pruned, on the device of `images`.
        images: (n >= 2, c, h, w), to trace the network with.
        attack: name for errors.

    Raises:
        BadInput: without Torch-Pruning, or for a network that it cannot follow.
    """
    head = classifier_layer(model, attack)
    training, width = model.training, head.in_features
    with refusing(f"{attack}: {_REFUSED}", "; set physical: false"):
        graph = traced(model, images[:_IMAGES])
        groups = list(graph.get_all_groups(ignored_layers=[head, *inside_attention(model)]))
        for root, indices in [(group[0].dep, _empty(graph, group)) for group in groups]:
            if indices:
                graph.get_pruning_group(root.target.module, root.handler, indices).prune()
        correct_widths(model, head, width)
        _size(model, images[:_IMAGES])
    model.train(training)


def _empty(graph: Any, group: Any) -> list[int]:  # noqa: ANN401 (not typed)
    """Return the channels of a group that nothing gives or nothing reads, but for the last one, ascending."""
    count = 1 + max(group[0].root_idxs)
    given, read = torch.zeros(count), torch.zeros(count)
    for index, (dep, indices) in enumerate(group):
        layer = dep.target.module
        if not isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear)):
            continue
        out = graph.is_out_channel_pruning_fn(dep.handler)
        if is_depthwise(layer):
            continue  # passes a channel on
        weight = layer.weight.detach().abs().float().cpu()
        sizes = weight.flatten(1).sum(1) if out else weight.transpose(0, 1).flatten(1).sum(1)
        (given if out else read).index_add_(0, torch.tensor(group[index].root_idxs), sizes[indices])
    empty: list[int] = ((given == 0) | (read == 0)).nonzero().view(-1).tolist()
    return empty if len(empty) < count else empty[1:]


def classifier_layer(model: nn.Module, attack: str) -> nn.Linear:
    """Return the linear layer that answers the classes; BadInput, led by the attack's name, without one."""
    name = classifier(as_weights(model))
    head = model.get_submodule(name.rpartition(".")[0]) if name else None
    if not isinstance(head, nn.Linear):
        raise BadInput(f"{attack}: this network has no linear layer with a classifier's name, such as fc or head")
    return head


def _size(model: nn.Module, images: Tensor) -> tuple[int, int]:
    """Return parameters, and multiply-accumulates of convolutions and linear layers for one image."""
    model.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    counts = counter.get_flop_counts()["Global"]
    return parameters, sum(counts.get(operation, 0) for operation in _LAYERS) // (2 * len(images))


def _parts(graph: Any, group: Any) -> int:  # noqa: ANN401 (not typed)
    """Return into how many equal parts grouped convolutions and norms split the channels of a group."""
    parts = {1}
    for dep, _ in group:
        layer, pruner = dep.target.module, graph.get_pruner_of_module(dep.target.module)
        if isinstance(layer, nn.Module) and not is_depthwise(layer):
            out = graph.is_out_channel_pruning_fn(dep.handler)
            parts.add((pruner.get_out_channel_groups if out else pruner.get_in_channel_groups)(layer))
    return math.lcm(*parts)


def _least(importance: Tensor, parts: int, rate: float) -> list[int]:
    """Return the indices of the floor(rate * n) least important of the n channels of each part, ascending."""
    scores = importance.view(parts, -1).mean(0)
    removed = scores.argsort(stable=True)[: pruned_count(rate, len(scores))]
    offsets = len(scores) * torch.arange(parts, device=scores.device)[:, None]
    indices: list[int] = (offsets + removed).flatten().sort().values.tolist()
    return indices


def correct_widths(model: nn.Module, head: nn.Linear, before: int) -> None:
    """Correct the numbers from which timm's models build a new head, so that one can follow a removal."""
    owners = [module for module in model.modules() if head in module.children()]
    for owner in (model, *owners):
        for attribute in _WIDTHS:
            if getattr(owner, attribute, None) == before:
                setattr(owner, attribute, head.in_features)
