"""How long tasks take on many slots: a simulation of list scheduling, as a driver does it."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """A task with the seconds that it takes.

    Attributes:
        host: which the tasks of one network share; its first task makes it, and the others wait for that.
        making: seconds of that. own: seconds of all else.
        kind: of tasks that take alike long.
    """

    host: str
    making: float
    own: float
    kind: str = ""


@dataclass(frozen=True)
class Schedule:
    """What a simulation finds, in seconds.

    Attributes:
        makespan: from the first start to the last end. work: of all tasks, what they make included.
        tail: from the moment when a slot has nothing more to do to the end. longest: the longest way that no
            number of slots makes shorter, a host and the longest of its tasks. slots: how many there are.
    """

    makespan: float
    work: float
    tail: float
    longest: float
    slots: int

    @property
    def utilisation(self) -> float:
        """Return the share of the slots' time in which they work, in [0, 1]."""
        return self.work / (self.makespan * self.slots)

    @property
    def bound(self) -> str:
        """Return what keeps the makespan from being shorter, in words."""
        return "one task" if self.longest > self.work / self.slots else "the number of slots"


def simulate(jobs: Sequence[Job], slots: int, overhead: float = 0.0) -> Schedule:
    """Return what list scheduling makes of jobs in their order: a slot that is free takes the first that may begin.

    Args:
        jobs: at least one. slots: that run one each. overhead: seconds of every task, beside its work.
    """
    waiting, free, ready = list(jobs), [0.0] * slots, dict[str, float]()
    ends, idle = [0.0], None
    while waiting:
        now = heapq.heappop(free)
        number = next((n for n, job in enumerate(waiting) if ready.get(job.host, now) <= now), None)
        if number is None:  # all that is left waits for hosts
            heapq.heappush(free, min(ready[job.host] for job in waiting))
            continue
        job = waiting.pop(number)
        made = 0.0 if job.host in ready else job.making
        ready.setdefault(job.host, now + overhead + made)
        ends.append(now + overhead + made + job.own)
        heapq.heappush(free, ends[-1])
        if not waiting:
            idle = min(free)
    hosts = {job.host: job.making for job in jobs}
    work = sum(hosts.values()) + sum(job.own + overhead for job in jobs)
    longest = max(job.making + job.own + overhead for job in jobs)
    return Schedule(max(ends), work, max(ends) - (idle or 0.0), longest, slots)


def longest_first(jobs: Sequence[Job]) -> list[Job]:
    """Return jobs in the order of their length, the longest first."""
    return sorted(jobs, key=lambda job: -job.own)


def as_driven(jobs: Sequence[Job]) -> list[Job]:
    """Return jobs in a driver's order: one of each kind as they are listed, then the longest first."""
    first = {job.kind: number for number, job in reversed(list(enumerate(jobs)))}
    new = sorted(first.values())
    return [jobs[number] for number in new] + longest_first(
        [job for n, job in enumerate(jobs) if n not in set(new)]
    )
