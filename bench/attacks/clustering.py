"""Weight sharing: every layer's weights become the few values that k-means finds in it."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import Attack, AttackContext, Attacked, Cost, measure_change, timed
from bench.attacks.compression.levels import LEVEL_BITS, assign, kmeans
from bench.attacks.pruning import prunable_tensors
from cwwm.support.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Clustering(Attack):
    """Replaces every weight by the centroid of its cluster, 2^b clusters a layer; no training.

    This is the weight sharing of deep compression (arXiv 1510.00149, section 3), one k-means a layer, started at
    evenly spaced quantiles so that it repeats exactly; the papers retrain centroids afterwards, this one does not.
    Where masks are held, pruned weights stay zero and take no part. A layer with a weight that is not finite, as a
    fine-tune that diverged leaves, stays as it is.
    """

    name: ClassVar[str] = "cluster"
    strength: ClassVar[str] = "bits a weight (2^bits shared values a layer)"

    def check_strength(self, strength: float) -> None:
        """Refuse what is no integer from 1 to 8."""
        if strength not in LEVEL_BITS:
            low, high = LEVEL_BITS[0], LEVEL_BITS[-1]
            raise BadInput(f"cluster: bits are an integer from {low} to {high}, not {strength:g}")

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Cluster in place; `achieved` counts the distinct non-zero values of each layer, and the most.

        Raises:
            BadInput: unless the strength is an integer from 1 to 8.
        """
        self.check_strength(strength)
        tensors = prunable_tensors(model)
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        with timed(context.device) as watch:
            for name, tensor in tensors.items():
                share(tensor, int(2**strength), context.masks.get(name))
        values = {name: len(torch.unique(tensor[tensor != 0])) for name, tensor in tensors.items()}
        achieved = {
            "bits": int(strength),
            "levels": max(values.values(), default=0),
            "values": values,
            **measure_change(before, tensors),
        }
        return Attacked(model, strength, achieved, context.masks, Cost(seconds=watch.seconds))


def share(tensor: Tensor, k: int, mask: Tensor | None) -> None:
    """Replace the entries under the mask (None: all) by at most k shared values, in place."""
    kept = torch.ones_like(tensor, dtype=torch.bool) if mask is None else mask
    values = tensor[kept]
    if bool(values.isfinite().all()):
        centroids = kmeans(values, k)
        tensor[kept] = centroids[assign(values, centroids)]
