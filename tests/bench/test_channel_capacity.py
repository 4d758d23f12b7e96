"""Capacities of channels against closed forms, and what invented marks carried beside them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.leaderboard.channel import throughputs
from bench.leaderboard.points import gather
from bench.metrics.channel_capacity import binary_noise, erasure
from tests.bench.invented import record, typed


@given(st.floats(1e-4, 50.0), st.floats(1e-4, 50.0))
def test_noise_leaves_less_than_shannons_bound_and_less_the_more_there_is(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0.0 <= binary_noise(low) <= binary_noise(high) + 1e-9 <= 1.0 + 1e-9
    assert binary_noise(low) <= 0.5 * math.log2(1 + low) + 1e-9


@pytest.mark.parametrize(("snr", "capacity"), [(1e-3, 7.21e-4), (1.0, 0.4859), (1.0446, 0.5), (20.0, 0.99999)])
def test_noise_has_the_capacities_of_the_literature(snr: float, capacity: float) -> None:
    """Half a bit takes 0.19 dB for each bit: a ratio of 1.0446 of signal and noise."""
    assert binary_noise(snr) == pytest.approx(capacity, rel=2e-3)


def test_bits_a_weight_are_of_the_largest_payload_whole_in_every_run() -> None:
    made = [
        record("a", 64, "random", 0.6, seed=0),
        record("a", 64, "random", 0.6, seed=1),
        record("a", 256, "random", 0.2, seed=0),
        record("a", 256, "random", 0.05, seed=1),
    ]
    for one in made:
        one["marked"]["report"]["touched"] = 4 * one["key"]["payload"] if one["key"]["payload"] == 64 else 512
    found = {t.strength: t for t in throughputs(gather(typed(made)))}
    assert {rate: found[rate].recovered for rate in (0.02, 0.3, 0.7)} == {0.02: 0.5, 0.3: 0.25, 0.7: 0.0}
    assert [found[rate].capacity for rate in (0.02, 0.3)] == pytest.approx([erasure(0.02), 0.7])
    assert (str(found[0.3]), str(found[0.7])) == ("0.25 / 0.7", "-")
