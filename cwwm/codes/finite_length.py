"""What codes of finite length can do on the Gaussian channel, of binary input or any: the normal approximation.

Polyanskiy, Poor and Verdu 2010, equation 296; capacity and dispersion by Gauss-Hermite quadrature.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri_exp

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(96)


def capacity_and_dispersion(mean_square: float) -> tuple[float, float]:
    """Return C in bits and V in bits^2 of a read N(rho, 1) or N(-rho, 1), equally likely; given rho^2."""
    ratio = 2 * (mean_square + np.sqrt(mean_square) * _NODES)  # log-likelihood ratios given that rho is right
    density = 1 - np.logaddexp(0, -ratio) / np.log(2)
    weights = _WEIGHTS / _WEIGHTS.sum()
    capacity = float(weights @ density)
    return capacity, float(weights @ (density - capacity) ** 2)


def best_success(length: int, bits: int, snr: float) -> float:
    """Return about what the best code of `length` positions and `bits` bits recovers, as a probability.

    Args:
        length: n.
        bits: k.
        snr: sum over the word of the squared mean of a read N(rho, 1): n rho^2.
    """
    capacity, dispersion = capacity_and_dispersion(snr / length)
    spare = length * capacity - bits + np.log2(length) / 2
    return float(ndtr(spare / np.sqrt(length * dispersion + 1e-12)))


def snr_needed(length: int, bits: int, success: float = 0.9) -> float:
    """Return the least snr, to 0.1 %, at which the best code recovers with that probability."""
    return _least(lambda snr: best_success(length, bits, snr) >= success, 100.0 * length)


def best_success_unlimited(bits: int, snr: float) -> float:
    """Return what no code exceeds, of any number of positions and any amplitudes.

    Polyanskiy, Poor and Verdu 2011 (the least energy to send k bits through the Gaussian channel), the converse
    without feedback: a test of the word against noise alone, with power `success`, errs at 2^-k at least.
    Orthogonal words come within 2 % of it from 64 bits on.

    Args:
        bits: k.
        snr: the energy, as the sum of the squared means of all reads N(mean, 1).
    """
    return float(ndtr(np.sqrt(snr) + ndtri_exp(-bits * np.log(2))))


def snr_needed_unlimited(bits: int, success: float = 0.9) -> float:
    """Return the least snr, to 0.1 %, at which the best code of any length recovers with that probability."""
    return _least(lambda snr: best_success_unlimited(bits, snr) >= success, 100.0 * bits)


def _least(enough: Callable[[float], bool], high: float) -> float:
    """Return the least positive number, to 0.1 %, that is enough, as all above it are."""
    low = 1e-3
    while high > 1.001 * low:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
