"""Interpolation of the marked model with its public base or with a sibling, straight or along a great circle."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.attacks.averaging.base import OnBase, Training
from bench.attacks.averaging.family import BASE_MODEL, Family, Sibling
from bench.metrics.tiers import Tier, tier_of_share
from cwwm.support.errors import BadInput

SIBLING = "sibling"
LINEAR, SLERP = "linear", "slerp"
_PARALLEL = 0.9995  # cosine from which slerp is linear, as in mergekit


@dataclass(frozen=True, kw_only=True)
class Interpolation(Training, OnBase):
    """Goes a part s of the way from the marked model to another one.

    With the base this is WiSE-FT (arXiv 2109.01903, section 3): w = base + l (marked - base), l = 1 - s. Law: what
    reads a mark by a sum over weights, such as spread spectrum, reads l times the mark, beside what the base reads:
    at l a message of amplitude-to-noise ratio r is one of l r, while constant-weight codes keep a one as long as it
    stays above its block, l (marked - base) > the base's gap.

    Attributes:
        other: ``"base"``, or ``"sibling"``: a model that the attacker trains from the base on other batches.
        path: ``"linear"``, or ``"slerp"`` (Shoemake 1985), for each parameter tensor by itself: with the angle o
            between both, taken as vectors, (sin((1 - s) o) marked + sin(s o) other) / sin o, and straight where the
            cosine is beyond 0.9995 or a tensor is zero (as mergekit does it).
    """

    name: ClassVar[str] = "interpolate"
    strength: ClassVar[str] = "weight of the other model, from 0 to 1"

    other: str = BASE_MODEL
    path: str = LINEAR

    def __post_init__(self) -> None:
        """Refuse an unknown model or path."""
        super().__post_init__()
        if self.other not in (BASE_MODEL, SIBLING):
            raise BadInput(f"interpolate: other is '{BASE_MODEL}' or '{SIBLING}', not '{self.other}'")
        if self.path not in (LINEAR, SLERP):
            raise BadInput(f"interpolate: path is '{LINEAR}' or '{SLERP}', not '{self.path}'")

    @property
    def own_tier(self) -> Tier:
        """Return the tier by the budget of a sibling, or by the statistics alone: nobody trains the public base."""
        return tier_of_share(self.budget if self.other == SIBLING else self.statistics)

    def check_strength(self, strength: float) -> None:
        """Refuse what is no weight."""
        self.share(strength, "the weight of the other model")

    def siblings(self, family: Family, strength: float) -> list[Sibling]:
        """Return the sibling, if it is the other model."""
        return family.siblings(1, BASE_MODEL) if self.other == SIBLING else []

    def merged(self, family: Family, siblings: Sequence[Tensor], strength: float) -> Tensor:
        """Return the parameters on the way."""
        (other,) = siblings or [family.base]
        if self.path == LINEAR:
            return family.marked.lerp(other, strength)
        pairs = zip(family.tensors(family.marked), family.tensors(other), strict=True)
        return torch.cat([slerp(one, two, strength) for one, two in pairs])


def slerp(start: Tensor, end: Tensor, weight: float) -> Tensor:
    """Return the point at `weight` on the great circle from `start` to `end`, both (n,); see `Interpolation`."""
    cosine = torch.dot(start, end) / (start.norm() * end.norm())
    if not bool(cosine.abs() <= _PARALLEL):
        return start.lerp(end, weight)
    angle = torch.acos(cosine)
    return (torch.sin((1 - weight) * angle) * start + torch.sin(weight * angle) * end) / torch.sin(angle)
