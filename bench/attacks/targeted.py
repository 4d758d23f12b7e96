"""Targeted: noise or other values on the weights that are most likely to carry a mark, chosen without the key."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import gammaincinv
from torch import Tensor, nn

from bench.attacks.base import Attack, AttackContext, Attacked, Cost, measure_change, timed
from bench.attacks.pruning import apply_masks, prunable_tensors
from bench.attacks.redrawing import redrawn
from cwwm.support.errors import BadInput
from cwwm.weights.order_statistics import pruned_count

LARGEST, REPEATS, OUTLIERS = "largest", "repeats", "outliers"
NOISE, REDRAW = "noise", "redraw"

Floats = npt.NDArray[np.float64]

_SHAPES = np.geomspace(0.2, 10, 400)  # of a generalised Gaussian: from far heavier to far lighter than a Gaussian
_QUANTILES = (0.5, 0.9)  # of |w - median| that fix scale and shape: a tenth of the weights may be marked


@dataclass(frozen=True, kw_only=True)
class Targeted(Attack):
    """Adds noise to the likeliest carriers of a mark, or draws other values for them; nothing is trained.

    The sets of growing strengths are nested, and every weight has its own draw, the same at each strength.

    Attributes:
        suspects: which weights come first.
            ``"largest"``: the largest magnitudes, the same share of every layer.
            ``"repeats"``: values of |w|, zero aside, that occur more than once in the model, the most frequent
            first: what a clamp leaves. In float32 a few pairs of a large model agree by chance, in 16 bits
            nearly all weights do; what a clamp wrote is still the most frequent.
            ``"outliers"``: the largest residuals z = (|w - median| / a)^b over all layers, a and b the scale and
            shape of a generalised Gaussian, density ~ exp(-z), fitted to each layer's weights that are not zero
            by the quantiles 0.5 and 0.9 of |w - median|. A layer that is heavy-tailed by nature has no
            outliers, where the largest magnitudes would be hit in all layers alike.
        action: ``"noise"``, Gaussian, or ``"redraw"``, magnitudes of the layer's other weights with random signs.
        sigma: standard deviation of that noise, relative to the layer's.
    """

    name: ClassVar[str] = "targeted"
    strength: ClassVar[str] = (
        "share of all convolution and linear weights that is hit, if there are as many suspects"
    )

    suspects: str = LARGEST
    action: str = NOISE
    sigma: float = 1.0

    def __post_init__(self) -> None:
        """Refuse an unknown choice."""
        if self.suspects not in (LARGEST, REPEATS, OUTLIERS):
            raise BadInput(f"targeted: suspects is '{LARGEST}', '{REPEATS}' or '{OUTLIERS}', not '{self.suspects}'")
        if self.action not in (NOISE, REDRAW):
            raise BadInput(f"targeted: action is '{NOISE}' or '{REDRAW}', not '{self.action}'")
        if not 0 < self.sigma < math.inf:
            raise BadInput(f"targeted: sigma is a number above 0, not {self.sigma:g}")

    def check_strength(self, strength: float) -> None:
        """Refuse what is no share."""
        if not 0 <= strength <= 1:
            raise BadInput(f"targeted: a share is between 0 and 1, not {strength:g}")

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Hit the suspects in place; weights that a mask holds at zero stay zero.

        `achieved` has ``suspects``, how many there are, and ``hit``, the share of all weights that was hit.

        Raises:
            BadInput: unless the strength is between 0 and 1.
        """
        self.check_strength(strength)
        tensors = prunable_tensors(model)
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        with timed(context.device) as watch:
            scores = self._scores(list(tensors.values()))
            hits = self._hits(scores, strength)
            generator = torch.Generator().manual_seed(context.seed)
            for tensor, hit in zip(tensors.values(), hits, strict=True):
                tensor.copy_(self._acted(tensor.float(), hit, generator))
            apply_masks(model, dict(context.masks))
        achieved = {
            "suspects": sum(int((score > 0).sum()) for score in scores),
            "hit": sum(int(hit.sum()) for hit in hits) / sum(tensor.numel() for tensor in before.values()),
            **measure_change(before, tensors),
        }
        return Attacked(model, strength, achieved, context.masks, Cost(seconds=watch.seconds))

    def _scores(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return how suspicious each weight is, float32 in the shapes of the layers; 0 is no suspect."""
        magnitudes = [tensor.float().abs() for tensor in tensors]
        if self.suspects == LARGEST:
            return magnitudes
        if self.suspects == REPEATS:
            return repetitions(magnitudes)
        return [residuals(tensor.float()) for tensor in tensors]

    def _hits(self, scores: Sequence[Tensor], share: float) -> list[Tensor]:
        groups = [[score] for score in scores] if self.suspects == LARGEST else [list(scores)]
        return [hit for group in groups for hit in _highest(group, share)]

    def _acted(self, values: Tensor, hit: Tensor, generator: torch.Generator) -> Tensor:
        if self.action == REDRAW:
            return redrawn(values, hit, generator)
        draw = torch.randn(values.shape, generator=generator).to(values.device)
        return torch.where(hit, values + self.sigma * values.std(correction=0) * draw, values)


def _highest(scores: Sequence[Tensor], share: float) -> list[Tensor]:
    """Return masks of floor(share N) weights with the highest scores above 0, all layers ranked together."""
    joined = torch.cat([score.flatten() for score in scores])
    first = joined.argsort(descending=True, stable=True)[: pruned_count(share, len(joined))]
    hit = torch.zeros_like(joined, dtype=torch.bool)
    hit[first] = joined[first] > 0
    parts = torch.split(hit, [score.numel() for score in scores])
    return [part.view(score.shape) for part, score in zip(parts, scores, strict=True)]


def repetitions(magnitudes: Sequence[Tensor]) -> list[Tensor]:
    """Return how many other weights of all layers have the same magnitude, float32; 0 for exact zeros."""
    joined = torch.cat([tensor.flatten() for tensor in magnitudes])
    _, inverse, counts = torch.unique(joined, return_inverse=True, return_counts=True)
    others = torch.where(joined == 0, 0, counts[inverse] - 1).float()
    parts = torch.split(others, [tensor.numel() for tensor in magnitudes])
    return [part.view(tensor.shape) for part, tensor in zip(parts, magnitudes, strict=True)]


def residuals(values: Tensor) -> Tensor:
    """Return z = (|w - median| / a)^b of a layer's weights, float32; 0 for exact zeros and where no spread is."""
    live = values[values != 0]
    if not live.numel():
        return torch.zeros_like(values)
    centre = _quantile(live, 0.5)
    distances = (values - centre).abs()
    scale, shape = fit_generalised_gaussian(*(_quantile((live - centre).abs(), p) for p in _QUANTILES))
    z = (distances / scale) ** shape if scale > 0 else distances
    return torch.where(values == 0, 0.0, z)


def fit_generalised_gaussian(middle: float, upper: float) -> tuple[float, float]:
    """Return scale a and shape b of the density ~ exp(-(|x| / a)^b) with these quantiles 0.5 and 0.9 of |x|.

    (|x| / a)^b is Gamma(1 / b), so the ratio of the quantiles gives b, limited to [0.2, 10]; a is 0 if `middle` is.
    """
    ratios = np.log(_standard_quantile(_SHAPES, _QUANTILES[1]) / _standard_quantile(_SHAPES, _QUANTILES[0]))
    if middle <= 0:
        return 0.0, 1.0
    shape = float(np.interp(-math.log(upper / middle), -ratios, _SHAPES))  # the ratio falls as the shape grows
    return middle / float(_standard_quantile(np.array(shape), _QUANTILES[0])), shape


def _standard_quantile(shapes: Floats, p: float) -> Floats:
    quantile: Floats = gammaincinv(1 / shapes, p) ** (1 / shapes)
    return quantile


def _quantile(values: Tensor, p: float) -> float:
    rank = min(values.numel(), max(1, math.ceil(p * values.numel())))
    return float(values.kthvalue(rank).values)
