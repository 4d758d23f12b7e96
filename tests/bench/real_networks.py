"""Three kinds of timm's networks, untrained but with nothing at its initial value, and who attacks them."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.attacks import AttackContext
from bench.attacks.base import Attacked
from bench.attacks.pruning import prunable_tensors
from bench.attacks.registry import make_attack
from bench.attacks.symmetry.base import logits
from bench.studies.symmetry import attacker as attacker_of
from bench.studies.symmetry import randomised

SIZE = 32
RESIDUAL, ATTENTION, MOBILE = "test_resnet", "test_vit", "mobilenetv3_small_050"
NETWORKS: dict[str, dict[str, Any]] = {
    RESIDUAL: {},
    ATTENTION: {"img_size": SIZE, "patch_size": 8},
    MOBILE: {},
}
#: the mobile network, the slowest of them, is tried by `make test-slow`
EACH = [pytest.param(name, marks=pytest.mark.slow) if name == MOBILE else name for name in NETWORKS]


def real_network(name: str) -> nn.Module:
    return randomised(name, **NETWORKS[name])


@cache
def attacker() -> AttackContext:
    return attacker_of(SIZE, torch.device("cpu"))


def attacked(
    model: nn.Module, spec: str | Mapping[str, object], strength: float, context: AttackContext | None = None
) -> Attacked:
    return next(make_attack(spec, "test")(model, [strength], context or attacker()))


def change_of_answers(model: nn.Module, other: nn.Module) -> float:
    """Return the squared change of the logits of a hundred images, relative to their squares."""
    images = attacker().data.test.x[:100]
    before = logits(model, images)
    return float((logits(other, images) - before).square().sum() / before.square().sum())


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in prunable_tensors(model).items()}


def flat(model: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in prunable_tensors(model).values()])
