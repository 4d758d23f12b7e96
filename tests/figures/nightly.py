"""What docs/nightly.md says of the tests of the gate, by law, and of the baseline."""

from math import comb

from bench.regression.compare import FAMILY_WISE
from tests.figures.registry import claim, rows, word
from tests.figures.sources import trained

PAGE, BASELINE = "docs/nightly.md", "baseline/nightly-cpu"
_MODELS = (1, 2, 3, 5)


def short(p: float) -> str:
    """Return a p-value in two digits, or as a power of ten with one."""
    return f"{p:#.2g}" if p >= 1e-4 else f"{p:.0e}".replace("e-0", "e-")


@rows(PAGE, "seeds a side | one model | two models | three models | five models")
def least_p() -> list[str]:
    return [
        " | ".join([str(seeds), *(short(comb(2 * seeds, seeds) ** -float(models)) for models in _MODELS)])
        for seeds in (2, 3, 4, 6, 8, 12)
    ]


@claim(PAGE, "With a hundred lines, p must fall to about {}.")
def level_of_a_line() -> list[str]:
    return [short(FAMILY_WISE / 100)]


@claim(PAGE, "suite nightly-cpu ({} cells: {} models, {} encodings, {} attacks, {} seeds)")
def baseline() -> list[str]:
    keys = [record.key for record in trained(BASELINE)]
    counts = (len({getattr(key, what) for key in keys}) for what in ("model", "scheme", "attack", "seed"))
    return [str(len(keys)), *map(word, counts)]
