"""Depth pruning: whole residual blocks leave the network, those that change least of what passes through them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.attacks.base import DATA, Attack, AttackContext, Attacked, Cost, timed
from bench.attacks.calibrated.layer_inputs import IMAGES, calibration, check_images
from bench.attacks.pruning import prunable_tensors
from bench.data.dataset import Split
from cwwm.channels.graph import evaluating
from cwwm.support.errors import BadInput
from cwwm.weights.order_statistics import pruned_count

SIMILARITY, LOSS = "similarity", "loss"
_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class DropBlocks(Attack):
    """Replaces blocks by the identity, as depth pruning of language models does; heal with ``then`` ``finetune``.

    A block is a numbered member of a sequence or list that has layers of its own and gives what it takes, one
    tensor of one shape; the innermost of such, so stages of blocks are none. The identity takes the block's place
    and name: all other tensors keep their names, and those of the block are missing. Whoever reads by name finds
    erasures, as many as the mark has hosts there, and no shifted indices; an attacker who renumbers the rest
    besides hides from readers by name what a comparison of shapes and values finds again.

    A code that stands e erasures with 2 errors + e <= d - 1 loses the message when the dropped blocks hold more; a
    correlation loses their share of its energy.

    Attributes:
        by: ``"similarity"``, largest mean cosine of what goes in and comes out, over whole maps of an image (one
            less the block influence of arXiv 2403.03853), or ``"loss"``, least cross-entropy without the block
            alone, both on calibration images. Neither is asked for anew after a block has gone.
        images: calibration images.
    """

    name: ClassVar[str] = "drop-blocks"
    strength: ClassVar[str] = "share of the blocks dropped, rounded down"
    needs: ClassVar[frozenset[str]] = frozenset({DATA})

    by: str = SIMILARITY
    images: int = IMAGES

    def __post_init__(self) -> None:
        """Refuse an unknown choice, and no image."""
        check_images(self.name, self.images)
        if self.by not in (SIMILARITY, LOSS):
            raise BadInput(f"{self.name}: by is '{SIMILARITY}' or '{LOSS}', not '{self.by}'")

    def check_strength(self, strength: float) -> None:
        """Refuse what is no share."""
        if not 0 <= strength <= 1:
            raise BadInput(f"{self.name}: a share is between 0 and 1, not {strength:g}")

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Drop in place.

        `achieved` has ``blocks``, how many can be dropped, ``dropped``, the names of those that were, and
        ``weights``, the share of convolution and linear weights that went with them. Masks of what is left are
        held.

        Raises:
            BadInput: unless the share is between 0 and 1, and for a network without such blocks.
        """
        self.check_strength(strength)
        size = _size(model)
        with timed(context.device) as watch:
            split, share = calibration(context, self.images)
            found = similarities(model, split.x)
            if not found:
                raise BadInput(f"{self.name}: this network has no numbered block that gives the shape it takes")
            order = self._order(model, split, found)
            dropped = order[: pruned_count(strength, len(order))]
            for name in dropped:
                model.set_submodule(name, nn.Identity())
        achieved = {"blocks": len(order), "dropped": dropped, "weights": 1 - _size(model) / size}
        left = dict(model.named_parameters())
        masks = {name: mask for name, mask in context.masks.items() if name in left}
        runs = 1 if self.by == SIMILARITY else 1 + len(order)
        cost = Cost.of_looking(watch.seconds, runs * len(split), share)
        return Attacked(model, strength, achieved, masks, cost)

    def _order(self, model: nn.Module, split: Split, found: Mapping[str, float]) -> list[str]:
        """Return the names of the blocks, the first to go first; of equal ones the earlier."""
        if self.by == SIMILARITY:
            return sorted(found, key=lambda name: -found[name])
        losses = {name: loss_without(model, name, split) for name in found}
        return sorted(found, key=lambda name: losses[name])


def similarities(model: nn.Module, images: Tensor) -> dict[str, float]:
    """Return for each block that can be dropped the mean cosine of its input and its output, by name, in order.

    Args:
        model: run in evaluation mode; left as it is.
        images: (n, c, h, w).
    """
    sums: dict[str, float] = {}
    excluded: set[str] = set()

    def listen(name: str) -> Any:  # noqa: ANN401 (a hook)
        def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: object) -> None:
            taken = args[0] if len(args) == 1 and not kwargs else None
            if isinstance(taken, Tensor) and isinstance(output, Tensor) and taken.shape == output.shape:
                cosines = functional.cosine_similarity(taken.flatten(1), output.flatten(1))
                sums[name] = sums.get(name, 0.0) + float(cosines.double().sum())
            else:
                excluded.add(name)

        return hook

    blocks = {name: module for name, module in model.named_modules() if _is_block(name, module)}
    handles = [module.register_forward_hook(listen(name), with_kwargs=True) for name, module in blocks.items()]
    try:
        with evaluating(model):
            for batch in torch.split(images, _BATCH):
                model(batch)
    finally:
        for handle in handles:
            handle.remove()
    kept = [name for name in blocks if name in sums and name not in excluded]
    return {name: sums[name] / len(images) for name in kept if not any(x.startswith(f"{name}.") for x in kept)}


def _is_block(name: str, module: nn.Module) -> bool:
    named = name.rpartition(".")[2].isdigit() and not isinstance(module, (nn.Sequential, nn.ModuleList))
    return named and any(True for _ in module.children()) and bool(prunable_tensors(module))


def loss_without(model: nn.Module, name: str, split: Split) -> float:
    """Return the mean cross-entropy of a model whose block `name` is the identity; the block is put back."""
    block = model.get_submodule(name)
    model.set_submodule(name, nn.Identity())
    try:
        with evaluating(model):
            parts = zip(torch.split(split.x, _BATCH), torch.split(split.y, _BATCH), strict=True)
            total = sum(float(functional.cross_entropy(model(x), y, reduction="sum")) for x, y in parts)
    finally:
        model.set_submodule(name, block)
    return total / len(split)


def _size(model: nn.Module) -> int:
    return sum(tensor.numel() for tensor in prunable_tensors(model).values())
