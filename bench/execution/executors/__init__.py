"""Executors run cells: one after the other, or in several processes; each yields records once they are on disk."""

from bench.execution.executors.base import Executor, Watch
from bench.execution.executors.processes import Processes
from bench.execution.executors.sequential import Sequential
from bench.execution.executors.worker import Place

__all__ = ["Executor", "Place", "Processes", "Sequential", "Watch"]
