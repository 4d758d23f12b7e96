"""The simulation of list scheduling: its bounds, and what waits for hosts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.execution.cluster.schedule import Job, as_driven, longest_first, simulate

jobs = st.lists(
    st.builds(Job, st.sampled_from("xyz"), st.just(2.0), st.floats(0.5, 20), st.sampled_from("ab")),
    min_size=1,
    max_size=30,
)


@given(jobs, st.integers(1, 8), st.floats(0, 2))
def test_no_schedule_is_shorter_than_its_bounds_nor_longer_than_one_slot(
    given_jobs: list[Job], slots: int, overhead: float
) -> None:
    for order in (given_jobs, longest_first(given_jobs), as_driven(given_jobs)):
        assert sorted(map(repr, order)) == sorted(map(repr, given_jobs))
        found = simulate(order, slots, overhead)
        assert found.makespan >= found.work / slots - 1e-9
        assert found.makespan <= found.work + 1e-9
        assert 0 < found.utilisation <= 1 + 1e-9
        assert 0 <= found.tail <= found.makespan
        alone = simulate(order, 1, overhead)
        assert alone.makespan == pytest.approx(found.work)
        assert alone.utilisation == pytest.approx(1)


def test_a_host_is_made_by_one_task_and_the_others_wait_for_it() -> None:
    found = simulate([Job("x", 10, 5), Job("x", 10, 5), Job("y", 10, 1)], 2)
    assert found.makespan == 16  # x at 0, y at 0, the second of x at 11 when y has ended
    assert found.work == 31
    assert simulate([Job("x", 10, 5), Job("x", 10, 5)], 2).makespan == 15
    assert simulate([Job("x", 10, 5)] * 9, 9).bound == "one task"


def test_a_driver_begins_with_one_of_each_kind() -> None:
    listed = [Job("x", 1, own, kind) for own, kind in ((3, "a"), (4, "a"), (1, "b"), (9, "b"))]
    assert [job.own for job in as_driven(listed)] == [3, 1, 9, 4]
