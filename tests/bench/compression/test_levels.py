"""Zero-free levels against brute force, and one-dimensional k-means against scikit-learn."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from torch import Tensor

from bench.attacks.compression.levels import assign, best_interval, kmeans, nearest_level
from cwwm.support.errors import BadInput

OFFSETS = (0.0, 0.5)
SHAPES = {
    "gaussian": lambda g: torch.randn(3000, generator=g) * 0.02,
    "heavy": lambda g: torch.randn(3000, generator=g) / torch.rand(3000, generator=g).clamp(min=1e-3),
    "uniform": lambda g: torch.rand(3000, generator=g) - 0.5,
    "few": lambda g: torch.randn(5, generator=g),
}


def drawn(shape: str) -> Tensor:
    return SHAPES[shape](torch.Generator().manual_seed(3))


def all_levels(q: float, bits: int, offset: float) -> Tensor:
    positive = (torch.arange(1, 2 ** (bits - 1) + 1, dtype=torch.float64) - offset) * q
    return torch.cat([-positive.flip(0), positive])


def error(weights: Tensor, q: float, bits: int, offset: float) -> float:
    """Return the squared error to the nearest of all levels, found by trying them all."""
    distances = (weights.double()[:, None] - all_levels(q, bits, offset)).abs().amin(1)
    return float(distances.square().sum())


@pytest.mark.parametrize("offset", OFFSETS)
@given(
    values=st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=40),
    q=st.floats(0.01, 5),
    bits=st.integers(1, 8),
)
@settings(max_examples=60, deadline=None)
def test_no_level_is_nearer_and_zeros_stay(values: list[float], q: float, bits: int, offset: float) -> None:
    weights = torch.tensor(values)
    snapped = nearest_level(weights, q, bits, offset=offset)
    assert torch.equal(snapped == 0, weights == 0)
    kept = weights != 0
    least = (weights[kept].double()[:, None] - all_levels(q, bits, offset)).abs().amin(1)
    assert torch.allclose((weights - snapped)[kept].abs().double(), least, atol=1e-5)


@pytest.mark.parametrize("offset", OFFSETS)
def test_snapping_is_odd_idempotent_and_uses_at_most_two_to_the_bits_values(offset: float) -> None:
    weights = drawn("gaussian")
    for bits in range(1, 9):
        q = best_interval(weights, bits, offset)
        snapped = nearest_level(weights, q, bits, offset=offset)
        assert len(torch.unique(snapped)) <= 2**bits
        assert torch.equal(nearest_level(-weights, q, bits, offset=offset), -snapped)
        assert torch.allclose(nearest_level(snapped, q, bits, offset=offset), snapped)


def test_under_a_mask_survivors_take_a_level_even_at_zero_and_the_rest_is_zero() -> None:
    weights = torch.tensor([0.0, 0.0, 0.3, -2.0], dtype=torch.float16)
    mask = torch.tensor([True, False, False, True])
    snapped = nearest_level(weights, 0.5, 2, mask)
    assert snapped.tolist() == [0.5, 0.0, 0.0, -1.0]
    assert snapped.dtype == torch.float16


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_the_interval_is_the_best_of_a_brute_force_scan(shape: str, offset: float, bits: int) -> None:
    weights = drawn(shape)
    top = 2 * float(weights.abs().max())
    scanned = min(error(weights, q, bits, offset) for q in torch.logspace(-4, 0, 300, dtype=torch.float64) * top)
    found = best_interval(weights, bits, offset)
    assert error(weights, found, bits, offset) <= scanned * (1 + 1e-9)


def test_heavy_tails_have_their_optimum_far_outside_the_ten_percent_of_the_released_code() -> None:
    weights, bits = drawn("heavy"), 4
    initial = float(weights.abs().max()) / 2 ** (bits - 1)
    window = min(error(weights, initial * (0.9 + 0.001 * i), bits, 0.0) for i in range(201))
    found = best_interval(weights, bits)
    assert found < 0.9 * initial
    assert error(weights, found, bits, 0.0) < 0.5 * window


@given(scale=st.floats(1e-6, 1e6), bits=st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_the_interval_scales_with_the_weights_and_ignores_zeros_and_signs(scale: float, bits: int) -> None:
    weights = drawn("uniform")[:200].double()
    q = best_interval(weights, bits)
    assert best_interval(torch.cat([torch.zeros(50), -weights * scale]), bits) == pytest.approx(q * scale, rel=1e-6)


def test_one_bit_is_the_mean_magnitude_and_exact_levels_cost_nothing() -> None:
    weights = drawn("gaussian")
    assert best_interval(weights, 1) == pytest.approx(float(weights.abs().double().mean()), rel=1e-9)
    exact = torch.tensor([-4.0, -3.0, 1.0, 2.0, 3.0]) * 0.7
    assert torch.allclose(nearest_level(exact, best_interval(exact, 3), 3), exact)


@pytest.mark.parametrize(
    ("weights", "bits", "offset", "why"),
    [
        ([1.0], 9, 0.0, "from 1 to 8"),
        ([1.0], 0, 0.0, "from 1 to 8"),
        ([1.0], 2, 1.0, "less than 1 interval"),
        ([0.0, 0.0], 2, 0.0, "at least one is not zero"),
        ([float("nan"), 1.0], 2, 0.0, "finite"),
    ],
)
def test_impossible_levels_are_refused(weights: list[float], bits: int, offset: float, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        best_interval(torch.tensor(weights), bits, offset)


def objective(values: Tensor, centroids: Tensor) -> float:
    return float((values.double() - centroids[assign(values, centroids)].double()).square().sum())


@pytest.mark.parametrize("k", [1, 2, 5, 16])
@pytest.mark.parametrize("shape", ["gaussian", "heavy", "uniform"])
def test_kmeans_ends_where_scikit_learn_does_from_the_same_start(shape: str, k: int) -> None:
    values = drawn(shape)[:1500]
    start = torch.linspace(-1, 1, k + 2)[1:-1] * values.std()
    reference = KMeans(k, init=start[:, None].double().numpy(), n_init=1, tol=0, max_iter=3000)
    reference.fit(values[:, None].double().numpy())
    centroids = kmeans(values, k, start)
    assert objective(values, centroids) == pytest.approx(reference.inertia_, rel=1e-4)


@given(
    values=st.lists(st.integers(-9, 9), min_size=1, max_size=60),
    k=st.integers(1, 25),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
)
@settings(max_examples=150, deadline=None)
def test_centroids_are_distinct_means_whatever_the_ties(values: list[int], k: int, dtype: torch.dtype) -> None:
    points = torch.tensor(values, dtype=dtype)
    centroids = kmeans(points, k)
    assert centroids.dtype == dtype
    assert len(centroids) == min(k, len(set(values)))
    assert bool((centroids.diff() > 0).all())
    members = assign(points, centroids)
    distances = (points.double()[:, None] - centroids.double()).abs()
    assert torch.equal(distances.gather(1, members[:, None])[:, 0], distances.amin(1))
    if dtype == torch.float64:
        means = torch.stack([points[members == i].mean() for i in range(len(centroids))])
        assert torch.allclose(means, centroids, atol=1e-12)


def test_more_clusters_err_less_and_one_errs_by_the_variance() -> None:
    values = drawn("gaussian")
    errors = [objective(values, kmeans(values, k)) for k in (1, 2, 4, 8, 16, 64)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == pytest.approx(float(values.double().var(correction=0)) * len(values), rel=1e-6)


def test_kmeans_is_at_rest_where_it_ended_and_one_iteration_moves_towards_it() -> None:
    values = drawn("uniform").view(30, 100)
    done = kmeans(values, 8)
    assert torch.equal(kmeans(values, 8, done), done)
    assert assign(values, done).shape == values.shape
    start = done + 0.03
    once = kmeans(values, 8, start, iterations=1)
    assert objective(values, done) < objective(values, once) < objective(values, start)


def test_no_values_have_no_centroids_and_missing_ones_are_found() -> None:
    assert len(kmeans(torch.empty(0), 4)) == 0
    assert len(assign(torch.empty(0), torch.empty(0))) == 0
    assert kmeans(torch.tensor([1.0, 5.0, 9.0]), 3, torch.tensor([4.0])).tolist() == [1.0, 5.0, 9.0]
    for k, start in ((0, None), (1, torch.zeros(2))):
        with pytest.raises(BadInput, match="k-means needs"):
            kmeans(torch.ones(3), k, start)
