"""The interval of a share of runs: never without width, narrower with more runs, and about as sure as it says."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from bench.leaderboard.bootstrap import Estimate, redraw, share_estimate, wilson

PLACES = list(product(("l", "m", "n"), range(3)))
COUNTS = redraw(PLACES)
STANDS, FALLS, UNKNOWN = np.inf, 0.0, np.nan


def shown(losses: list[float]) -> Estimate:
    found = share_estimate(np.array(losses), 1.0, COUNTS)
    assert found is not None
    return found


@given(st.lists(st.sampled_from([STANDS, FALLS, UNKNOWN]), min_size=len(PLACES), max_size=len(PLACES)))
def test_an_interval_has_a_width_and_holds_its_estimate(losses: list[float]) -> None:
    if np.isnan(losses).all():
        assert share_estimate(np.array(losses), 1.0, COUNTS) is None
        return
    found = shown(losses)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0.2


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_wilsons_interval_shrinks_with_runs_and_is_that_of_scipy(runs: int, share: float) -> None:
    hits = round(share * runs)
    low, high = (float(end) for end in wilson(np.float64(hits / runs), runs))
    expected = binomtest(hits, runs).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    more = wilson(np.float64(hits / runs), 2 * runs)
    assert low < float(more[0]) or hits == 0
    assert high > float(more[1]) or hits == runs


def test_few_runs_that_agree_are_not_certain() -> None:
    assert shown([STANDS] * 9).low == pytest.approx(0.70, abs=0.005)
    assert shown([STANDS] * 6 + [UNKNOWN] * 3).low == pytest.approx(0.61, abs=0.005)
    assert str(shown([FALLS] * 6 + [UNKNOWN] * 3)) == "0.00 [0.00, 0.39]"


def test_hosts_that_differ_widen_it_beyond_that_of_independent_runs() -> None:
    found = shown([STANDS] * 3 + [FALLS] * 6)
    alone = [float(end) for end in wilson(np.float64(1 / 3), 9)]
    assert found.low < alone[0] < alone[1] < found.high


def covered(rates: np.ndarray[tuple[int, int], np.dtype[np.float64]], truth: float, seed: int) -> float:
    """Return how often the interval holds the truth; `rates` are those of the hosts, (trials, places)."""
    standing = np.random.default_rng(seed).random(rates.shape) < rates
    found = [shown(np.where(row, STANDS, FALLS).tolist()) for row in standing]
    return float(np.mean([one.low <= truth <= one.high for one in found]))


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.7, 0.8, 0.9])
def test_nine_independent_runs_are_covered(rate: float) -> None:
    """As often as 95 %, but for the few counts that nine runs can have."""
    assert covered(np.full((400, len(PLACES)), rate), rate, seed=1) >= 0.9


def test_hosts_that_vary_are_covered_nearly_as_often() -> None:
    hosts = np.random.default_rng(2).beta(2, 1, (400, 3))
    assert covered(np.repeat(hosts, 3, axis=1), 2 / 3, seed=3) >= 0.9
