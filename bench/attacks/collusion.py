"""Collusion: customers compare their differently marked copies, and average them or erase where they differ."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import Attack, AttackContext, Attacked, Cost, measure_change, restore, timed
from bench.attacks.pruning import apply_masks, prunable_tensors
from bench.attacks.redrawing import redrawn
from cwwm.support.errors import BadInput

AVERAGE, DIFFERENCE = "average", "difference"
MEDIAN, SMALLEST, REDRAW = "median", "smallest", "redraw"
FILLS = (AVERAGE, MEDIAN, SMALLEST, REDRAW)


@dataclass(frozen=True, kw_only=True)
class Collusion(Attack):
    """Makes one model of several copies of the same host, marked under different keys with different messages.

    The copies were trained from the same weights on the same batches, so two of them differ by what the marks
    did: much at a host of either, little elsewhere, as training carries a small change on.

    Attributes:
        mode: ``"average"``: every parameter and float buffer is the mean of the copies.
            ``"difference"``: the first copy, erased where the copies differ by more than training explains, in
            convolution and linear weights: where their range (largest less smallest value) exceeds `beyond`
            times the median range, that of the layer or of all layers, whichever is larger: a layer most of which
            no gradient reached has a median of 0 and is no more suspect for the rest. Where most weights are
            equal in all copies, as after marking in one shot, that is wherever they differ.
        fill: what erased weights become: the ``"average"`` of the copies; their ``"median"``, which of three
            copies leaves nothing of a value that one alone has; the ``"smallest"`` magnitude among them, which
            does so of two where marks enlarge weights; or ``"redraw"``, magnitudes of the layer's other weights
            with random signs.
        beyond: of ``"difference"``. Differences by training have heavier tails than a Gaussian, of which 8 takes
            one in ten million: on test_resnet two copies give 8 % of the weights, three of them 0.8 %.
    """

    name: ClassVar[str] = "collude"
    strength: ClassVar[str] = "number of differently marked copies, the attacked one included"

    mode: str = AVERAGE
    fill: str = AVERAGE
    beyond: float = 8.0

    def __post_init__(self) -> None:
        """Refuse an unknown mode or fill."""
        if self.mode not in (AVERAGE, DIFFERENCE):
            raise BadInput(f"collude: mode is '{AVERAGE}' or '{DIFFERENCE}', not '{self.mode}'")
        if self.fill not in FILLS:
            raise BadInput(f"collude: fill is one of {', '.join(map(repr, FILLS))}, not '{self.fill}'")
        if not 0 <= self.beyond < math.inf:
            raise BadInput(f"collude: beyond is 0 or a positive number, not {self.beyond:g}")

    def check_strength(self, strength: float) -> None:
        """Refuse what is no number of copies."""
        _copy_count(strength)

    def copies_needed(self, strengths: Sequence[float] = ()) -> int:
        """Return the largest number of copies, at least 2."""
        return max((2, *map(_copy_count, strengths)))

    @torch.no_grad()
    def curve(
        self, targets: Sequence[nn.Module], strengths: Sequence[float], context: AttackContext
    ) -> Iterator[Attacked]:
        """Yield the colluders' model for each number of copies, the first ones of `targets`.

        `achieved` has the change from the first copy and, by difference, the share of weights ``erased``.

        Raises:
            BadInput: for a strength that is no integer of at least 2, for fewer targets than that, or for
                copies of different shapes, which do not average.
        """
        counts = [_copy_count(strength) for strength in strengths]
        if len(targets) < max(counts, default=0):
            raise BadInput(f"collude needs {max(counts)} differently marked copies, not {len(targets)}")
        _require_equal_shapes(targets)
        for strength, count in zip(strengths, counts, strict=True):
            model = copy.deepcopy(targets[0])
            with timed(context.device) as watch:
                facts = self._collude(model, targets[:count], context)
                apply_masks(model, dict(context.masks))
            change = measure_change(prunable_tensors(targets[0]), prunable_tensors(model))
            achieved = {"copies": count, **facts, **change}
            yield Attacked(model, strength, achieved, context.masks, Cost(seconds=watch.seconds))

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Refuse: one copy is no collusion."""
        return next(self.curve([model], [strength], context))

    def predicted(self, strength: float) -> tuple[str, float] | None:
        """Return the channel of an average of so many copies."""
        return ("average", strength) if self.mode == AVERAGE else None

    def _collude(self, model: nn.Module, targets: Sequence[nn.Module], context: AttackContext) -> dict[str, float]:
        """Rewrite `model`, a copy of the first target; return the share of prunable weights that was erased."""
        if self.mode == AVERAGE:
            restore(model, _mean_state(targets))
            return {}
        pools = [prunable_tensors(target) for target in targets]
        generator = torch.Generator().manual_seed(context.seed)
        hits = differing(pools, self.beyond)
        for name, tensor in prunable_tensors(model).items():
            copies = torch.stack([pool[name].float() for pool in pools])
            tensor.copy_(self._filled(copies, hits[name], generator))
        erased = sum(int(hit.sum()) for hit in hits.values())
        return {"erased": erased / sum(hit.numel() for hit in hits.values())}

    def _filled(self, copies: Tensor, hit: Tensor, generator: torch.Generator) -> Tensor:
        if self.fill == REDRAW:
            return redrawn(copies[0], hit, generator)
        value = {AVERAGE: _mean, MEDIAN: _median, SMALLEST: _smallest}[self.fill]
        return torch.where(hit, value(copies), copies[0])


def differing(pools: Sequence[Mapping[str, Tensor]], beyond: float) -> dict[str, Tensor]:
    """Return masks (bool) of where the copies' range is over `beyond` times the median, by layer; see `Collusion`.

    Args:
        pools: weights by name of each copy, at least 2, of equal shapes.
        beyond: at least 0.
    """
    ranges = {name: _range([pool[name] for pool in pools]) for name in pools[0]}
    overall = torch.cat([values.flatten() for values in ranges.values()]).median()
    return {name: values > beyond * values.median().maximum(overall) for name, values in ranges.items()}


def _range(copies: Sequence[Tensor]) -> Tensor:
    stacked = torch.stack([copy.float() for copy in copies])
    return stacked.amax(0) - stacked.amin(0)


def _mean(copies: Tensor) -> Tensor:
    return copies.mean(0)


def _smallest(copies: Tensor) -> Tensor:
    """Return the value of smallest magnitude over axis 0."""
    return copies.gather(0, copies.abs().argmin(0, keepdim=True))[0]


def _median(copies: Tensor) -> Tensor:
    """Return the median over axis 0; of an even number the mean of the two in the middle."""
    ordered, middle = copies.sort(0).values, (len(copies) - 1) / 2
    return (ordered[math.floor(middle)] + ordered[math.ceil(middle)]) / 2


def _mean_state(targets: Sequence[nn.Module]) -> Mapping[str, Tensor]:
    """Return the mean of all floating-point entries of the copies' states, in float32."""
    states = [target.state_dict() for target in targets]
    names = [name for name, value in states[0].items() if value.is_floating_point()]
    return {name: torch.stack([state[name].float() for state in states]).mean(0) for name in names}


def _require_equal_shapes(targets: Sequence[nn.Module]) -> None:
    shapes = [{name: value.shape for name, value in target.state_dict().items()} for target in targets]
    for other in shapes[1:]:
        if wrong := sorted(name for name in {*shapes[0], *other} if shapes[0].get(name) != other.get(name)):
            raise BadInput(
                f"collude: the copies differ in the shape of {wrong[0]}; a mark in shapes does not average"
            )


def _copy_count(strength: float) -> int:
    if not (strength >= 2 and float(strength).is_integer()):
        raise BadInput(f"collude: the number of copies is an integer of at least 2, not {strength:g}")
    return int(strength)
