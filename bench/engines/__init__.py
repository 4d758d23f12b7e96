"""Engines run cells: one after the other, or in several processes; each yields records once they are on disk."""

from bench.engines.inline import pending, run_inline
from bench.engines.parallel import Place, run_parallel

__all__ = ["Place", "pending", "run_inline", "run_parallel"]
