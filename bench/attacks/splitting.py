"""Layer splitting: one layer becomes two whose product it was; names and values change, and no answer does."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.attacks.base import DATA, Attack, AttackContext, Attacked, Cost, timed
from bench.attacks.symmetry.base import logits, relative_difference
from cwwm.channels.graph import refusing
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed
from cwwm.weights.order_statistics import pruned_count
from cwwm.weights.weight_kind import weight_kind

ROTATE, IDENTITY = "rotate", "identity"
_IMAGES = 4
_PLAIN = ("Linear", "Conv2d", "Conv2dSame")  # layers that use their weight as it is; timm's pads unevenly


@dataclass(frozen=True, kw_only=True)
class LayerSplitting(Attack):
    """Replaces a layer W by two, Q after Q^T W, with Q orthogonal; nothing is trained.

    Of the family of attacks that obfuscate the structure by inserted layers (Pegoraro et al., DeepEclipse, arXiv
    2403.03590), in its plainest form and without their changes of the input. The second layer is square: linear, or
    a 1x1 convolution with the groups of the first, and has the bias. ``layer.weight`` is gone; ``layer.0.weight``
    has the old shape, with rows that are mixed, and ``layer.1.weight`` is new.

    Whoever reads tensors by name, blind or beside the owner's copy, finds none of the split layers: erasures, and
    nothing at all at strength 1. Who multiplies neighbours without a nonlinearity between them has W again, up to
    rounding.

    Attributes:
        kind: ``"rotate"``, Q drawn evenly from all orthogonal matrices (depthwise: signs), or ``"identity"``, Q =
            1, so that the values of W stay, under another name.
    """

    name: ClassVar[str] = "split-layers"
    strength: ClassVar[str] = "share of the convolution and linear layers that become two"
    free: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({DATA})  # a few images

    kind: str = ROTATE

    def __post_init__(self) -> None:
        """Refuse an unknown kind."""
        if self.kind not in (ROTATE, IDENTITY):
            raise BadInput(f"{self.name}: kind is '{ROTATE}' or '{IDENTITY}', not '{self.kind}'")

    def check_strength(self, strength: float) -> None:
        """Refuse what is no share."""
        if not 0 <= strength <= 1:
            raise BadInput(f"{self.name}: a share is between 0 and 1, not {strength:g}")

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Split in place layers chosen by the seed, those of growing strengths nested.

        `achieved` has ``layers_before``, how many can be split, ``split``, the names of those that were, and
        ``difference``, the largest change of a logit of a few images over the largest logit. Masks of layers that
        were not split are held. Layers that change their weight before use, or share it, stay whole.

        Raises:
            BadInput: unless the share is between 0 and 1, and for a network that does not run afterwards.
        """
        self.check_strength(strength)
        images = context.data.test.x[:_IMAGES]
        expected = logits(model, images)
        generator = torch.Generator().manual_seed(derive_seed(splitting=context.seed))
        with timed(context.device) as watch:
            names = splittable(model)
            order = [names[i] for i in torch.randperm(len(names), generator=generator).tolist()]
            chosen = order[: pruned_count(strength, len(order))]
            for name in chosen:
                model.set_submodule(name, split_layer(model.get_submodule(name), self._turns(generator)))
        with refusing(f"{self.name}: this network cannot run with split layers"):
            difference = relative_difference(logits(model, images), expected)
        finite = difference if math.isfinite(difference) else None  # of a model that diverged before
        achieved = {"layers_before": len(names), "split": chosen, "difference": finite}
        gone = {f"{name}.{part}" for name in chosen for part in ("weight", "bias")}
        masks = {name: mask for name, mask in context.masks.items() if name not in gone}
        return Attacked(model, strength, achieved, masks, Cost(seconds=watch.seconds))

    def _turns(self, generator: torch.Generator) -> torch.Generator | None:
        return generator if self.kind == ROTATE else None


def splittable(model: nn.Module) -> list[str]:
    """Return the names of layers that use a weight of their own as it is, in model order."""
    uses = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    found = []
    for name, layer in model.named_modules():
        if type(layer).__name__ in _PLAIN and isinstance(layer, (nn.Linear, nn.Conv2d)) and name:
            kind = weight_kind(f"{name}.weight", layer.weight.shape)
            found += [name] if kind and uses[id(layer.weight)] == 1 else []
    return found


def split_layer(layer: nn.Module, generator: torch.Generator | None) -> nn.Sequential:
    """Return two layers that give what this one gave; the first is `layer` itself, changed.

    Args:
        layer: linear, or a 2-d convolution.
        generator: on the CPU, of the orthogonal matrix; None for the identity.
    """
    weight = layer.get_parameter("weight")
    groups = int(getattr(layer, "groups", 1))
    width = len(weight) // groups
    turn = orthogonal(groups, width, generator).to(weight.device)
    rows = weight.double().reshape(groups, width, -1)
    second = _square(layer, len(weight), groups).to(weight)
    second.get_parameter("weight").copy_(turn.reshape(second.get_parameter("weight").shape))
    second.register_parameter("bias", layer._parameters["bias"])
    weight.copy_((turn.transpose(1, 2) @ rows).reshape(weight.shape))
    layer.register_parameter("bias", None)
    return nn.Sequential(layer, second)


def _square(layer: nn.Module, width: int, groups: int) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return nn.Linear(width, width, bias=False)
    return nn.Conv2d(width, width, 1, groups=groups, bias=False)


def orthogonal(count: int, width: int, generator: torch.Generator | None) -> Tensor:
    """Return orthogonal matrices, float64 (count, width, width), drawn evenly; identities without a generator.

    By QR of Gaussians with the signs of R's diagonal (Mezzadri, arXiv math-ph/0609050).
    """
    if generator is None:
        return torch.eye(width, dtype=torch.float64).expand(count, width, width)
    gaussian = torch.randn(count, width, width, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(gaussian)
    turned: Tensor = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]
    return turned
