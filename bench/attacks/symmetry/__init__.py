"""Attacks that change the weights and not the function: permuted, rescaled, mixed and inserted channels."""

from bench.attacks.symmetry.insertion import Insertion
from bench.attacks.symmetry.permutation import Permutation
from bench.attacks.symmetry.rescaling import Rescaling
from bench.attacks.symmetry.rotation import Rotation

__all__ = ["Insertion", "Permutation", "Rescaling", "Rotation"]
