"""Runs what is not of this source, in the order of readers, within a budget; what fails holds up nothing else."""

import time
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.execution.time_budget import read_cut
from bench.leaderboard import write
from bench.published.children import Machines, finish, take_over
from bench.published.entries import Entry, Published
from bench.published.provenance import read_provenance
from bench.published.state import FRESH, State, planned, state_of
from bench.records.store import Levels, RecordStore
from bench.support.output_lock import writing
from cwwm.support.errors import BadInput

Kind = Literal["done", "fresh", "left", "failed"]
_OVER = "the budget is used up"


@dataclass(frozen=True)
class Outcome:
    """What became of an entry; `left` and `failed` ones are tried again by the next run."""

    entry: Entry
    kind: Kind
    told: str


@dataclass(frozen=True)
class Runner:
    """Runs entries one after the other.

    Attributes:
        published: the list. machines: where programs run.
        deadline: of `clock`, or None. say: told before each entry. clock: in seconds.
    """

    published: Published
    machines: Machines
    deadline: float | None
    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic

    def run(self, entries: Iterable[Entry]) -> Iterator[Outcome]:
        """Yield what became of each entry; those that a person runs by hand are left out."""
        for entry in entries:
            if not entry.made:
                yield self._run_one(entry)

    def _run_one(self, entry: Entry) -> Outcome:
        seconds = None if self.deadline is None else self.deadline - self.clock()
        state = state_of(entry, self.published)
        if state.fresh:
            return Outcome(entry, "fresh", state.told)
        if state.blocked:
            return Outcome(entry, "failed", state.told)
        if seconds is not None and (reason := self._too_long(entry, seconds)):
            return Outcome(entry, "left", f"{state.told}; {reason}")
        self.say(f"{entry.result}: {state.told}")
        try:
            return self._suite(entry, state, seconds) if entry.suite else self._study(entry, seconds)
        except BadInput as error:
            return Outcome(entry, "failed", str(error))

    def _too_long(self, entry: Entry, seconds: float) -> str:
        """Return why an entry is not begun with so many seconds left, or nothing; what goes on later may begin."""
        made = read_provenance(self.published.folder, entry) if entry.study and not entry.keeps else None
        if seconds <= 0:
            return _OVER
        if made and made.seconds and made.seconds > seconds:
            return f"it took {made.seconds / 60:.0f} minutes, and the budget has {seconds / 60:.0f} left"
        return ""

    def _suite(self, entry: Entry, state: State, seconds: float | None) -> Outcome:
        """Run what is left of a suite: records of this source stay, though another machine may have made them."""
        run, goal = RecordStore(self.machines.folder(entry)), RecordStore(self.published.folder / entry.result)
        take_over(goal, run)
        limit = seconds if self.machines.engine else None  # elsewhere the run itself keeps to its budget
        code = finish(self.machines.suite_command(entry.only(state.left), seconds), self._log(entry), limit)
        if code is None:
            return Outcome(entry, "left", _OVER)
        if code:
            return Outcome(
                entry, "failed", f"exit code {code}; see {self._log(entry)}, cwwm-bench status {run.folder}"
            )
        if cut := read_cut(run.folder):
            return Outcome(entry, "left", f"{cut:,} cells were cut by the budget")
        if entry.then:
            return Outcome(entry, "left", f"run into {run.folder}; publish it with: {entry.then}")
        run.plan(*whole(entry, run, state.settled))
        return self._settled(entry, pack(run, goal))

    def _study(self, entry: Entry, seconds: float | None) -> Outcome:
        if entry.keeps:
            self.machines.kept(entry).parent.mkdir(parents=True, exist_ok=True)
        code = finish(self.machines.study_command(entry, self.published.folder), self._log(entry), seconds)
        if code is None:
            lost = "" if entry.keeps else ", and it begins anew the next time: give it more"
            return Outcome(entry, "left", f"{_OVER}{lost}")
        if code:
            return Outcome(entry, "failed", f"exit code {code}; see {self._log(entry)}")
        return self._settled(entry, f"written: {self.published.folder / entry.result}")

    def _settled(self, entry: Entry, told: str) -> Outcome:
        """Return that an entry is done if what it left is of this source, which may have been edited meanwhile."""
        state = state_of(entry, self.published)
        return Outcome(entry, "done", told) if state.fresh else Outcome(entry, "failed", f"run, but {state.told}")

    def _log(self, entry: Entry) -> Path:
        return self.machines.folder(entry) / "log.txt"


def whole(entry: Entry, run: RecordStore, settled: AbstractSet[str]) -> tuple[str, list[str], Levels]:
    """Return what the run of an entry's last part is noted to cover: all of it, with what was settled before."""
    suite, known = entry.narrowed(), settled | {*run.covered}
    return suite.name, [cell.identity for cell in planned(entry, run, known)], suite.levels


def pack(run: RecordStore, goal: RecordStore) -> str:
    """Pack the records of a run into the folder that publishes them, derive its tables, and say so."""
    run = RecordStore(run.folder)  # its archive may have been read before the run
    run.ensure_packable(goal.folder)
    with writing(goal.folder, "cwwm-bench results"):
        packed = run.pack(goal.folder)
        write(packed)
    return f"{len(packed.records()):,} records packed into {goal.folder}, now {FRESH}"
