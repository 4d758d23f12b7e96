"""Regressions: what got worse between two runs of a suite, and is more than another draw of the seeds would do."""

from bench.regression.compare import FAMILY_WISE, Comparison, Judgement, compare

__all__ = ["FAMILY_WISE", "Comparison", "Judgement", "compare"]
