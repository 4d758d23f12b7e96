"""What the function-preserving attacks share: changes are proposed, probed, and made if nothing shows."""

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn

from bench.attacks.base import DATA, Attack, AttackContext, Attacked, Cost, Masks, timed
from bench.attacks.pruning import prunable_tensors
from cwwm.channels.attention import attention_groups
from cwwm.channels.graph import FAILURES, refusing, traced
from cwwm.channels.groups import ChannelGroup, channel_groups
from cwwm.support.errors import BadInput
from cwwm.support.seeds import derive_seed

TOLERANCE = 1e-9  # of the largest logit, in float64; an honest change leaves 1e-14
#: norms whose answer for one channel depends on others, or on the channel's own scale
MIXING_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
_IMAGES = 2  # of the data, and as many of noise, which excites what the data leaves silent


class Change(Protocol):
    """One change to a model that should not change its answers."""

    @property
    def name(self) -> str:
        """Return what is changed, for reports."""
        ...

    def apply(self, model: nn.Module) -> None:
        """Make the change in place."""
        ...


C = TypeVar("C", bound=Change)


class Probe:
    """A copy of the model in float64 on which changes are tried before the model gets them.

    Attributes:
        model: the copy, with all changes that were kept.
        graph: the dependency graph of the model as it came (Torch-Pruning's).
        refused: why changes were not kept, by name.
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        """Copy, trace and run the model; BadInput if it cannot be followed or its answers are not finite."""
        self.model = copy.deepcopy(model).double().eval()
        self.refused: dict[str, str] = {}
        self._images = images.double()
        with refusing("the channels of this network cannot be followed"):
            self.graph = traced(self.model, self._images)
            self._expected = logits(self.model, self._images)
        if not bool(torch.isfinite(self._expected).all()):
            raise BadInput("the answers of this model are not finite, so that nothing can be compared with them")

    def groups(self) -> list[ChannelGroup]:
        """Return all groups of tied channels, those of attention at the end."""
        return [*channel_groups(self.model, self.graph), *attention_groups(self.model)]

    def keep(self, changes: Sequence[C]) -> list[C]:
        """Return the changes that leave the answers alone, made to the copy; if not all at once, by halves."""
        if not changes:
            return []
        reason, trial = self._try(changes)
        if not reason:
            self.model = trial
            return list(changes)
        if len(changes) == 1:
            self.refused[changes[0].name] = reason
            return []
        half = len(changes) // 2
        return self.keep(changes[:half]) + self.keep(changes[half:])

    def _try(self, changes: Sequence[Change]) -> tuple[str, nn.Module]:
        trial = copy.deepcopy(self.model)
        try:
            for change in changes:
                change.apply(trial)
            shown = relative_difference(logits(trial, self._images), self._expected)
        except torch.OutOfMemoryError:  # the bench's to deal with
            raise
        except FAILURES as error:  # a reason to refuse the change, which the report gives
            return f"{type(error).__name__}: {error}".partition("\n")[0], trial
        return ("" if shown <= TOLERANCE else f"the answers change by {shown:.1e}"), trial


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits, (n, classes), in evaluation mode, without the short floats that GPUs convolve with."""
    training = model.training
    cudnn = torch.backends.cudnn
    with cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False):
        answers: Tensor = model.eval()(images)
    model.train(training)
    return answers


def relative_difference(answers: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest |logit| expected; infinite where one is not finite."""
    difference = (answers.double() - expected.double()).abs().max() / expected.double().abs().max()
    return float(torch.nan_to_num(difference, nan=float("inf")))


@dataclass(frozen=True, kw_only=True)
class Symmetry(Attack):
    """Common course of the function-preserving attacks: nothing is trained, no answer changes.

    Torch-Pruning's dependency graph and timm's way to write attention say which channels are tied; a model's
    code may still do with them what neither shows. So every change is first made to a copy in float64 and kept
    only if the answers to a few images stay within 1e-9 of the largest logit (a change that is right leaves
    about 1e-14). What is refused is reported with its reason.
    """

    free: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({DATA})  # a few images

    @torch.no_grad()
    def apply(self, model: nn.Module, strength: float, context: AttackContext) -> Attacked:
        """Change the model in place.

        `achieved` has ``difference``, the largest difference of a logit relative to the largest logit in the
        model's own precision; ``groups``, how many changes were made; ``skipped``, what was not changed, with
        the reason; and what the attack measures of its own.

        Raises:
            BadInput: for a strength out of range, without Torch-Pruning, or for a network that it cannot follow.
        """
        self.check_strength(strength)
        images = _probe_images(context)
        before = {name: tensor.clone() for name, tensor in prunable_tensors(model).items()}
        expected = logits(model, images)
        with timed(context.device) as watch:
            probe = Probe(model, images)
            changes, skipped = self.proposals(probe, strength, context.seed)
            kept = self.keep(probe, changes)
            for change in kept:
                change.apply(model)
            masks = self.carry(model, kept, context.masks)
        achieved = {
            "difference": relative_difference(logits(model, images), expected),
            "groups": len(kept),
            "skipped": {**skipped, **probe.refused},
            **self.measure(model, before, kept),
        }
        return Attacked(model, strength, achieved, masks, Cost(seconds=watch.seconds))

    @abstractmethod
    def check_strength(self, strength: float) -> None:
        """Refuse a strength out of range."""

    @abstractmethod
    def proposals(self, probe: Probe, strength: float, seed: int) -> tuple[Sequence[Any], dict[str, str]]:
        """Return the changes to try, and what is left alone, by name, with the reason."""

    def keep(self, probe: Probe, changes: Sequence[Any]) -> list[Any]:
        """Return the changes to make."""
        return probe.keep(changes)

    def carry(self, model: nn.Module, kept: Sequence[Any], masks: Masks) -> Masks:
        """Return the masks that a former attack holds as they are after these changes."""
        return masks

    @abstractmethod
    def measure(self, model: nn.Module, before: Mapping[str, Tensor], kept: Sequence[Any]) -> dict[str, Any]:
        """Return what this attack achieved, with ``layers``; `before` has all prunable weights as they were."""


def _probe_images(context: AttackContext) -> Tensor:
    images = context.data.test.x[:_IMAGES]
    noise = torch.randn(images.shape, generator=generator(context.seed, "probe"))
    return torch.cat([images, noise.to(images.device)])


def generator(seed: int, name: str) -> torch.Generator:
    """Return the random numbers (on the CPU) of one part of an attack: the same at every strength."""
    return torch.Generator().manual_seed(derive_seed(symmetry=seed, part=name))


def shares(marked: Iterator[tuple[str, Tensor]]) -> dict[str, Any]:
    """Return the share of entries that are True, over all tensors, and by layer."""
    counts = {name: (int(flags.sum()), flags.numel()) for name, flags in marked}
    total = sum(count for count, _ in counts.values()) / max(1, sum(size for _, size in counts.values()))
    return {"moved": total, "layers": {name: count / size for name, (count, size) in counts.items()}}
