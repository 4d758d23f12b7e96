"""Derives figures of the pages that are chosen at random: ``python -m tests.figures --seed 7 --count 10``."""

import argparse
import random
import sys
from collections.abc import Sequence

from tests.figures.derived import figures
from tests.figures.registry import Found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the chosen figures, each with its sentence and what was derived; return 1 unless all agree."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="of the choice; drawn, and printed, if not given")
    parser.add_argument("--count", type=int, default=10, help="how many figures")
    chosen = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(10**6) if chosen.seed is None else chosen.seed
    every = figures()
    sample = random.Random(seed).sample(every, min(chosen.count, len(every)))
    print(f"{len(sample)} of {len(every)} figures, seed {seed}\n")
    print("\n\n".join(map(shown, sample)))
    print(f"\n{sum(found.agrees for found in sample)} of {len(sample)} agree with what is committed")
    return 0 if all(found.agrees for found in sample) else 1


def shown(found: Found) -> str:
    """Return a figure with its sentence, what was derived, and whether they agree."""
    derived = "nothing derives it" if found.derived is None else found.derived or "nothing"
    verdict = "agrees" if found.agrees else f"DIFFERS{f': untrue that {found.fault}' if found.fault else ''}"
    statement = found.statement
    return (
        f"{statement.page}, {statement.heading}: {statement.text}\n"
        f"  says {found.figure}, derived {derived}: {verdict}"
    )


if __name__ == "__main__":
    sys.exit(main())
