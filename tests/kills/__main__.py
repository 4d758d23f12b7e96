"""Kills commands with SIGKILL at random moments: N=60 SEED=0 python -m tests.kills [VICTIM ...].

N is the number of kills of all commands together, spread over each one's duration, which is measured once. Prints
what was found whole and what was absent after them, and exits with 1 if anything was damaged.
"""

import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

from tabulate import tabulate

from tests.kills.bench_victims import Exports, Leaderboard, Pack, Parent, Run, Worker
from tests.kills.owner_victims import Embed, EmbedShards, Keygen, Replace, Rivals
from tests.kills.stage import Stage, set_stage
from tests.kills.victim import Victim

VICTIMS: tuple[type[Victim], ...] = (
    Run,
    Parent,
    Worker,
    Pack,
    Exports,
    Leaderboard,
    Embed,
    EmbedShards,
    Replace,
    Keygen,
    Rivals,
)
COLUMNS = ("command", "seconds", "kills", "found whole", "absent", "left over, harmless", "damage")


def main() -> int:
    """Kill, print the table, and return the exit code."""
    total, seed = int(os.environ.get("N", "60")), int(os.environ.get("SEED", "0"))
    with tempfile.TemporaryDirectory() as folder:
        stage = set_stage(Path(folder))
        names = [name.lower() for name in sys.argv[1:]]
        chosen = [kind for kind in VICTIMS if not names or kind.__name__.lower() in names]
        killed = list(kills(stage, Path(folder), total, seed, chosen))
    print(tabulate(map(row, killed), COLUMNS, disable_numparse=True))
    for victim in killed:
        print(*victim.tally.damage, sep="\n", end="\n" * bool(victim.tally.damage))
    return 1 if any(victim.tally.damage for victim in killed) else 0


def kills(
    stage: Stage, folder: Path, total: int, seed: int, kinds: Sequence[type[Victim]] = VICTIMS
) -> Iterator[Victim]:
    """Kill each command its share of the times, run it to its end after that, and yield it."""
    shares = Counter(islice(cycle(kind for kind in kinds for _ in range(kind.weight)), total))
    for kind, share in shares.items():
        moments, began = random.Random(f"{seed} {kind.name}"), time.monotonic()
        victim = kind(stage, folder / kind.__name__.lower())
        for _ in range(share):
            victim.kill(moments)
        victim.finish()
        took = f"{time.monotonic() - began:.0f} s"
        print(f"{victim.name}: {victim.tally}, {took}", file=sys.stderr, flush=True)
        yield victim


def row(victim: Victim) -> tuple[object, ...]:
    """Return the line of a command."""
    tally = victim.tally
    found = (tally.kills, tally.whole, tally.absent, tally.left, len(tally.damage) or "none")
    return (victim.name, f"{victim.seconds:.1f}", *found)


if __name__ == "__main__":
    sys.exit(main())
