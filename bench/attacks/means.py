"""What an attacker trains with: images, recipe and budget; one home for all attacks that use data.

A budget is a share of the host's own training, in data and in compute alike: of so large a share of its images,
drawn by the attack's seed, for as many epochs as the host was trained. The images of a smaller share are among
those of a larger one, and calibration images are drawn in the same order, so that one attack after another needs no
more images than that of the two which needs most.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.attacks.base import AttackContext, Cost, Masks, timed
from bench.data import Split
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed
from cwwm.training import Batches, Objective, Recipe, TrainingHook, train

_LEAST = 2  # images; a single one is no batch for batch norm


@dataclass(frozen=True)
class Means:
    """What an attacker trains with.

    Attributes:
        data: images and labels. recipe: how to train on them.
        share: which part of the images offered `data` is.
    """

    data: Split
    recipe: Recipe
    share: float


def attacker_recipe(context: AttackContext, strength: float, epochs: int | None) -> Recipe:
    """Return the host's own training recipe at `strength` times its learning rate."""
    base = context.recipe.train or context.recipe.mark
    return replace(base, lr=base.lr * strength, epochs=epochs or base.epochs)


def check_budget(attack: str, budget: float, epochs: int | None = None) -> None:
    """Raise BadInput for what is no share above 0, and for one below 1 where epochs are given too."""
    if not 0 < budget <= 1:
        raise BadInput(
            f"{attack}: a budget is a share of the host's training, above 0 and at most 1, not {budget:g}"
        )
    if budget < 1 and epochs is not None:
        raise BadInput(f"{attack}: a budget below 1 says how long to train; leave epochs out")


def means(
    context: AttackContext,
    rate: float,
    epochs: int | None,
    budget: float,
    *,
    offered: Split | None = None,
    each: float = 1.0,
    beside: float = 0.0,
) -> Means:
    """Return what an attacker trains with; at a budget of 1 all images, for the epochs given or the host's.

    Args:
        context: of the attack.
        rate: learning rate, relative to the host's.
        epochs: at a budget of 1, if they are not to be the host's.
        budget: share of the host's training, above 0 and at most 1. Below 1 the epochs are as many as fit: all
            passes together are at most that share of the host's, unless a single epoch is more.
        offered: what images are taken from, if not from the training split; as many as there.
        each: passes that an epoch takes for each image (4/3 where a teacher answers beside).
        beside: passes over the images beside training (1/3 where statistics are estimated afterwards).

    Raises:
        BadInput: for a budget that leaves less than two images.
    """
    recipe, images = attacker_recipe(context, rate, epochs), context.data.train if offered is None else offered
    if budget == 1:
        return Means(images, recipe, 1.0)
    data = drawn(images, math.floor(budget * len(context.data.train)), context)
    if len(data) < _LEAST:
        raise BadInput(
            f"a budget of {budget:g} leaves {len(data)} of the images of data set '{context.data.name}', too few "
            "to train on; raise it"
        )
    fitting = max(1, math.floor((recipe.epochs - beside) / each))
    return Means(data, replace(recipe, epochs=fitting), len(data) / len(images))


def drawn(split: Split, count: int, context: AttackContext) -> Split:
    """Return `count` images of a split, all if it has no more, drawn on the CPU from the attack's seed alone.

    The same on every device and at each strength; those of a smaller count are the first of a larger one.
    """
    if count >= len(split):
        return split
    generator = torch.Generator().manual_seed(derive_seed(calibration=context.seed))
    chosen = torch.randperm(len(split), generator=generator)[:count].to(split.x.device)
    return Split(split.x[chosen], split.y[chosen])


class _Counted:
    """Training data that count what was taken of them, so that a training that diverges has a cost too."""

    def __init__(self, data: Batches) -> None:
        self._data = data
        self.steps = self.samples = 0

    def __len__(self) -> int:
        return len(self._data)

    def batches(
        self, batch_size: int, *, seed: int, epoch: int, shift: int, flip: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in self._data.batches(batch_size, seed=seed, epoch=epoch, shift=shift, flip=flip):
            self.steps += 1
            self.samples += len(y)
            yield x, y


def train_or_diverge(
    model: nn.Module,
    given: Means,
    context: AttackContext,
    *,
    masks: Masks | None = None,
    objective: Objective | None = None,
    hook: TrainingHook | None = None,
    trainable: Callable[[str], bool] | None = None,
    each: float = 1.0,
) -> tuple[Cost, bool]:
    """Train in place as `cwwm.training.train` does; return the cost, and whether the loss diverged.

    A diverged model is left as it is: an attacker's bad luck is a result, not a failure of the bench. `each` is as
    of `means`; `hook` sees every step.
    """
    data, diverged = _Counted(given.data), False
    with timed(context.device) as watch:
        try:
            train(
                model,
                data,
                given.recipe,
                seed=context.seed,
                masks=masks,
                objective=objective,
                embedding=hook,
                trainable=trainable,
            )
        except FloatingPointError:
            diverged = True
            model.requires_grad_(True)
    return Cost(watch.seconds, data.steps, data.samples, given.share, each * data.samples), diverged
