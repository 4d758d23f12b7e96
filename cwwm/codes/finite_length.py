"""What codes of finite length can do on the binary-input Gaussian channel: the normal approximation.

Polyanskiy, Poor and Verdu 2010, equation 296; capacity and dispersion by Gauss-Hermite quadrature.
"""

import numpy as np
from scipy.special import ndtr

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
    low, high = 1e-3, 100.0 * length
    while high > 1.001 * low:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if best_success(length, bits, middle) >= success else (middle, high)
    return high
