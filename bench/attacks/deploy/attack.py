"""Deployment as an attack: nobody means any harm, and the weights are others afterwards."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import DATA, Attack, AttackContext, Attacked, Cost, Masks, measure_change, timed
from bench.attacks.deploy.exporting import through_export, through_onnx
from bench.attacks.deploy.folding import fold_batch_norms
from bench.attacks.pruning import prunable_tensors
from bench.attacks.symmetry.base import generator, logits, relative_difference
from cwwm.channels.graph import refusing
from cwwm.support.errors import BadInput, unknown_name

FOLD = "fold"
_IMAGES = 2  # of the data, and as many of noise


def _folded(model: nn.Module, images: Tensor) -> nn.Module:
    fold_batch_norms(model)
    return model


def _reparametrised(model: nn.Module, images: Tensor) -> nn.Module:
    from timm.utils.model import reparameterize_model

    merged: nn.Module = reparameterize_model(model)
    return merged


#: what is done to a network, given images of its size
WAYS: Mapping[str, Callable[[nn.Module, Tensor], nn.Module]] = {
    FOLD: _folded,
    "reparametrise": _reparametrised,
    "onnx-legacy": partial(through_onnx, dynamo=False),
    "onnx": partial(through_onnx, dynamo=True),
    "export": through_export,
}


@dataclass(frozen=True, kw_only=True)
class Deployment(Attack):
    """Does to a network what is done to one that is shipped; it answers as before, but for rounding.

    The attacked model is what lies in the deployed file: parameters under the file's names, in its shapes. A blind
    reader finds tensors that kept their names, an aligned one also those that did not.

    Attributes:
        way: ``"fold"``, batch norms into the layers before them (torch.fx); ``"reparametrise"``, timm's branches
            merged into one convolution (RepVGG, MobileOne, RepViT), nothing elsewhere; ``"onnx-legacy"`` and
            ``"onnx"``, an ONNX file by the exporter that traces and by the one through torch.export;
            ``"export"``, a file of torch.export, which changes no weight.
    """

    name: ClassVar[str] = "deploy"
    strength: ClassVar[str] = "1: there is no more and no less of it"
    free: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({DATA})  # a few images, to trace with

    way: str = FOLD

    def __post_init__(self) -> None:
        """Refuse an unknown way."""
        if self.way not in WAYS:
            raise unknown_name("way", self.way, WAYS, self.name)

    def check_strength(self, strength: float) -> None:
        """Refuse what is not 1."""
        if strength != 1:
            raise BadInput(f"{self.name}: the strength is 1, not {strength:g}; what is done is said by `way`")

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Deploy a copy of the model.

        `achieved` has the way; ``difference``, the largest difference of a logit relative to the largest logit, on
        images and noise; ``kept``, the share of convolution and linear weights that kept name and shape; ``change``
        and ``layers``, of these.

        Raises:
            BadInput: for a network that an exporter cannot follow.
            ModuleNotFoundError: without the packages of the extra onnx, for the ways through ONNX.
        """
        self.check_strength(strength)
        images = _images(context)
        before = {name: tensor.clone() for name, tensor in prunable_tensors(model).items()}
        expected = logits(model, images)
        with timed(context.device) as watch, refusing(f"this network cannot be deployed by '{self.way}'"):
            deployed = WAYS[self.way](copy.deepcopy(model).eval(), images)
        after = {name: value.detach() for name, value in deployed.named_parameters()}
        change = measure_change(before, after)
        achieved = {
            "way": self.way,
            "difference": relative_difference(_answers(deployed, images), expected),
            "kept": len(change["layers"]) / len(before),
            **change,
        }
        return Attacked(deployed, strength, achieved, _carried(context.masks, after), Cost(seconds=watch.seconds))


def _images(context: AttackContext) -> Tensor:
    images = context.data.test.x[:_IMAGES]
    noise = torch.randn(images.shape, generator=generator(context.seed, "deploy"))
    return torch.cat([images, noise.to(images.device)])


def _answers(model: nn.Module, images: Tensor) -> Tensor:
    model.eval()
    return logits(model, images)


def _carried(masks: Masks, after: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the masks that still say where zeros are."""
    same = {name: mask for name, mask in masks.items() if name in after and after[name].shape == mask.shape}
    return {name: mask for name, mask in same.items() if not bool(after[name][~mask.to(after[name].device)].any())}
