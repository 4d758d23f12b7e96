"""Shaped noise: Gaussian noise that is large where the answers do not feel it, at the energy of plain noise."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import DATA, Attack, AttackContext, Attacked, Cost, measure_change, timed
from bench.attacks.calibrated.layer_inputs import IMAGES, calibration, check_images
from bench.attacks.pruning import apply_masks, prunable_tensors
from cwwm.channels.graph import evaluating
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed


@dataclass(frozen=True, kw_only=True)
class ShapedNoise(Attack):
    """Adds independent Gaussian noise of variance c / (F_i + d mean F), F the diagonal of the Fisher information.

    c makes the expected squared length that of `noise` at the same strength. To second order noise of variances v_i
    raises the divergence of the answers from what they were by sum F_i v_i / 2 in the mean; of all Gaussian noise
    that does the same harm the one with F_i v_i equal everywhere is the most random (its entropy, sum log v_i / 2,
    is largest). d stands against what the images did not show. ``harm`` says what is left of plain noise's harm; it
    is at most 1, since v falls where F rises. Nothing is trained; all strengths scale one and the same draw.

    A mark that is spread over the weights and read by plain correlation meets the same noise as before: the total
    is the same. So at equal harm it meets 1 / ``harm`` times as much.

    Attributes:
        damping: d, at least 1e-6; weights that the answers do not feel at all get 1 / d times the variance of
            one of mean information.
        images: to estimate F from, one class drawn from the model's own answer to each.
    """

    name: ClassVar[str] = "noise-shaped"
    strength: ClassVar[str] = "root mean square of the noise, relative to the standard deviation of all weights"
    needs: ClassVar[frozenset[str]] = frozenset({DATA})

    damping: float = 0.01
    images: int = IMAGES

    def __post_init__(self) -> None:
        """Refuse a damping that divides by nothing, and no image."""
        check_images(self.name, self.images)
        if not 1e-6 <= self.damping < math.inf:
            raise BadInput(f"{self.name}: damping is a number of at least 1e-6, not {self.damping:g}")

    def check_strength(self, strength: float) -> None:
        """Refuse a negative or infinite strength."""
        if not 0 <= strength < math.inf:
            raise BadInput(f"{self.name}: a strength is 0 or a positive number of sigmas, not {strength:g}")

    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Add the noise in place; weights that a mask holds at zero stay zero.

        Raises:
            BadInput: for a negative or infinite strength.
        """
        self.check_strength(strength)
        tensors = prunable_tensors(model)
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        with timed(context.device) as watch:
            split, share = calibration(context, self.images)
            information = fisher_diagonal(model, split.x, derive_seed(fisher=context.seed))
            variances = inverse_variances(information, self.damping)
            spread = strength * float(torch.cat([tensor.double().flatten() for tensor in tensors.values()]).std())
            generator = torch.Generator().manual_seed(context.seed)
            for name, tensor in tensors.items():
                draw = torch.randn(tensor.shape, generator=generator).to(tensor.device)
                tensor.copy_(tensor.float() + spread * variances[name].sqrt() * draw)
            apply_masks(model, dict(context.masks))
        achieved = {"harm": relative_harm(information, variances), **measure_change(before, tensors)}
        cost = Cost(watch.seconds, 0, len(split), share, len(split))
        return Attacked(model, strength, achieved, context.masks, cost)


def fisher_diagonal(model: nn.Module, images: Tensor, seed: int) -> dict[str, Tensor]:
    """Return E[(d log p(y|x) / d w)^2] for each weight by name, float64, with y drawn from p, one an image.

    Args:
        model: run in evaluation mode.
        images: (n, c, h, w), each by itself.
        seed: of the classes drawn, on the CPU.
    """
    weights = {name: model.get_parameter(name) for name in prunable_tensors(model)}
    sums = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in weights.items()}
    draws = torch.rand(len(images), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with evaluating(model, gradients=True):
        for image, draw in zip(images, draws.tolist(), strict=True):
            log_p = model(image[None]).log_softmax(1)[0]
            chosen = int((log_p.detach().double().exp().cumsum(0) < draw).sum().clamp(max=len(log_p) - 1))
            gradients = torch.autograd.grad(log_p[chosen], list(weights.values()), allow_unused=True)
            for name, gradient in zip(sums, gradients, strict=True):
                if gradient is not None:
                    sums[name] += gradient.double().square()
    return {name: value / len(images) for name, value in sums.items()}


def inverse_variances(information: Mapping[str, Tensor], damping: float) -> dict[str, Tensor]:
    """Return variances ~ 1 / (F + damping mean F), float64 by name, of mean 1 over all weights."""
    size = sum(value.numel() for value in information.values())
    mean = sum(float(value.sum()) for value in information.values()) / size
    if not 0 < mean < math.inf:
        return {name: torch.ones_like(value) for name, value in information.items()}
    found = {name: 1 / (value / mean + damping) for name, value in information.items()}
    scale = sum(float(value.sum()) for value in found.values()) / size
    return {name: value / scale for name, value in found.items()}


def relative_harm(information: Mapping[str, Tensor], variances: Mapping[str, Tensor]) -> float | None:
    """Return sum F v / sum F: the second-order harm over that of plain noise; None if nothing is felt."""
    plain = sum(float(value.sum()) for value in information.values())
    shaped = sum(float((value * variances[name]).sum()) for name, value in information.items())
    return shaped / plain if 0 < plain < math.inf else None
