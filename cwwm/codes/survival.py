"""Survival laws of blocks under an outer code that corrects e errors and s erasures while 2e + s <= n - n_data.

Derived for this project; all distributions are exact but for the noise, which is integrated numerically.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, ndtr, ndtri

Floats = npt.NDArray[np.float64]

_GRID = 64  # midpoints of the integral over the noise of the ones


def gaussian_quantile(rate: float | Floats) -> Floats:
    """Return tau(R) = PhiInv((1 + R) / 2): the `rate` quantile of |w| for w ~ N(0, 1)."""
    return np.asarray(ndtri((1 + np.asarray(rate, np.float64)) / 2))


def gaussian_zeros(low: float, points: int = 256) -> Floats:
    """Return `points` equally likely magnitudes of hosts cut at the `low` quantile, for a pool N(0, 1)."""
    middle = (np.arange(points) + 0.5) / points
    return np.minimum(gaussian_quantile(middle), gaussian_quantile(low))


def recovered_after_erasures(blocks: int, data: int, lost: float) -> float:
    """Return P(at most blocks - data of `blocks` are lost), each with probability `lost`: the erasure limit."""
    return float(bdtr(blocks - data, blocks, min(max(lost, 0.0), 1.0)))


def recovered_after_errors(blocks: int, data: int, wrong: float) -> float:
    """Return P(at most (blocks - data) / 2 of `blocks` are wrong): a bound, for soft decisions do better."""
    return float(bdtr((blocks - data) // 2, blocks, min(max(wrong, 0.0), 1.0)))


def misread_under_noise(zeros: Floats, one: float, delta: float, length: int, weight: int) -> float:
    """Return P(a block is misread) when every weight drifts by N(0, delta^2).

    A block is right if its weakest one stays above its largest zero. The weakest of `weight` ones is
    integrated over its quantiles, signs kept; a zero of magnitude m exceeds y with probability
    Q((y - m) / delta) + Q((y + m) / delta).

    Args:
        zeros: equally likely magnitudes of the zeros, float64 (q,).
        one: least magnitude of the ones, T1.
        delta: standard deviation of the drift, in the same unit; at least 0.
        length: L_b, symbols of a block.
        weight: alpha_b, its ones.
    """
    if delta <= 0:
        return 0.0 if one > zeros.max() else 1.0
    middle = (np.arange(_GRID) + 0.5) / _GRID
    weakest = one + delta * ndtri(1 - (1 - middle) ** (1 / weight))
    above = ndtr((zeros - weakest[:, None]) / delta) + ndtr((-zeros - weakest[:, None]) / delta)
    right = np.exp((length - weight) * np.log1p(-np.minimum(above.mean(axis=1), 1 - 1e-15)))
    return float(1 - right.mean())
