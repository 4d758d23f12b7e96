"""Attacks that change the weights and not the function: permuted, rescaled and inserted channels."""

from bench.attacks.symmetry.insertion import Insertion
from bench.attacks.symmetry.permutation import Permutation
from bench.attacks.symmetry.rescaling import Rescaling

__all__ = ["Insertion", "Permutation", "Rescaling"]
