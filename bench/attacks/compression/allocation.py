"""How many weights or groups each layer keeps, so that all layers together reach one ratio."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from typing import TypeVar

from torch import Tensor, nn

from bench.attacks.compression.projections import Groups
from bench.attacks.pruning import prunable_tensors
from cwwm.support.errors import BadInput
from cwwm.weights.carrier import classifier
from cwwm.weights.order_statistics import MagnitudeTable, Rank
from cwwm.weights.view import as_weights

T = TypeVar("T")
MAGNITUDE = "magnitude"
_BISECTIONS = 50  # of a real number
_ROUNDING = 1e-9  # so that N / (N / n) is not less than n
_HALF = 0.5  # default share of a layer's groups, before all layers are scaled together


def compressible(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that compression works on, detached: all prunable ones but depthwise convolutions.

    Of those the papers prune none: a filter has a handful of weights and no input channel to drop.
    """
    depthwise = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.conv._ConvNd) and module.groups == module.in_channels > 1
    }
    return {name: tensor for name, tensor in prunable_tensors(model).items() if name not in depthwise}


def by_pattern(names: Sequence[str], given: Mapping[str, T], where: str) -> dict[str, T]:
    """Return what is given for each layer by name or wildcard, without ``.weight``; the last match counts.

    Raises:
        BadInput: for a layer that nothing matches, or a pattern that matches no layer.
    """
    layers = {name: name.removesuffix(".weight") for name in names}
    for pattern in given:
        if not any(fnmatch(layer, pattern) for layer in layers.values()):
            raise BadInput(f"{where}: '{pattern}' matches no layer; there are {', '.join(layers.values())}")
    found = {name: [v for p, v in given.items() if fnmatch(layer, p)] for name, layer in layers.items()}
    missing = [layers[name] for name, values in found.items() if not values]
    if missing:
        raise BadInput(f"{where}: nothing is given for layer '{missing[0]}'; add it, or '*' before the others")
    return {name: values[-1] for name, values in found.items()}


def weight_counts(tensors: Mapping[str, Tensor], keep: str | Mapping[str, float], ratio: float) -> dict[str, int]:
    """Return how many weights each layer keeps, N / ratio in all, rounded.

    All layers are scaled together from their fractions to the ratio (arXiv 1804.03294, Sec. 4.3).

    Args:
        tensors: weights by name.
        keep: fractions by layer name or wildcard, or ``"magnitude"`` for those that one ranking of all
            magnitudes leaves; the papers start from earlier work on the same network.
        ratio: weights before over weights kept.

    Raises:
        BadInput: for a ratio below 1, or one that leaves less than a weight a layer.
    """
    sizes = {name: tensor.numel() for name, tensor in tensors.items()}
    total = round(sum(sizes.values()) / ratio) if ratio >= 1 else 0
    if total < len(sizes):
        raise BadInput(
            f"ratio {ratio:g} is not between 1 and {sum(sizes.values()) // len(sizes)}, a weight in each layer"
        )
    fractions = (
        _magnitude_fractions(tensors, total) if isinstance(keep, str) else by_pattern([*sizes], keep, "keep")
    )

    def scaled(scale: float) -> dict[str, int]:
        return {n: min(size, max(1, round(scale * fractions[n] * size))) for n, size in sizes.items()}

    counts = scaled(_largest(lambda scale: sum(scaled(scale).values()) <= total, high=max(sizes.values()) + 1.0))
    for name in sorted(
        sizes, key=lambda n: counts[n] - sizes[n]
    ):  # what rounding left over goes where most is free
        extra = min(total - sum(counts.values()), sizes[name] - counts[name])
        counts[name] += extra
    return counts


def _magnitude_fractions(tensors: Mapping[str, Tensor], total: int) -> dict[str, float]:
    table = MagnitudeTable(list(tensors.values()))
    removed = sum(t.numel() for t in tensors.values()) - total
    (cut,) = table.kth([Rank(tuple(range(len(tensors))), removed)]) if removed else (-1.0,)
    return {name: max(1, int((t.float().abs() > cut).sum())) / t.numel() for name, t in tensors.items()}


def _largest(fits: Callable[[float], bool], high: float) -> float:
    """Return the largest number in [0, high] that fits, if all below it do."""
    low = 0.0
    if fits(high):
        return high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def group_counts(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    kinds: Sequence[str],
    layout: Mapping[str, Mapping[str, float]] | None,
    ratio: float,
    widen: Callable[[Tensor, Groups], Groups] = lambda tensor, groups: groups,
) -> dict[str, Groups]:
    """Return how many groups each layer keeps so that at most N / ratio weights are left in dense blocks.

    Fractions are raised to one common power, so that a layer kept whole stays whole.

    Args:
        model: for the place of its layers.
        tensors: weights by name, in order.
        kinds: of "filters", "channels", "shapes", those that are removed.
        layout: fractions of each kind by layer name or wildcard, 1 where not given; None for half of
            everything but the inputs of the first layer and the outputs of the classifier.
        ratio: weights before over weights in the kept blocks.
        widen: rounds the counts of a layer, such as to whole crossbars.

    Raises:
        BadInput: for a ratio below 1, or one that one group of each kind a layer would still miss.
    """
    names = list(tensors)
    given = by_pattern(names, layout, "layout") if layout is not None else _halves(model, names, kinds)
    total = sum(tensor.numel() for tensor in tensors.values()) / ratio * (1 + _ROUNDING) if ratio >= 1 else 0

    def at(power: float) -> dict[str, Groups]:
        return {n: widen(t, _groups(t, given[n], kinds, power)) for n, t in tensors.items()}

    def left(power: float) -> int:
        return sum(block_size(tensors[name], groups) for name, groups in at(power).items())

    power = _largest(lambda p: left(p) > total, high=_STEEPEST)
    chosen = at(power * (1 + 1e-9) + 1e-9)  # just past the last one that is too large
    if sum(block_size(tensors[name], groups) for name, groups in chosen.items()) > total:
        raise BadInput(f"a ratio of {ratio:g} is out of reach of this layout; ask for less, or give another")
    return chosen


_STEEPEST = 64.0  # half to this power rounds to one group everywhere


def _halves(model: nn.Module, names: Sequence[str], kinds: Sequence[str]) -> dict[str, dict[str, float]]:
    half = {name: dict.fromkeys(kinds, _HALF) for name in names}
    last = classifier(as_weights(model)) or names[-1]
    if last in half:
        half[last]["filters"] = 1.0
    half[names[0]] |= {"channels": 1.0, "shapes": 1.0}
    return half


def _groups(tensor: Tensor, fractions: Mapping[str, float], kinds: Sequence[str], power: float) -> Groups:
    sizes = {"filters": len(tensor), "channels": tensor.shape[1], "shapes": tensor[0].numel()}
    return Groups(**{k: max(1, round(sizes[k] * fractions.get(k, 1.0) ** power)) for k in kinds})


def block_size(tensor: Tensor, groups: Groups) -> int:
    """Return how many weights are left in the dense block of kept filters and columns."""
    columns = tensor[0].numel()
    if groups.channels is not None:
        columns = groups.channels * (columns // tensor.shape[1])
    if groups.shapes is not None:
        columns = min(columns, groups.shapes)
    return (len(tensor) if groups.filters is None else groups.filters) * columns
