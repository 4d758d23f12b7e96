"""Which channels of a network are tied: one small door to Torch-Pruning's dependency graph.

Torch-Pruning (Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, arXiv 2301.12900) is optional
and imported late. It has no types: a graph and its groups are Any. A group lists (dependency, indices) pairs: a
layer that gives, reads, normalises or passes on the channels, and at which indices.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from cwwm.errors import BadInput

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
    """Return the package; BadInput if it is not installed."""
    try:
        return importlib.import_module("torch_pruning")
    except ImportError as error:
        raise BadInput("following a network's channels needs Torch-Pruning: pip install torch-pruning") from error


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
