"""Engines run cells: one after the other here; a distributed engine has the same shape."""

from bench.engines.inline import run_inline

__all__ = ["run_inline"]
