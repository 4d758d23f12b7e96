"""Dead weights of a network: the definition, and their share of a host.

A weight is dead if no answer to the training images depends on it: in evaluation mode the derivative of every logit
with respect to it is exactly zero, for every image as training draws it. That is so where a ReLU silences a channel
for all images, where an input never differs from zero, and where a kernel place meets nothing but padding. Whoever
marks dead weights pays nothing for it, and whoever redraws them neither.

The derivative says it exactly and at once, whatever the recipe. What a fine-tune leaves (`unmoved`) stands beside
it, for a mark there outlives training. It has no such edge: weights that live, but hardly move, are counted too,
and one that is dead in evaluation may wake, because batch norm in training uses other statistics.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.data import Split
from cwwm.schemes import Scheme
from cwwm.support.seeds import derive_seed
from cwwm.training import Recipe
from cwwm.weights.carrier import ALIVE, prunable
from cwwm.weights.dead import Dead
from cwwm.weights.view import as_weights

STILL = 0.03  # of the root mean square of its layer: a weight that a full fine-tune moves by less is unmoved
PASSES = 2  # over the training images, each with its own augmentation


@dataclass(frozen=True)
class DeadLayer:
    """One convolution or linear weight.

    Attributes:
        name, weights: of it. dead: how many are dead.
        listed: how many of these lie in rows or columns that are dead as a whole (`cwwm.weights.dead`).
    """

    name: str
    weights: int
    dead: int
    listed: int


def training_images(data: Split, recipe: Recipe) -> Iterator[Tensor]:
    """Yield images in batches as a recipe draws them, each image twice: float (b, c, h, w)."""
    seed = derive_seed(part="dead weights")
    for epoch in range(PASSES):
        for x, _ in data.batches(recipe.batch_size, seed=seed, epoch=epoch, shift=recipe.shift, flip=recipe.flip):
            yield x


def alive_weights(model: nn.Module, images: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return by name which convolution and linear weights are not dead, bool of each weight's shape, on its device.

    The logits of a batch are summed with random signs, so that none cancels another in all batches. The model is as
    it was afterwards, but for its mode: evaluation.
    """
    parameters = dict(model.eval().named_parameters())
    chosen = {name: parameters[name] for name in prunable(as_weights(model))}
    alive = {name: torch.zeros(weight.shape, dtype=torch.bool) for name, weight in chosen.items()}
    alive = {name: mask.to(chosen[name].device) for name, mask in alive.items()}
    generator = torch.Generator().manual_seed(derive_seed(part="signs of logits"))
    for x in images:
        logits = model(x)
        signs = torch.randint(2, logits.shape, generator=generator).to(logits.device) * 2 - 1
        found = torch.autograd.grad((logits * signs).sum(), list(chosen.values()), allow_unused=True)
        for mask, gradient in zip(alive.values(), found, strict=True):
            if gradient is not None:
                mask |= gradient != 0
    return alive


def dead_rows_and_columns(alive: Mapping[str, Tensor]) -> dict[str, Dead]:
    """Return what carriers ``alive:...`` leave out, by tensor, for `EmbedContext`."""
    found = {name: Dead.of(mask) for name, mask in alive.items()}
    return {name: dead for name, dead in found.items() if dead != Dead()}


def find_dead(model: nn.Module, data: Split, recipe: Recipe) -> dict[str, Dead]:
    """Return what carriers ``alive:...`` leave out of this model, measured on images as a recipe draws them."""
    return dead_rows_and_columns(alive_weights(model, training_images(data, recipe)))


def left_out(scheme: Scheme, host: nn.Module, data: Split, recipe: Recipe) -> dict[str, Dead] | None:
    """Return what the carrier of a scheme leaves out of a host; None if it takes no notice, or nobody can know."""
    asked = str(scheme.encoding.parameters.get("carrier", "")).startswith(ALIVE)
    return find_dead(host, data, recipe) if asked and len(data) else None


def dead_layers(alive: Mapping[str, Tensor]) -> list[DeadLayer]:
    """Return how many weights of each layer are dead."""
    found = []
    for name, mask in alive.items():
        left = len(Dead.of(mask).without(mask))
        found.append(DeadLayer(name, mask.numel(), int((~mask).sum()), mask.numel() - left))
    return found


def unmoved(before: nn.Module, after: nn.Module, names: Sequence[str]) -> int:
    """Return how many of these weights differ by less than 3 % of the root mean square of their layer before."""
    old, new = as_weights(before), as_weights(after)
    count = 0
    for name in names:
        weight = old.tensor(name)
        change = (new.tensor(name) - weight).abs()
        count += int((change < STILL * weight.square().mean().sqrt()).sum())
    return count
