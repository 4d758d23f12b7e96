"""What a driver decides, in every order in which tasks can end: nothing is lost, nothing is done without end."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.execution.cluster.laws import (
    IN_FLIGHT,
    RETRIES,
    Task,
    after_loss,
    gpu_share,
    longest_first,
    to_begin,
    with_more_memory,
    without,
)

GIB = 1 << 30


def tasks(count: int, hosts: int, cells: int) -> list[Task]:
    names = [tuple(f"{mark}.{cell}" for cell in range(cells)) for mark in range(count)]
    return [Task(str(mark), f"host {mark % hosts}" if hosts else "", "m", names[mark]) for mark in range(count)]


@given(
    st.integers(1, 12), st.integers(0, 4), st.integers(1, 4), st.integers(1, 3), st.sets(st.integers(0, 11)),
    st.randoms(use_true_random=False),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_cell_ends_once_however_workers_are_lost(
    count: int, hosts: int, cells: int, slots: int, poisoned: set[int], moments: random.Random
) -> None:
    """The first cell of a poisoned mark ends every worker; besides, workers are lost at any cell by chance."""
    waiting, in_flight, ready = tasks(count, hosts, cells), list[Task](), set[str]()
    poison = {f"{mark}.0" for mark in poisoned if mark < count}
    done, given_up, lost_at = set[str](), set[str](), dict[str, int]()
    while waiting or in_flight:
        begun = to_begin(waiting, in_flight, ready, slots, 0.0)
        assert begun or in_flight, "it stands still"
        waiting = [task for task in waiting if task not in begun]
        in_flight += begun
        assert len(in_flight) <= max(1, IN_FLIGHT * slots)
        makers = [task.host for task in in_flight if task.host and task.host not in ready]
        assert len(makers) == len(set(makers)), "two tasks make one host"
        task = in_flight.pop(moments.randrange(len(in_flight)))
        by_chance = task.cells[moments.randrange(cells) % len(task.cells)] if moments.random() < 0.2 else None
        end = next((i for i, cell in enumerate(task.cells) if cell in poison or cell == by_chance), None)
        new = set(task.cells[:end])
        assert not new & (done | given_up)
        done |= new
        if new:
            ready.add(task.host)
        if end is None:
            continue
        lost_at[task.cells[end]] = lost_at.get(task.cells[end], 0) + 1
        left, lost = after_loss(task, new)
        given_up |= {lost} if lost else set()
        waiting += [left] if left else []
    assert done | given_up == {cell for task in tasks(count, hosts, cells) for cell in task.cells}
    assert poison <= given_up
    assert all(lost_at[cell] == RETRIES + 1 for cell in given_up)


def test_a_task_may_begin_whose_share_is_more_than_there_is_and_one_that_rests_may_not() -> None:
    (task,) = tasks(1, 0, 1)
    assert to_begin([task], [], (), 0.25, 0.0) == [task]
    assert to_begin([replace(task, rests=2.0)], [], (), 1, 1.0) == []
    eighths = [replace(task, mark=str(n), share=0.125) for n in range(40)]
    assert to_begin(eighths, [], (), 1, 0.0) == eighths[:16]


def test_records_of_others_count_as_done() -> None:
    (task,) = tasks(1, 1, 3)
    assert without(task, {"0.1"}) == replace(task, cells=("0.0", "0.2"))
    assert without(task, task.cells) is None
    assert after_loss(task, task.cells) == (None, None)


@pytest.mark.parametrize(
    ("peak", "card", "share"),
    [
        (None, 80 * GIB, 1.0),
        (GIB, None, 1.0),
        (0, 80 * GIB, 1 / 8),
        (9 * GIB, 80 * GIB, 1 / 8),
        (int(9.5 * GIB), 80 * GIB, 1 / 8),
        (10 * GIB, 80 * GIB, 2 / 8),
        (79 * GIB, 80 * GIB, 1.0),
        (200 * GIB, 80 * GIB, 1.0),
    ],
)
def test_the_share_of_a_gpu_is_measured_memory_rounded_up_to_eighths(
    peak: int | None, card: int | None, share: float
) -> None:
    assert gpu_share(peak, card) == share


def test_the_longest_task_begins_first_once_its_kind_is_known() -> None:
    kinds = [replace(task, kind=kind) for task, kind in zip(tasks(4, 0, 3), "abca", strict=True)]
    assert longest_first(kinds, {}) == kinds
    short = replace(kinds[3], cells=kinds[3].cells[:1])
    order = longest_first([*kinds[:3], short], {"a": 1.0, "b": 2.0})
    assert [(task.kind, len(task.cells)) for task in order] == [("c", 3), ("b", 3), ("a", 3), ("a", 1)]


def test_too_little_memory_doubles_the_claim_once() -> None:
    (task,) = tasks(1, 0, 3)
    ended = {"0.0": "ok", "0.1": "out-of-memory", "0.2": "out-of-memory"}
    more = with_more_memory(replace(task, share=0.375), ended)
    assert more == replace(task, cells=("0.1", "0.2"), share=0.75, doubled=True)
    assert with_more_memory(more, ended) is None
    assert with_more_memory(task, ended) is None, "a whole GPU is all there is"
    assert with_more_memory(replace(task, share=0.5), {"0.0": "failed"}) is None
