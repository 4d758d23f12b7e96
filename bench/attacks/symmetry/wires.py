"""Wires of a network: what a factor on a channel travels along, from layers that give it to layers that read it."""

from typing import Any

from torch import nn

from cwwm.channels.groups import FOLLOWED

#: operations f with f(ax) unlike a f(x), by what autograd calls them; a factor does not pass
_NOT_HOMOGENEOUS = (
    "Gelu", "Silu", "Hardtanh", "Hardswish", "Hardsigmoid", "Sigmoid", "Tanh", "Softmax", "Softplus", "Attention",
    "Elu", "Mish",
)  # fmt: skip
_GATES = ("Sigmoid", "Hardsigmoid")
BEFORE, AFTER = "before", "after"
End = tuple[int, str]


class Wires:
    """Which layers a factor would have to pass between.

    A wire joins the outputs of layers with the inputs of others through operations without weights: activations,
    pooling, reshaping, residual sums. Layers of any kind, norms and depthwise convolutions among them, end it, as
    does a parameter that multiplies (layer scale). A gate (a sigmoid that multiplies, as in squeeze and excite)
    is not part of the wire that it multiplies.

    Attributes:
        scales: names of the parameters that multiply.
    """

    def __init__(self, model: nn.Module, graph: Any) -> None:  # noqa: ANN401 (not typed)
        """Follow the operations of `graph`, Torch-Pruning's, of `model`."""
        self._joined: dict[End, End] = {}
        nodes = list(graph.module2node.values())
        scales = {id(node.module): steps for node in nodes if (steps := _scale(node))}
        self._breaks = {id(node) for node in nodes if _is_layer(node)} | {id(mul) for _, mul in scales.values()}
        cut = {(id(last), id(mul)) for last, mul in scales.values()}
        for node in nodes:
            for source in node.inputs:
                if not _is_gate(source, node) and (id(source), id(node)) not in cut:
                    self._joined[self._wire(self._end(source, AFTER))] = self._wire(self._end(node, BEFORE))
        self._operations: dict[End, set[str]] = {}
        for node in nodes:
            self._operations.setdefault(self._wire(self._end(node, AFTER)), set()).add(_operation(node))
        owners = {id(node.module): node for node in nodes} | {item: mul for item, (_, mul) in scales.items()}
        named = ((name, id(item)) for name, item in (*model.named_modules(), *model.named_parameters()))
        self._nodes = {name: owners[item] for name, item in named if item in owners}
        self.scales = {name for name, item in model.named_parameters() if id(item) in scales}

    def before(self, layer: str) -> End:
        """Return the wire that ends at a layer, or at a parameter that multiplies."""
        return self._wire(self._end(self._nodes[layer], BEFORE))

    def after(self, layer: str) -> End:
        """Return the wire that starts at a layer or parameter."""
        return self._wire(self._end(self._nodes[layer], AFTER))

    def obstacle(self, wire: End) -> str:
        """Return the operation on a wire that no factor passes, or nothing."""
        found = [name for name in sorted(self._operations[wire]) if any(part in name for part in _NOT_HOMOGENEOUS)]
        return found[0].removesuffix("0").removesuffix("Backward") if found else ""

    def _end(self, node: Any, side: str) -> End:  # noqa: ANN401 (not typed)
        return id(node), side if id(node) in self._breaks else AFTER

    def _wire(self, end: End) -> End:
        while (joined := self._joined.get(end, end)) != end:
            end = joined
        return end


def _is_layer(node: Any) -> bool:  # noqa: ANN401 (not typed)
    """Say whether a wire ends at a node; a PReLU lets positive factors pass."""
    return isinstance(node.module, FOLLOWED) and not isinstance(node.module, nn.PReLU)


def _operation(node: Any) -> str:  # noqa: ANN401 (not typed)
    """Return autograd's name of what a node does last; the activation where a norm has one built in."""
    return "" if isinstance(node.module, nn.Parameter) else str(node.grad_fn.name())


def _is_gate(source: Any, node: Any) -> bool:  # noqa: ANN401 (not typed)
    return _operation(node).startswith("Mul") and _operation(source).startswith(_GATES)


def _scale(node: Any) -> tuple[Any, Any] | None:  # noqa: ANN401 (not typed)
    """Return, for a parameter that multiplies, the last node on its way and the product; None for others."""
    steps: list[Any] = node.outputs if isinstance(node.module, nn.Parameter) else []
    while len(steps) == 1:
        last, node = node, steps[0]
        if _operation(node).startswith("Mul") and len(node.inputs) == 2:
            return last, node
        steps = node.outputs if len(node.inputs) == 1 else []
    return None
