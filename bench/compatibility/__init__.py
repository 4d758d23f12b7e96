"""Whether an architecture can be marked at all: built, marked, pruned, read and reloaded, with nothing trained."""

from bench.compatibility.cell import WEIGHTS, architectures, is_untrained

__all__ = ["WEIGHTS", "architectures", "is_untrained"]
