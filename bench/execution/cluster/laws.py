"""What a driver decides, as functions of what it sees: what begins, how much of a GPU it takes, what is tried anew.

Nothing here knows an engine, a clock or a file.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

RETRIES = 3  # of a cell whose worker or node was lost; an exception is a record, and no loss
IN_FLIGHT = 2  # tasks at most, in multiples of what can run at once
_PARTS = 8  # of a GPU
_CONTEXT = 512 << 20  # bytes that CUDA takes in each process beside its tensors


@dataclass(frozen=True)
class Task:
    """The cells of one marked model that are still to be run.

    Attributes:
        mark: identity of the marked model. host: identity of its unmarked control, which tasks share; empty where
            nothing is trained. model: its name.
        cells: identities, in order. kind: of tasks that take alike long.
        share: of a GPU, or of the processors of a task. doubled: its memory did not do, and it has more now.
        suspect: the cell whose worker was lost last. losses: how often in a row it was.
        rests: the time before which it is not to begin.
    """

    mark: str
    host: str
    model: str
    cells: tuple[str, ...]
    kind: str = ""
    share: float = 1.0
    doubled: bool = False
    suspect: str = ""
    losses: int = 0
    rests: float = 0.0


def without(task: Task, settled: Collection[str]) -> Task | None:
    """Return what is left of a task; None if nothing is."""
    left = tuple(cell for cell in task.cells if cell not in settled)
    return replace(task, cells=left) if left else None


def to_begin(
    waiting: Sequence[Task], in_flight: Collection[Task], ready: Collection[str], slots: float, now: float
) -> list[Task]:
    """Return the tasks to be handed over now, in order.

    One task makes the models that those of a host share, and the others wait until these are there. What is in
    flight takes at most `IN_FLIGHT` times what can run at once, but one task may always be.

    Args:
        waiting: tasks in their order. in_flight: those handed over. ready: hosts whose shared models are there.
        slots: how many whole shares can run at once. now: the time.
    """
    makes = {task.host for task in in_flight}
    taken, chosen = sum(task.share for task in in_flight), list[Task]()
    for task in waiting:
        if (in_flight or chosen) and taken + task.share > IN_FLIGHT * slots:
            break
        if task.rests > now or (task.host and task.host not in ready and task.host in makes):
            continue
        chosen.append(task)
        makes.add(task.host)
        taken += task.share
    return chosen


def longest_first(waiting: Sequence[Task], seconds: Mapping[str, float]) -> list[Task]:
    """Return tasks in the order in which they are to begin: a long one that begins last keeps all others waiting.

    Args:
        waiting: tasks. seconds: of a cell, by the kind of task; tasks of a kind that is not known come first.
    """
    return sorted(waiting, key=lambda task: -len(task.cells) * seconds.get(task.kind, math.inf))


def gpu_share(peak: int | None, card: int | None) -> float:
    """Return the part of a GPU, in eighths, that a task may claim.

    Args:
        peak: bytes of tensors that the model's tasks have reserved at most, or None before the first.
        card: bytes of the smallest GPU, or None if that is unknown; without either it is a whole one.
    """
    if peak is None or not card:
        return 1.0
    return min(1.0, max(1, math.ceil(_PARTS * (peak + _CONTEXT) / card)) / _PARTS)


def after_loss(task: Task, settled: Collection[str]) -> tuple[Task | None, str | None]:
    """Return what is tried again of a task whose worker was lost, and the cell that is given up, if any.

    Cells are run in order: the first one without a new record was in hand. It is tried `RETRIES` times more.
    """
    left = without(task, settled)
    if left is None:
        return None, None
    suspect = left.cells[0]
    losses = 1 + (task.losses if suspect == task.suspect else 0)
    if losses <= RETRIES:
        return replace(left, suspect=suspect, losses=losses), None
    return without(replace(left, suspect="", losses=0), {suspect}), suspect


def with_more_memory(task: Task, statuses: Mapping[str, str]) -> Task | None:
    """Return the cells that ran out of a part of a GPU, with twice that, once; None if there is nothing to gain."""
    starved = tuple(cell for cell, status in statuses.items() if status == "out-of-memory")
    if not starved or task.doubled or task.share >= 1:
        return None
    return replace(task, cells=starved, share=min(1.0, 2 * task.share), doubled=True)
