"""What docs/nightly.md says of the tests of the gate, by law, and of what the study of its alarms found."""

import re
from math import comb

from bench.regression.compare import FAMILY_WISE
from bench.regression.curves import ACCURACY, EVIDENCE, EXACT
from bench.studies.false_alarms import FOUND
from tests.figures.registry import claim, holds, rows, word
from tests.figures.sources import percent, table, trained, words

PAGE, BASELINE, STUDY = "docs/nightly.md", "baseline/nightly-cpu", "false-alarms.md"
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


@claim(
    PAGE,
    "suite nightly-cpu ({} cells: {} models, {} encodings, {} attacks, {} seeds) with runs of the same source.",
)
def baseline() -> list[str]:
    keys = [record.key for record in trained(BASELINE)]
    counts = (len({getattr(key, what) for key in keys}) for what in ("model", "scheme", "attack", "seed"))
    return [str(len(keys)), *map(word, counts)]


@claim(PAGE, "Of {} readings that were made again under equal conditions {} changed.")
def repeated() -> list[str]:
    found = re.search(r"Of (\d+) readings that were made again, (\d+) changed", words(STUDY))
    assert found
    return list(found.groups())


@claim(
    PAGE,
    "Of {} nights that were drawn under other conditions without a change {} raised an alarm, with {} "
    "seeds as with {}.",
)
def quiet_nights() -> list[str]:
    few, many = table(STUDY, "seeds of the night")
    holds(few[1:3] == many[1:3], "as many nights and alarms with few seeds")
    return [*many[1:3], word(int(many[0])), word(int(few[0]))]


def _found(metric: str) -> list[str]:
    """Return the smallest drop of a metric that is found: equal conditions, few seeds elsewhere, all of them."""
    (row,) = (row for row in table(STUDY, "metric") if row[0] == metric)
    return [cell.split(" (")[0] for cell in row[2:]]


@claim(
    PAGE,
    "What is found in {} % of nights, if all readings of one scheme under one attack get worse, on every "
    "host: {} point of accuracy under equal conditions, and {} points elsewhere with {} seeds; log10 p "
    "weaker by {} %, and by {} %; the messages of {} seed, and those of all {}.",
)
def smallest_drops() -> list[str]:
    seeds = word(int(table(STUDY, "seeds of the night")[-1][0]))
    accuracy, evidence, message = (_found(metric) for metric in (ACCURACY, EVIDENCE, EXACT))
    return [percent(FOUND), accuracy[0], accuracy[2], seeds, evidence[0], evidence[2], message[0], message[2]]


@claim(PAGE, "With three seeds no loss of accuracy is found elsewhere, and no lost message.")
def few_seeds() -> list[str]:
    holds(all(_found(metric)[1].startswith("none") for metric in (ACCURACY, EXACT)), "none is found with three")
    return []
