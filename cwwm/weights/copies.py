"""Copies of one model's weights in a file: raw and averaged ones, side by side or under names of their own.

Training scripts keep state dicts inside mappings of any names (``model``, ``params_ema``), which are told by what
they hold: tensors. What an optimiser keeps is none.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from cwwm.support.errors import BadInput, unknown_name
from cwwm.weights.naming import RenamedWeights, Shapes, averages, find_naming, fit_of, is_average, undotted
from cwwm.weights.view import TensorWeights, Unusual, Weights
from cwwm.weights.weight_kind import weight_kind

_WRAPPERS = ("state_dict", "model", "model_state_dict")  # that hold the model, whatever lies beside it
_NO_WEIGHTS = re.compile(r"optim|sched|scaler|grad|momentum|exp_avg", re.IGNORECASE)
_STATISTIC = re.compile(r"(^|\.)(running_mean|running_var|num_batches_tracked)$")
_RAW = "raw"  # those whose names say nothing of an average

State = Mapping[str, Tensor | Unusual]
_State = Mapping[str, Any]  # the same, and whatever lies beside it


class TorchWeights(TensorWeights):
    """The model of a torch file, and the copies that lie beside it.

    Attributes:
        copies: by the key that holds each, this one included; empty if there is only this one.
    """

    def __init__(self, tensors: State, copies: Mapping[str, State], origin: str = "") -> None:
        """View `tensors`; `copies` holds all, where there are several; `origin` is the file."""
        super().__init__(tensors)
        self.copies: dict[str, Weights] = {
            label: self if copy is tensors else TensorWeights(copy) for label, copy in copies.items()
        }
        for weights in (self, *self.copies.values()):
            weights.origin = origin


def read_states(tree: object, path: Path) -> dict[str, State]:
    """Return the model that a torch file holds, first, and the copies of it, by the keys that hold them.

    Args:
        tree: what the file holds. path: of the file, for what is refused.

    Raises:
        BadInput: for a file without tensors.
    """
    if not isinstance(tree, Mapping) or not tree:
        raise BadInput(f"{path} holds no state dict")
    states = dict(_states(tree))
    if not states:
        raise BadInput(f"{path} holds no tensors")
    first = _first(tree, states)
    parts = _parts(first, states)
    main = _contiguous(_joined(parts, states) if parts else states[first])
    found, shapes = {first: main}, _shapes(main)
    for label, state in states.items():
        if label not in (first, *parts) and _is_copy(shapes, _shapes(state)):
            found[label] = _contiguous(state)
    return found | _lists(tree, main)


def _states(tree: _State) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the mappings that hold tensors, by their keys joined with dots; none twice."""
    seen, left = set[int](), [("", tree)]
    while left:
        label, node = left.pop(0)
        if id(node) in seen:
            continue
        seen.add(id(node))
        state = {str(name): value for name, value in node.items() if isinstance(value, Tensor | Unusual)}
        if state:
            yield label, state
        left += [
            (f"{label}.{name}" if label else name, value)
            for name, value in node.items()
            if isinstance(value, Mapping) and not _NO_WEIGHTS.search(name)
        ]


def _first(tree: _State, states: Mapping[str, _State]) -> str:
    """Return the key of the state dict that is the model: where training scripts put it, or by what is in it."""
    node, parts = tree, list[str]()
    for wrapper in _WRAPPERS:
        if isinstance(node.get(wrapper), Mapping):
            node = node[wrapper]
            parts.append(wrapper)
    if parts and ".".join(parts) in states:
        return ".".join(parts)
    if _has_weights(states.get("", {})):
        return ""
    kinds = sorted(states, key=lambda label: (not _has_weights(states[label]), is_average(label)))
    return kinds[0]


def _parts(first: str, states: Mapping[str, _State]) -> list[str]:
    """Return the keys of a model whose parts (``encoder``, ``decoder``) are state dicts of their own; else none."""
    if first.rpartition(".")[2] in ("", *_WRAPPERS):
        return []
    shapes = _shapes(states[first])
    others = [
        label
        for label, state in states.items()
        if label != first and _has_weights(state) and not _is_copy(shapes, _shapes(state)) and not is_average(label)
    ]
    return [first, *others] if others else []


def _joined(parts: Sequence[str], states: Mapping[str, _State]) -> _State:
    """Return the parts of a model as one state dict, under their keys."""
    return {f"{label}.{name}": value for label in parts for name, value in states[label].items()}


def _has_weights(state: _State) -> bool:
    return any(
        isinstance(value, Tensor | Unusual) and weight_kind(name, value.shape) for name, value in state.items()
    )


def _shapes(state: _State) -> Shapes:
    """Return names and shapes of convolution and linear weights."""
    tensors = {name: tuple(value.shape) for name, value in state.items() if isinstance(value, Tensor | Unusual)}
    return {name: shape for name, shape in tensors.items() if weight_kind(name, shape)} or tensors


def _is_copy(model: Shapes, other: Shapes) -> bool:
    """Say whether half of the weights are in both, of one shape, under one prefix."""
    if 2 * len(other) < len(model):
        return False
    if 2 * fit_of(model, other).shapes >= len(model):
        return True
    try:
        naming = find_naming(model, other, plain=False)
    except BadInput:  # a prefix that fits twice: copies inside the copy
        return True
    if naming is None:
        return False
    there = {mine: shape for name, shape in other.items() if (mine := naming.of_mark(name)) is not None}
    return 2 * fit_of(model, there).shapes >= len(model)


def _contiguous(state: State) -> State:
    """Return a state dict's tensors in row-major order; names of one tensor still have one."""
    made = {id(tensor): tensor.contiguous() for tensor in state.values() if isinstance(tensor, Tensor)}
    return {name: made.get(id(tensor), tensor) for name, tensor in state.items()}


def _lists(tree: _State, model: State) -> dict[str, State]:
    """Return lists of tensors that have the shapes of the model's parameters, in their order, by key."""
    found, shapes = dict[str, State](), _shapes(model)
    names = [name for name in model if not _STATISTIC.search(name)]
    for label, values in _tensor_lists(tree):
        if 2 * len(values) < len(shapes):
            continue
        left = iter(names)
        places = [next((name for name in left if model[name].shape == value.shape), None) for value in values]
        named = {name: value for name, value in zip(places, values, strict=True) if name is not None}
        if len(named) == len(values) and _is_copy(shapes, _shapes(named)):
            found[label] = _contiguous(named)
    return found


def _tensor_lists(tree: _State) -> Iterator[tuple[str, list[Tensor]]]:
    """Yield lists of tensors, by their keys joined with dots."""
    seen, left = set[int](), [("", tree)]
    while left:
        label, node = left.pop(0)
        if id(node) in seen:
            continue
        seen.add(id(node))
        for name, value in node.items():
            if _NO_WEIGHTS.search(name):
                continue
            inner = f"{label}.{name}" if label else name
            if isinstance(value, Mapping):
                left.append((inner, value))
            elif isinstance(value, list) and value and all(isinstance(one, Tensor) for one in value):
                yield inner, value


def copies_of(weights: Weights) -> dict[str, Weights]:
    """Return the copies of one model that a file holds, by what tells them apart; empty if there is only one.

    Averages that lie in one state dict with the raw weights count as copies where half of them have a raw weight of
    their shape.
    """
    nested = weights.copies if isinstance(weights, TorchWeights) else {}
    if len(nested) > 1:
        return dict(nested)
    raw = [name for name in weights.all_names() if not is_average(name)]
    layers = {name: weights.shape(name) for name in raw if weight_kind(name, weights.shape(name))}
    found = dict[str, Weights]()
    for label, table in averages(weights.all_names()).items() if layers else ():
        shapes = {name: weights.shape(stored) for name, stored in (undotted(layers, table) or table).items()}
        known = any(set(table.values()) <= set(other.all_names()) for other in found.values())
        if _is_copy(layers, shapes) and not known:
            found[label] = RenamedWeights(weights, {stored: stored for stored in table.values()})
    return {_RAW: RenamedWeights(weights, {name: name for name in raw}), **found} if found else {}


def chosen_copy(weights: Weights, copy: str | None, what: str) -> Weights:
    """Return the copy of a host that is to be marked.

    Raises:
        BadInput: if there are several and none is named, or for a name that no copy has.
    """
    copies = copies_of(weights)
    if copy is None and copies:
        raise BadInput(
            f"{what} holds {len(copies)} copies of the same weights: {', '.join(copies)}; name one with --copy, "
            "the others stay unmarked"
        )
    if copy is not None and not copies:
        raise BadInput(f"{what} holds one copy of its weights: leave out --copy")
    if copy is not None and copy not in copies:
        raise unknown_name("copy", copy, copies)
    return copies[copy] if copy is not None else weights
