"""Loads the schemes and attacks of plugins for a run, in this process or a worker's."""

from collections.abc import Iterable

from bench.attacks import ATTACKS, Attack
from cwwm import plugins
from cwwm.plugins import SCHEME_PLUGINS, Registry

ATTACK_PLUGINS = Registry("attack", Attack, ATTACKS, "bench.attacks")


def load_plugins(modules: Iterable[str] | None = ()) -> None:
    """Add installed plugins and those that modules define to both registries; see `cwwm.plugins.load_plugins`."""
    plugins.load_plugins(modules or (), (SCHEME_PLUGINS, ATTACK_PLUGINS))
