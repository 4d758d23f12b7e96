"""From Python: one call marks a trained model, attacks it, and says what survives."""

from bench.evaluation.call import evaluate
from bench.evaluation.result import Evaluation, Row

__all__ = ["Evaluation", "Row", "evaluate"]
