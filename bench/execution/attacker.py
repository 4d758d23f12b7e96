"""What an attacker of trained models has: data, recipe, networks to build, and the public base if there is one."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from bench.attacks import AttackContext
from bench.execution.model_factory import ModelFactory
from bench.models.registry import build_model, find_models
from bench.suite.cell import HostSpec, attack_seed
from cwwm.schemes import Scheme

if TYPE_CHECKING:
    from bench.suite import AttackEntry


def attacker_context(
    host: HostSpec, attack: "AttackEntry", factory: ModelFactory, scheme: Scheme | None
) -> AttackContext:
    """Return what an attacker has; `scheme` is the public encoding, None where nothing is marked."""
    return AttackContext(
        data=factory.data(host),
        recipe=host.model.recipe,
        seed=attack_seed(host, attack),
        device=factory.device,
        load=lambda name: factory.data(host, name),
        scheme=scheme,
        build=lambda name, seed: _fresh(host, name, seed, factory),
        base=_public_base(host, factory),
    )


def _public_base(host: HostSpec, factory: ModelFactory) -> Callable[[], nn.Module] | None:
    """Return what gives the host as it was before the mark's phase, the base that anybody can have.

    None where that is a network of random weights: nobody publishes such a base.
    """
    if host.model.recipe.train is None and host.model.weights == "random":
        return None
    return lambda: copy.deepcopy(factory.host(host))


def _fresh(host: HostSpec, name: str | None, seed: int, factory: ModelFactory) -> nn.Module:
    """Return an untrained network for the data of a host: of its own architecture, or of timm's `name`.

    Raises:
        BadInput: for a name that timm does not know.
    """
    spec = host.model
    other = (
        spec
        if name is None
        else replace(find_models([name])[0], data=spec.data, size=spec.size, channels=spec.channels)
    )
    fresh = build_model(replace(other, weights="random"), factory.data(host).classes, seed)
    return fresh.to(factory.device)
