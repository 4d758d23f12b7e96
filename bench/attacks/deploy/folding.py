"""Batch norms folded into the convolutions and linear layers before them, along the graph that torch.fx traces."""

from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.fx import Node, Tracer
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORM = nn.modules.batchnorm._BatchNorm


class _LayerTracer(Tracer):
    """Follows everything but single layers, batch norms with an activation of their own (timm's) among them."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*_CONVOLUTIONS, nn.Linear, _BATCH_NORM)) or super().is_leaf_module(
            m, module_qualified_name
        )


@torch.no_grad()
def fold_batch_norms(model: nn.Module) -> int:
    """Fold each batch norm that alone reads a convolution or a linear layer, in place; return how many there were.

    W'[o] = W[o] gamma[o] / sqrt(var[o] + eps): the layer keeps its name and gets a bias, the norm's tensors vanish;
    what timm's norms do besides (an activation) stays in its place.

    Args:
        model: in evaluation mode; torch.fx must be able to trace it.
    """
    pairs = foldable(model)
    for layer, norm in pairs:
        folded, follows = _folded(model.get_submodule(layer), model.get_submodule(norm))
        model.set_submodule(layer, folded)
        model.set_submodule(norm, follows)
    return len(pairs)


def foldable(model: nn.Module) -> list[tuple[str, str]]:
    """Return the names of layers and of the norms that alone read them, each called once.

    A network without batch norms has none, whether torch.fx can trace it or not.
    """
    if not any(isinstance(module, _BATCH_NORM) for module in model.modules()):
        return []
    calls = [node for node in _LayerTracer().trace(model).nodes if node.op == "call_module"]
    times = Counter(str(node.target) for node in calls)
    pairs = []
    for norm in calls:
        layer = norm.args[0] if norm.args else None
        if not isinstance(layer, Node) or layer.op != "call_module" or len(layer.users) > 1:
            continue
        names = str(layer.target), str(norm.target)
        if all(times[name] == 1 for name in names) and _fits(*map(model.get_submodule, names)):
            pairs.append(names)
    return pairs


def _fits(layer: nn.Module, norm: nn.Module) -> bool:
    weighted = isinstance(layer, (*_CONVOLUTIONS, nn.Linear))
    return weighted and isinstance(norm, _BATCH_NORM) and norm.running_var is not None


def _folded(layer: Any, norm: Any) -> tuple[nn.Module, nn.Module]:  # noqa: ANN401 (torch's own types are narrower)
    """Return the layer with the norm in it, and what is left in the norm's place."""
    fuse = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
    return fuse(layer, norm), nn.Sequential(*norm.children())
