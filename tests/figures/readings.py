"""What README and docs/findings.md say of every encoding in every reading: from the page of the readings."""

from tests.figures.registry import claim, holds
from tests.figures.sources import table

README, PAGE, STUDY = "README.md", "docs/findings.md", "readings.md"
ENCODING, READ, SURVIVED = 0, 1, 7  # columns; the last is S(1) with free moves, "kept/embedded"


def shares(reading: str) -> dict[str, float]:
    """Return the share of embedded runs that keep their message, of each line that has any, in one reading."""
    rows = [row for row in table(STUDY, "encoding", "tiers 0 to 2") if row[READ] == reading]
    counts = {row[ENCODING]: row[SURVIVED].split("/") for row in rows if row[SURVIVED] != "-"}
    return {encoding: int(kept) / int(embedded) for encoding, (kept, embedded) in counts.items()}


@claim(
    README,
    "Of {} lines that are read without it none keeps more than {} of its messages once free moves of channels "
    "count,",
)
@claim(
    PAGE,
    "none of {} lines that are read blind or without the scales of channels keeps more than {} of its messages;",
)
def without_the_copy() -> list[str]:
    blind, scaled = shares("blind"), shares("per-channel")
    holds(scaled.keys() <= blind.keys(), "all are read blind")
    return [str(len(blind)), f"{max(*blind.values(), *scaled.values()):.2f}"]


@claim(README, "matched to it, {} of {} keep every message that was embedded.")
@claim(PAGE, "aligned to the owner's copy, {} of {} keep every message that was embedded.")
def with_it() -> list[str]:
    kept = list(shares("aligned").values())
    return [str(sum(share == 1 for share in kept)), str(len(kept))]
