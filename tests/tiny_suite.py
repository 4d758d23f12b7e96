"""A zoo and a suite that run in seconds, on a real network and real data."""

from pathlib import Path

ZOO = """
recipes:
  tiny:
    train: {epochs: 2, batch_size: 64, lr: 0.006, shift: 1}
    mark: {epochs: 1, batch_size: 64, lr: 0.002}
models:
  tiny: {timm: test_resnet, data: digits, size: 16, recipe: tiny}
"""

SUITE = """
description: a tiny suite for tests
models: [tiny]
seeds: 2
payloads: [64]
schemes:
  - {name: cwc, carrier: body, survive: 0.9}
  - {name: sign-repetition, carrier: body, repetition: 5}
attacks:
  - {name: magnitude, strengths: [0.5, 0.89, 0.95]}
  - {name: random, strengths: [0.02, 0.3]}
  - {name: structured, strengths: [0.3]}
  - {name: then, first: magnitude, second: bn, strengths: [0.8]}
"""
CELLS = 16


def write_tiny(folder: Path) -> Path:
    """Write models.yaml and tiny.yaml into a folder, and return it."""
    (folder / "models.yaml").write_text(ZOO)
    (folder / "tiny.yaml").write_text(SUITE)
    return folder
