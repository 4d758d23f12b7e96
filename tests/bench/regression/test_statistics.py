"""The tests behind the comparison: exact where they say so, equal to the field's where those apply, calibrated."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact, ttest_ind, ttest_rel, wilcoxon

from bench.regression.multiplicity import holm, judgeable
from bench.regression.pooled_t import TwoSamples, gross_p
from bench.regression.rank_sum import rank_sum_p
from bench.regression.signed_rank import paired_t_p, signed_rank_p


@given(st.tuples(*[st.integers(0, 7)] * 4).filter(lambda c: min(c[0] + c[1], c[2] + c[3]) > 0))
def test_yes_and_no_in_one_block_is_fishers_exact_test(counts: tuple[int, int, int, int]) -> None:
    old_whole, old_lost, new_whole, new_lost = counts
    old = np.array([[1.0]] * old_whole + [[0.0]] * old_lost)
    new = np.array([[1.0]] * new_whole + [[0.0]] * new_lost)
    expected = fisher_exact([[new_whole, new_lost], [old_whole, old_lost]], alternative="less").pvalue
    assert rank_sum_p([(old, new)]).p == pytest.approx(expected, rel=1e-9)


def dealings(values: np.ndarray, new: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return every way to deal the units of a block to old and new."""
    everyone = set(range(len(values)))
    return [
        (values[sorted(everyone - set(chosen))], values[list(chosen)]) for chosen in combinations(everyone, new)
    ]


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_under_the_null_hypothesis_a_p_value_is_as_rare_as_it_says(seed: int) -> None:
    """Over all dealings of two blocks with three readings and many ties: P(p <= x) <= x, with equality attained."""
    random = np.random.default_rng(seed)
    first, second = random.integers(0, 3, (5, 3)) * 1.0, random.integers(0, 3, (4, 3)) * 1.0
    found = [rank_sum_p(blocks) for blocks in product(dealings(first, 2), dealings(second, 2))]
    p = np.array([result.p for result in found])
    for level in np.unique(p):
        assert np.mean(p <= level + 1e-12) == pytest.approx(level)
    assert {round(result.least, 12) for result in found} == {round(p.min(), 12)}


def test_readings_of_one_unit_are_never_dealt_apart() -> None:
    """Copies of a reading tell nothing new."""
    random = np.random.default_rng(1)
    old, new = random.normal(size=(6, 1)), random.normal(-1.0, size=(6, 1))
    once = rank_sum_p([(old, new)])
    assert rank_sum_p([(np.repeat(old, 9, 1), np.repeat(new, 9, 1))]) == once


def test_equal_runs_are_never_worse() -> None:
    values = np.random.default_rng(2).normal(size=(12, 4))
    assert rank_sum_p([(values, values)]).p > 0.5


def test_twelve_seeds_apart_reach_the_least_p_there_is() -> None:
    old, new = np.arange(12.0, 24.0)[:, None], np.arange(12.0)[:, None]
    result = rank_sum_p([(old, new)])
    assert result.p == result.least == pytest.approx(1 / 2704156)


def test_one_row_alone_gets_students_test() -> None:
    random = np.random.default_rng(3)
    row = TwoSamples(random.normal(size=5), random.normal(-1.0, size=4))
    expected = ttest_ind(row.new, row.old, alternative="less").pvalue
    assert gross_p([row], 0.0) == [pytest.approx(expected)]


def test_a_steady_row_is_not_believed_beside_one_of_two_kinds() -> None:
    """Three seeds that collapsed after three that did not are no news where other rows show both at once."""
    steady = TwoSamples(np.array([95.0, 95.1, 94.9]), np.array([20.0, 20.1, 19.9]))
    both = TwoSamples(np.array([95.0, 20.0, 95.0]), np.array([20.0, 95.0, 20.0]))
    alone, beside = gross_p([steady], 0.25)[0], gross_p([steady, both], 0.25)[0]
    assert alone is not None
    assert beside is not None
    assert alone < 1e-6
    assert beside > 0.01


def test_two_seeds_a_side_are_too_few_for_the_gross_test() -> None:
    assert gross_p([TwoSamples(np.array([95.0, 95.1]), np.array([20.0, 20.1]))], 0.25) == [None]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_no_correction_and_bonferronis(p: list[float]) -> None:
    adjusted = holm(p)
    assert np.all(adjusted >= np.array(p))
    assert np.all(adjusted <= np.minimum(1.0, np.array(p) * len(p)))
    assert adjusted[int(np.argmin(p))] == min(1.0, min(p) * len(p))


@given(st.lists(st.floats(0, 1), max_size=30))
def test_tests_that_cannot_reject_cost_nothing(least: list[float]) -> None:
    chosen = judgeable(least, 0.05)
    assert np.all(np.asarray(least)[chosen] <= 0.05 / max(1, chosen.sum()))
    assert np.array_equal(judgeable([*least, 1.0], 0.05)[:-1], chosen)


@given(gained=st.integers(0, 12), lost=st.integers(0, 12), same=st.integers(0, 5))
def test_messages_recovered_or_not_in_pairs_are_mcnemars_exact_test(gained: int, lost: int, same: int) -> None:
    found = signed_rank_p(np.array([1.0] * gained + [-1.0] * lost + [0.0] * same))
    moved = gained + lost
    assert found.p == pytest.approx(binomtest(gained, moved, alternative="less").pvalue if moved else 1.0)
    assert found.least == 2.0**-moved


@given(st.lists(st.floats(-9, 9).filter(bool), min_size=1, max_size=20, unique_by=abs))
def test_differences_without_ties_are_wilcoxons_exact_test(differences: list[float]) -> None:
    values = np.array(differences)
    expected = wilcoxon(values, alternative="less", method="exact").pvalue
    assert signed_rank_p(values).p == pytest.approx(expected)
    assert signed_rank_p(-np.abs(values)).p == pytest.approx(signed_rank_p(values).least)


def test_signed_ranks_are_right_as_often_as_they_say() -> None:
    random = np.random.default_rng(11)
    p = [signed_rank_p(np.round(random.normal(size=14), 1)).p for _ in range(3000)]
    for level in (0.01, 0.05, 0.2):
        assert np.mean(np.array(p) <= level) <= level + 3 * np.sqrt(level / 3000)


def test_the_paired_t_test_is_the_fields_and_believes_no_row_to_vary_less_than_another() -> None:
    random = np.random.default_rng(5)
    old, change = random.normal(size=6), random.normal(-1.0, 0.3, size=6)
    expected = ttest_rel(old + change, old, alternative="less").pvalue
    alone = paired_t_p([change], 0.0)
    assert alone == [pytest.approx(expected)]
    beside = paired_t_p([change, np.array([0.0, -70.0, 70.0, 0.0, -70.0, 70.0])], 0.0)[0]
    assert beside is not None
    assert beside > 0.1
    assert paired_t_p([change[:3]], 0.0) == [None]
