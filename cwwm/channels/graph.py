"""Which channels of a network are tied: one small door to Torch-Pruning's dependency graph.

Torch-Pruning (Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, arXiv 2301.12900) is optional
and imported late. It has no types: a graph and its groups are Any. A group lists (dependency, indices) pairs: a
layer that gives, reads, normalises or passes on the channels, and at which indices.
"""

import importlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from cwwm.support.errors import BadInput, EnvironmentFault

_HEAD = re.compile(r"(^|\.)(heads?|pre_logits|classif\w*)(\.|$)")
#: what following a network's channels, or running it with others, fails with
FAILURES = (RuntimeError, LookupError, ValueError, TypeError, AttributeError, AssertionError)


@contextmanager
def refusing(what: str, remedy: str = "") -> Iterator[None]:
    """Turn what tracing, changing or running a network fails with into one line: `what`, why, and a remedy."""
    try:
        yield
    except (BadInput, torch.OutOfMemoryError):  # one line already, and the bench's to deal with
        raise
    except FAILURES as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise BadInput(f"{what} ({reason}){remedy}") from error


def torch_pruning() -> ModuleType:
    """Return the package; EnvironmentFault if it is not installed: another machine may have it."""
    try:
        return importlib.import_module("torch_pruning")
    except ImportError as error:
        raise EnvironmentFault(
            "following a network's channels needs Torch-Pruning: pip install torch-pruning"
        ) from error


@torch.enable_grad()
def traced(model: nn.Module, images: Tensor) -> Any:  # noqa: ANN401 (not typed)
    """Return the dependency graph of a network, which Torch-Pruning reads off autograd's.

    Args:
        model: on the device of `images`; all its parameters come to require gradients.
        images: (n >= 2, c, h, w); a single one is taken for an image without a batch.

    Raises:
        BadInput: without Torch-Pruning. What it cannot follow raises errors of many kinds.
    """
    model.requires_grad_(True)
    graph = torch_pruning().DependencyGraph()
    # its own way to call a model unpacks the batch first, and swallows what that fails with
    graph.build_dependency(model, images, forward_fn=lambda network, x: network(x), verbose=False)
    return graph


def sources(graph: Any, group: Any) -> set[nn.Module]:  # noqa: ANN401 (not typed)
    """Return the layers whose output channels a group removes, without depthwise convolutions."""
    layers = {dep.target.module for dep, _ in group if graph.is_out_channel_pruning_fn(dep.handler)}
    return {x for x in layers if isinstance(x, (nn.modules.conv._ConvNd, nn.Linear)) and not is_depthwise(x)}


def is_depthwise(layer: nn.Module) -> bool:
    """Say whether a layer is a convolution that passes each channel on by itself."""
    return isinstance(layer, nn.modules.conv._ConvNd) and layer.groups == layer.out_channels > 1


def inside_attention(model: nn.Module) -> list[nn.Module]:
    """Return the layers that give queries, keys and values: a model's code fixes how it splits them into heads."""
    attentions = [module for module in model.modules() if hasattr(module, "num_heads")]
    return [layer for module in attentions for name, layer in module.named_children() if name != "proj"]


@contextmanager
def evaluating(model: nn.Module, *, gradients: bool = False) -> Iterator[None]:
    """Run the model in evaluation mode, without gradients unless asked for; every module's mode is restored."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.set_grad_enabled(gradients):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@dataclass(frozen=True)
class InteriorGroup:
    """Channels that are the private matter of one block, any number of which can leave it.

    Attributes:
        name: of the weight that gives the channels, its first axis.
        width: their number.
        source: the layer of `name`.
        passed: the other layers that filter, normalise or gate them, and parameters without a layer of their own.
        readers: the convolutions and linear layers that read them, at the same indices; gates read last.
        graph, root: of Torch-Pruning.
    """

    name: str
    width: int
    source: nn.Module
    passed: tuple[nn.Module | nn.Parameter, ...]
    readers: tuple[nn.Module, ...]
    graph: Any
    root: Any

    def remove(self, channels: Sequence[int]) -> None:
        """Remove these channels (indices of the first axis, not all) in place; the rest keep their order."""
        if channels:
            root = self.root
            self.graph.get_pruning_group(root.target.module, root.handler, list(channels)).prune()


def interior_groups(model: nn.Module, images: Tensor) -> list[InteriorGroup]:
    """Return the groups of channels inside the blocks of a network, in the order of its modules.

    A group is interior if the layers that give and read its channels lie in one module, one of each directly: the
    first convolution of a basic block, the first two of a bottleneck, the expansion of an inverted residual with
    its gate, the hidden width of an MLP or of a gate, every convolution of a plain chain that the next one reads.
    Not those that a residual sum joins, that leave their module (the last convolution before a VGG's dense layers),
    that are flattened, or that grouped layers hold in equal parts; not the hidden layers of a classifier
    (``head``, ``classifier``, ``pre_logits``), nor queries, keys and values.

    Args:
        model: on the device of `images`; all its parameters come to require gradients.
        images: (n >= 2, c, h, w), to trace the network with.

    Raises:
        BadInput: without Torch-Pruning, or for a network that it cannot follow.
    """
    names = {module: name for name, module in model.named_modules()}
    with refusing("this network's channels cannot be followed"), evaluating(model):
        graph = traced(model, images)
        groups = list(graph.get_all_groups(ignored_layers=inside_attention(model)))
        found = [group for candidate in groups if (group := _interior(graph, candidate, names)) is not None]
    order = {f"{name}.weight": index for index, name in enumerate(names.values())}
    return sorted(found, key=lambda group: order[group.name])


def _interior(graph: Any, group: Any, names: dict[nn.Module, str]) -> InteriorGroup | None:  # noqa: ANN401
    """Return a group of Torch-Pruning's if it is interior, else None."""
    given = _direct(sources(graph, group), names)
    readers = {dep.target.module for dep, _ in group if _reads(graph, dep)}
    read = _direct(readers, names)
    if given is None or read is None or names[given].rpartition(".")[0] != names[read].rpartition(".")[0]:
        return None
    width = len(given.get_parameter("weight"))
    layers = [dep.target.module for dep, _ in group]
    passed = [x for x in layers if _has_tensors(x) and x not in readers and x is not given]
    aligned = all(list(indices) == list(range(width)) for dep, indices in group if _has_tensors(dep.target.module))
    if not aligned or _HEAD.search(names[given]) or any(map(_in_parts, (given, *passed, *readers))):
        return None
    name = f"{names[given]}.weight"
    return InteriorGroup(
        name, width, given, tuple(dict.fromkeys(passed)), (read, *readers - {read}), graph, group[0].dep
    )


def _direct(layers: set[nn.Module], names: dict[nn.Module, str]) -> nn.Module | None:
    """Return the one layer in whose parent all the others lie deeper, if there is such a layer."""
    if not layers or not layers <= names.keys():
        return None
    first, *others = sorted(layers, key=lambda layer: names[layer].count("."))
    parent, _, _ = names[first].rpartition(".")
    inside = [names[x].startswith(f"{parent}." if parent else "") for x in others]
    deeper = [names[x].count(".") > names[first].count(".") for x in others]
    return first if all(inside) and all(deeper) else None


def _reads(graph: Any, dep: Any) -> bool:  # noqa: ANN401 (not typed)
    layer = dep.target.module
    weighted = isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear)) and not is_depthwise(layer)
    return weighted and not graph.is_out_channel_pruning_fn(dep.handler)


def _has_tensors(layer: Any) -> bool:  # noqa: ANN401 (Torch-Pruning's own operations, and bare parameters)
    if isinstance(layer, nn.Parameter):
        return True
    return isinstance(layer, nn.Module) and bool(layer.state_dict())


def _in_parts(layer: nn.Module | nn.Parameter) -> bool:
    """Say whether a layer holds its channels in several equal parts, or on its second axis (transposed)."""
    if isinstance(layer, nn.modules.conv._ConvNd):
        return layer.transposed or (layer.groups > 1 and not is_depthwise(layer))
    return isinstance(layer, nn.GroupNorm) and layer.num_groups > 1
