"""Lists for github-action-benchmark, one for what should be large and one for what should be small.

A list of {name, unit, value, range, extra} (its tools customBiggerIsBetter and customSmallerIsBetter). It alerts
on the ratio of two values, which says nothing of negative ones: so evidence is told as -log10 p, which should be
large.
"""

from typing import ClassVar

from bench.exports.base import Export, Source, json_bytes
from bench.exports.lines import EVIDENCE, MEASURES, Line, Measure, rounded


class GitHubActionBenchmark(Export):
    """github-action-benchmark: a page of curves, and alerts beyond a threshold in percent."""

    name: ClassVar[str] = "gha"

    def files(self, source: Source) -> dict[str, bytes]:
        """Return gha-bigger.json and gha-smaller.json."""
        sides = {"gha-bigger.json": True, "gha-smaller.json": False}
        return {file: json_bytes(_entries(source, bigger)) for file, bigger in sides.items()}


def _entries(source: Source, bigger: bool) -> list[dict[str, object]]:
    chosen = [measure for measure in MEASURES if bigger == (measure.bigger_is_better or measure == EVIDENCE)]
    return [_entry(line, measure) for line in source.lines for measure in chosen if measure in line.values]


def _entry(line: Line, measure: Measure) -> dict[str, object]:
    sign = -1.0 if measure == EVIDENCE else 1.0
    name = f"-{measure.name}" if measure == EVIDENCE else measure.name
    ends = sorted(rounded(sign * end) for end in line.interval(measure) or ())
    return {
        "name": f"{line.name}: {name}",
        "unit": measure.unit,
        "value": rounded(sign * line.mean(measure)),
        **({"range": " to ".join(f"{end:g}" for end in ends)} if ends else {}),
        "extra": "seeds: " + " ".join(map(str, line.values[measure])),
    }
