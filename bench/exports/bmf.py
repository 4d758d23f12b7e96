"""Bencher's metric format: a benchmark a line, a measure each for messages, evidence, accuracy and time.

{benchmark: {measure: {value, lower_value, upper_value}}}; names have at most 1,024 characters, measures 64
(bencher.dev/docs/reference/bencher-metric-format, and the JSON Schema there). The names of a record have at most
300 each, so that three of them fit.
"""

from typing import ClassVar

from bench.exports.base import Export, Source, json_bytes
from bench.exports.lines import Line, Measure


class BencherFormat(Export):
    """Bencher (bencher run --adapter json), the one of these that keeps intervals."""

    name: ClassVar[str] = "bmf"

    def files(self, source: Source) -> dict[str, bytes]:
        """Return bmf.json."""
        return {"bmf.json": json_bytes({line.name: _measures(line) for line in source.lines})}


def _measures(line: Line) -> dict[str, dict[str, float]]:
    return {measure.slug: _metric(line, measure) for measure in line.values}


def _metric(line: Line, measure: Measure) -> dict[str, float]:
    ends = line.interval(measure) or ()
    return {"value": line.mean(measure), **dict(zip(("lower_value", "upper_value"), ends, strict=False))}
