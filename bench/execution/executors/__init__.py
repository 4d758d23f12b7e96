"""Engines run cells: one after the other, or in several processes; each yields records once they are on disk."""

from bench.execution.executors.processes import run_parallel
from bench.execution.executors.sequential import run_inline
from bench.execution.executors.worker import Place

__all__ = ["Place", "run_inline", "run_parallel"]
