"""Engines run cells: one after the other, or in several processes; each yields records once they are on disk."""

from bench.engines.inline import run_inline
from bench.engines.parallel import run_parallel
from bench.engines.worker import Place

__all__ = ["Place", "run_inline", "run_parallel"]
