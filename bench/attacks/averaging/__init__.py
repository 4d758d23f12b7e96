"""Attacks that average a model: with its own past, siblings, its public base, and task vectors."""

from bench.attacks.averaging.interpolation import Interpolation
from bench.attacks.averaging.soup import Soup
from bench.attacks.averaging.task_vectors import Dare, TaskArithmetic, Ties
from bench.attacks.averaging.trajectory import TrajectoryAverage

__all__ = ["Dare", "Interpolation", "Soup", "TaskArithmetic", "Ties", "TrajectoryAverage"]
