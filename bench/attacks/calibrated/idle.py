"""Idle weights: other values for the weights that matter least to the answers, where a mark lies untouched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import DATA, Attack, AttackContext, Attacked, Cost, measure_change, timed
from bench.attacks.calibrated.layer_inputs import (
    IMAGES,
    calibration,
    check_images,
    importance,
    input_moments,
    squares,
)
from bench.attacks.pruning import GLOBAL, LAYER, apply_masks, prunable_tensors
from bench.attacks.redrawing import redrawn
from cwwm.support.errors import BadInput
from cwwm.weights.order_statistics import pruned_count


@dataclass(frozen=True, kw_only=True)
class IdleRedraw(Attack):
    """Draws other values for the weights of least |w_ij| ||x_j|| on the attacker's images; nothing is trained.

    Weights that read nothing, such as the border of a kernel over a map of one pixel, get no gradient: no
    fine-tuning moves them, so whatever mark they carry outlives all training, and a redraw costs no accuracy. A hit
    weight gets the magnitude of another weight of its layer and a random sign (`redrawn`). The sets of growing
    strengths are nested, and every weight has its own draw, the same at each strength. A mark that is
    evenly spread loses the share of its correlation that was hit.

    Attributes:
        ranking: ``"global"``, the importance of a weight being relative to the root mean square of its layer's, so
            that layers compare, or ``"layer"``, the same share of every layer. A layer whose inputs cannot be seen
            is ranked by magnitude.
        images: calibration images.
    """

    name: ClassVar[str] = "idle"
    strength: ClassVar[str] = "share of all convolution and linear weights that is drawn anew"
    needs: ClassVar[frozenset[str]] = frozenset({DATA})

    ranking: str = GLOBAL
    images: int = IMAGES

    def __post_init__(self) -> None:
        """Refuse an unknown ranking, and no image."""
        check_images(self.name, self.images)
        if self.ranking not in (GLOBAL, LAYER):
            raise BadInput(f"{self.name}: ranking is '{GLOBAL}' or '{LAYER}', not '{self.ranking}'")

    def check_strength(self, strength: float) -> None:
        """Refuse what is no share."""
        if not 0 <= strength <= 1:
            raise BadInput(f"{self.name}: a share is between 0 and 1, not {strength:g}")

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Draw in place; weights that a mask holds at zero stay zero.

        `achieved` has ``idle``, the share of weights that read nothing but zeros or are zero, and ``hit``.

        Raises:
            BadInput: unless the strength is between 0 and 1.
        """
        self.check_strength(strength)
        tensors = prunable_tensors(model)
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        with timed(context.device) as watch:
            split, share = calibration(context, self.images)
            scores = relative_importance(tensors, input_moments(model, split.x, squares))
            hits = self._hits(scores, strength)
            generator = torch.Generator().manual_seed(context.seed)
            for tensor, hit in zip(tensors.values(), hits, strict=True):
                tensor.copy_(redrawn(tensor.float(), hit, generator))
            apply_masks(model, dict(context.masks))
        size = sum(tensor.numel() for tensor in before.values())
        achieved = {
            "idle": sum(int((score == 0).sum()) for score in scores) / size,
            "hit": sum(int(hit.sum()) for hit in hits) / size,
            **measure_change(before, tensors),
        }
        cost = Cost.of_looking(watch.seconds, len(split), share)
        return Attacked(model, strength, achieved, context.masks, cost)

    def _hits(self, scores: Sequence[Tensor], share: float) -> list[Tensor]:
        groups = [[score] for score in scores] if self.ranking == LAYER else [list(scores)]
        return [hit for group in groups for hit in lowest(group, share)]


def relative_importance(weights: Mapping[str, Tensor], sums: Mapping[str, Tensor]) -> list[Tensor]:
    """Return |w_ij| ||x_j|| of each weight over its layer's root mean square, float32; 0 in a layer without any.

    Args:
        weights: by name.
        sums: `squares` of the inputs, of those layers that were seen.
    """
    found = [importance(weight, sums.get(name)) for name, weight in weights.items()]
    spreads = [score.double().square().mean().sqrt().float() for score in found]
    return [score / spread if spread > 0 else score for score, spread in zip(found, spreads, strict=True)]


def lowest(scores: Sequence[Tensor], share: float) -> list[Tensor]:
    """Return masks (bool) of the floor(share N) lowest scores, all tensors ranked together, ties in order."""
    joined = torch.cat([score.flatten() for score in scores])
    hit = torch.zeros_like(joined, dtype=torch.bool)
    hit[joined.argsort(stable=True)[: pruned_count(share, len(joined))]] = True
    parts = torch.split(hit, [score.numel() for score in scores])
    return [part.view(score.shape) for part, score in zip(parts, scores, strict=True)]
