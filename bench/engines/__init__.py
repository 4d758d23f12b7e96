"""Engines run cells: one after the other, or in several processes; each yields records once they are on disk."""

from bench.engines.inline import pending, record_of, run_inline
from bench.engines.parallel import Place, run_parallel

__all__ = ["Place", "pending", "record_of", "run_inline", "run_parallel"]
