"""Records of another processor: whole rows with all their seeds, run again and compared as nightly runs are.

Training differs in the last bits there, and then in everything: each seed is another draw of the same law. So what
a record says is tested, not repeated, in both directions, and the message says how large a difference would have
been found.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from bench.records.record import Record
from bench.regression import FAMILY_WISE, compare
from bench.regression.curves import EVIDENCE, EXACT, Place
from bench.regression.pooled_t import FREEDOM
from bench.regression.power import POWER, Seen, could_see
from bench.verification.rebuild import Rebuilt

SEEDS = FREEDOM // 2 + 1  # a side, below which no test is made
SEEDS_FOR_MESSAGES = 8  # below which the exact test cannot find that a message is lost in every one of them
Row = list[Rebuilt]  # of one model, scheme, payload and attack, a seed each


def rows_of(rebuilt: Sequence[Rebuilt]) -> tuple[list[Row], int]:
    """Return the rows with enough seeds to be tested, and how many records stand in the others."""
    groups: dict[tuple[object, ...], list[Rebuilt]] = defaultdict(list)
    for one in rebuilt:
        groups[one.record.key.curve].append(one)
    enough = [row for row in groups.values() if len(row) >= SEEDS]
    return enough, len(rebuilt) - sum(map(len, enough))


def disagreements(recorded: Sequence[Record], again: Sequence[Record]) -> Iterator[str]:
    """Yield where two sets of records of the same rows differ beyond what seeds do, one line each."""
    for one, other, direction in ((recorded, again, "better"), (again, recorded, "worse")):
        found = compare(one, other)
        for line in found.regressions:
            sides = (line.before, line.after) if direction == "better" else (line.after, line.before)
            yield (
                f"{_place(line.place)}: {line.metric} is {sides[0].mean:.4g} in the records and "
                f"{sides[1].mean:.4g} when run again, {direction} than chance allows (adjusted p {line.p:.1e})"
            )
        for place, reason in found.lost.items():
            where = "run again it gives no result" if direction == "better" else "only run again it gives results"
            yield f"{_place(place)}: {where} ({reason})"


def power_lines(recorded: Sequence[Record], again: Sequence[Record]) -> Iterator[str]:
    """Yield what the comparison could have seen, a line a row and attack."""
    by_place: dict[Place, list[Seen]] = defaultdict(list)
    for seen in could_see(recorded, again):
        by_place[seen.place].append(seen)
    yield f"differences that {POWER:.0%} of such checks find, at a family-wise error of {FAMILY_WISE:g}:"
    for place, lines in by_place.items():
        yield f"  {_place(place)}, {lines[0].seeds[0]} seeds: " + "; ".join(map(_words, lines))


def _words(seen: Seen) -> str:
    if seen.metric == EXACT:
        return "a message lost in every seed" if seen.change is None else "none of messages, for want of seeds"
    unit = "log10 p" if seen.metric == EVIDENCE else "accuracy"
    if seen.change is None or math.isnan(seen.change):
        return f"none of {unit}"
    return f"{unit} {seen.mean:.1f} to {seen.change:.1f}"


def _place(place: Place) -> str:
    mark = f"{place.scheme}, {place.payload} bits, {place.attack}" if place.payload else place.scheme
    return f"{place.model}, {mark}"
