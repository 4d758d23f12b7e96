"""SparseGPT and GPTQ: weights are pruned or rounded, and those that are left move to make up for it."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import (
    DATA,
    Attack,
    AttackContext,
    Attacked,
    Cost,
    Masks,
    measure_change,
    measure_sparsity,
    timed,
)
from bench.attacks.calibrated.column_sweep import output_error, swept
from bench.attacks.calibrated.layer_inputs import IMAGES, calibration, check_images, gram, input_moments
from bench.attacks.pruning import apply_masks, prunable_tensors
from cwwm.support.errors import BadInput
from cwwm.weights.order_statistics import pruned_count

_BITS = range(2, 9)
Changed = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, kw_only=True)
class SecondOrder(Attack):
    """What SparseGPT and GPTQ share: a sweep over the columns of each layer, with the moments of its inputs.

    All layers are changed by what they read in the marked model; the papers go from layer to layer and take the
    inputs that the changed ones before give. A layer whose inputs cannot be seen, or are not finite, stays as it
    is.
    """

    needs: ClassVar[frozenset[str]] = frozenset({DATA})

    block: int = 128
    images: int = IMAGES

    def __post_init__(self) -> None:
        """Refuse blocks and images of less than one."""
        check_images(self.name, self.images)
        if self.block < 1:
            raise BadInput(f"{self.name}: block is a whole number of at least 1, not {self.block}")

    @abstractmethod
    def rounding(self, part: Tensor, diagonal: Tensor, strength: float) -> Changed:
        """Say how the columns of a block change; see `swept`."""

    @abstractmethod
    def outcome(self, model: nn.Module, swept_names: list[str]) -> tuple[dict[str, Any], Masks]:
        """Return what was measured, and the zeros that a repair should hold."""

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Change the model in place; weights that a mask holds at zero stay zero.

        `achieved` has ``seen``, how many layers' inputs are known, and ``output_error``, the mean over them of the
        squared error of their answers to the calibration images over the squared answers.

        Raises:
            BadInput: for a strength that is refused.
        """
        self.check_strength(strength)
        tensors = prunable_tensors(model)
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        with timed(context.device) as watch:
            split, share = calibration(context, self.images)
            found = input_moments(model, split.x, gram)
            moments = {n: m for n, m in found.items() if bool(m.isfinite().all() and tensors[n].isfinite().all())}
            for name, moment in moments.items():
                rounding = lambda part, diagonal: self.rounding(part, diagonal, strength)  # noqa: E731
                tensors[name].copy_(swept(tensors[name], moment, self.block, rounding))
            apply_masks(model, dict(context.masks))
        errors = [output_error(before[name], tensors[name], moment) for name, moment in moments.items()]
        measured, masks = self.outcome(model, list(moments))
        seen = {"seen": len(moments), "output_error": sum(errors) / max(1, len(errors))}
        cost = Cost.of_looking(watch.seconds, len(split), share)
        achieved = {**seen, "change": measure_change(before, tensors)["change"], **measured}
        return Attacked(model, strength, achieved, {**context.masks, **masks}, cost)


@dataclass(frozen=True, kw_only=True)
class SparseGPT(SecondOrder):
    """Prunes by the optimal brain surgeon, block by block of columns (Frantar and Alistarh, arXiv 2301.00774).

    Of each block the floor(R n) weights of least w^2 / [H^-1]_jj go, H = X^T X of the columns not yet swept, damped
    by a hundredth of its mean diagonal; those to the right of each make up for it. So survivors move too: a mark
    loses its zeros as under Wanda, and its survivors drift.

    Attributes:
        block: columns among which weights are compared, and updated at once.
        images: calibration images.
    """

    name: ClassVar[str] = "sparsegpt"
    strength: ClassVar[str] = "rate of weights set to zero in each block of columns"

    def check_strength(self, strength: float) -> None:
        """Refuse what is no rate."""
        if not 0 <= strength <= 1:
            raise BadInput(f"{self.name}: a rate is between 0 and 1, not {strength:g}")

    def rounding(self, part: Tensor, diagonal: Tensor, strength: float) -> Changed:
        """Choose the weights of a block that go, those of all groups of a convolution together."""
        scores = (part / diagonal[:, None]).square().flatten()
        removed = scores.argsort(stable=True)[: pruned_count(strength, scores.numel())]
        gone = torch.zeros_like(scores, dtype=torch.bool)
        gone[removed] = True
        gone = gone.view(part.shape)
        return lambda column, j: column.masked_fill(gone[:, :, j], 0.0)

    def outcome(self, model: nn.Module, swept_names: list[str]) -> tuple[dict[str, Any], Masks]:
        """Return the sparsity, and masks of what is zero in the layers that were pruned."""
        tensors = prunable_tensors(model)
        return measure_sparsity(model), {name: tensors[name] != 0 for name in swept_names}


@dataclass(frozen=True, kw_only=True)
class GPTQ(SecondOrder):
    """Rounds columns one by one, those to the right making up for each error (Frantar et al., arXiv 2210.17323).

    The levels are symmetric, -(2^(b-1) - 1) to 2^(b-1) - 1 steps, one step for each output and each block of
    columns, taken from the block's largest magnitude when the sweep comes to it. Damped by a hundredth of the mean
    diagonal, columns in their own order. Weights move by several steps, together, where rounding to nearest moves
    each by half a step at most: the noise is larger in the weights and smaller in the answers.

    Attributes:
        block: columns that share steps (the group of 128 of deployed models), and are updated at once.
        images: calibration images.
    """

    name: ClassVar[str] = "gptq"
    strength: ClassVar[str] = "bits a weight"

    def check_strength(self, strength: float) -> None:
        """Refuse what is no integer from 2 to 8."""
        if strength not in _BITS:
            raise BadInput(f"{self.name}: bits are an integer from {_BITS[0]} to {_BITS[-1]}, not {strength:g}")

    def rounding(self, part: Tensor, diagonal: Tensor, strength: float) -> Changed:
        """Fix the steps of a block, by output."""
        top = 2 ** (int(strength) - 1) - 1
        steps = part.abs().amax(2) / top

        def nearest(column: Tensor, j: int) -> Tensor:
            codes = (column / steps).round().clamp(-top, top)
            return torch.where(steps > 0, codes * steps, 0.0)

        return nearest

    def outcome(self, model: nn.Module, swept_names: list[str]) -> tuple[dict[str, Any], Masks]:
        """Return how many layers were rounded; nothing is held."""
        return {"rounded": len(swept_names)}, {}
