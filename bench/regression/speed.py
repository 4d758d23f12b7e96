"""Speed of two commits, measured in turn on the same machine in the same job: the only way it is judged.

Times of different days differ by what else the machine did; those of neighbouring minutes hardly. Each pair runs
`stopwatch` once with either side's own Python and tree, each time in a fresh process, the order changing from pair
to pair. The median ratio of new to old has a distribution-free interval, that of the sign test, at the family-wise
error over all timings.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from scipy.stats import binom
from tabulate import tabulate

from bench.regression.compare import FAMILY_WISE
from bench.support.git import ROOT, resolve
from cwwm.support.errors import BadInput

SCHEMES = ("protected-cwc", "cwc", "sign-repetition", "spread-spectrum")
TOLERANCE = 0.05  # a median that grew by less is no regression, however sure it is
_STOPWATCH = Path(__file__).with_name("stopwatch.py")

Timings = Mapping[str, float]


@dataclass(frozen=True)
class Side:
    """One of two versions: a Python with its dependencies, and the tree that holds its cwwm."""

    python: str
    tree: Path

    def measure(self, schemes: Sequence[str]) -> dict[str, float]:
        """Return the seconds of each timing, from a process of its own."""
        paths = {"PYTHONPATH": str(self.tree), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [self.python, str(_STOPWATCH), *schemes],
            env={**os.environ, **paths},
            cwd=self.tree,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise BadInput(f"{self.tree} cannot be timed: {(done.stderr.strip() or 'no reason given')[-300:]}")
        return {name: float(value) for name, value in json.loads(done.stdout).items()}


@dataclass(frozen=True)
class Ratio:
    """How many times as long the new side takes.

    Attributes:
        name: of the timing. median: of new over old. low: bound below which the true median does not lie.
        pairs: measured.
    """

    name: str
    median: float
    low: float
    pairs: int

    @property
    def is_slower(self) -> bool:
        """Say whether the new side is slower beyond its interval and the tolerance."""
        return self.low > 1 + TOLERANCE


def this_side() -> Side:
    """Return the version that is running."""
    return Side(sys.executable, ROOT)


def side_of(commit: str, folder: Path, say: Callable[[str], None]) -> Side:
    """Return a commit of this repository, checked out below `folder` with an environment of its own.

    Raises:
        BadInput: if git does not know the commit, or its ``make setup`` fails.
    """
    full = resolve(commit)
    tree = (folder / full).resolve()
    if not tree.exists():
        say(f"checking out {full[:10]}")
        _do("git", "-C", str(ROOT), "worktree", "add", "--force", "--detach", str(tree), full)
    say(f"make setup for {full[:10]}")
    _do("make", "--no-print-directory", "-C", str(tree), "setup")
    return Side(str(tree / ".venv/bin/python"), tree)


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BadInput(f"'{' '.join(command)}' failed: {done.stderr.strip()[-300:]}")


def alternate(
    old: Side, new: Side, pairs: int, say: Callable[[str], None], schemes: Sequence[str] = SCHEMES
) -> list[tuple[Timings, Timings]]:
    """Return (old, new) timings of so many pairs of runs; old goes first in every other one."""
    needed = pairs_needed(2 * len(schemes))
    if pairs < needed:
        raise BadInput(
            f"{pairs} pairs cannot show anything at a family-wise error of {FAMILY_WISE:g}; take {needed}"
        )
    measured: list[tuple[Timings, Timings]] = []
    for number in range(pairs):
        first, second = (old, new) if number % 2 == 0 else (new, old)
        timings = {side: side.measure(schemes) for side in (first, second)}
        measured.append((timings[old], timings[new]))
        say(f"pair {number + 1} of {pairs}")
    return measured


def pairs_needed(timings: int) -> int:
    """Return the least number of pairs from which so many timings can be told apart at all."""
    return next(n for n in range(1, 1000) if 0.5**n <= FAMILY_WISE / timings)


def ratios(measured: Sequence[tuple[Timings, Timings]]) -> list[Ratio]:
    """Return the ratio of each timing that both sides have."""
    names = [name for name in measured[0][0] if name in measured[0][1]]
    rank = int(binom.ppf(FAMILY_WISE / len(names), len(measured), 0.5)) - 1  # cdf(rank) is still below the level
    found = []
    for name in names:
        values = sorted(new[name] / old[name] for old, new in measured)
        found.append(Ratio(name, median(values), values[rank] if rank >= 0 else 0.0, len(values)))
    return found


def ratio_table(found: Sequence[Ratio]) -> str:
    """Return the ratios as a Markdown table."""
    rows = [(r.name, f"{r.median:.3f}", f"{r.low:.3f}", r.pairs, "slower" if r.is_slower else "") for r in found]
    columns = ("timing", "new / old, median", "at least", "pairs", "")
    return tabulate(rows, columns, tablefmt="github", disable_numparse=True)
