"""A plugin whose scheme survives less than its suite asks for, and a model that it marks in seconds."""

ZOO = """
recipes:
  tiny:
    train: {epochs: 1, batch_size: 128, lr: 0.003}
    mark: {epochs: 1, batch_size: 128, lr: 0.001}
models:
  dense: {timm: lenet300_100, data: digits, size: 16, channels: 1, recipe: tiny}
"""


def lowered(name: str, survive: float) -> str:
    """Return the source of a plugin: `cwc` under another name, made to survive a share of pruning of its own."""
    return f"""
from dataclasses import dataclass, replace

from cwwm.schemes.constant_weight import ConstantWeight


@dataclass(frozen=True, kw_only=True)
class Lowered(ConstantWeight):
    name = "{name}"

    def begin(self, weights, message, key, context):
        return ConstantWeight.begin(replace(self, survive={survive}), weights, message, key, context)
"""
