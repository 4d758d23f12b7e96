"""Whether an architecture can be marked at all: built, marked, pruned, read and reloaded, with nothing trained."""

from bench.compatibility.cell import TRIAL, WEIGHTS, UntrainedCell, architectures, is_untrained

__all__ = ["TRIAL", "WEIGHTS", "UntrainedCell", "architectures", "is_untrained"]
