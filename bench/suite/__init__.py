"""What to run: the file of a suite and the calibration beside it, read strictly, and narrowed."""

from bench.suite.entries import AttackEntry, SchemeEntry, Tune
from bench.suite.load import SUITES, Suite, load_suite, suite_names
from bench.suite.narrow import narrow

__all__ = ["SUITES", "AttackEntry", "SchemeEntry", "Suite", "Tune", "load_suite", "narrow", "suite_names"]
